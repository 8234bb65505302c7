/** The table of boots: seconds by phase, for each kernel, number of processors, workload and emulator. */
import { median } from '../peers/summary.ts';
import type { Boot, Reading } from './boot.ts';
import { phases } from './workload.ts';

type Clock = (reading: Reading) => number | null;

const clocks = [
  { title: 'Seconds by the clock on the wall', clock: ({ wall }: Reading) => wall },
  { title: 'Seconds of the processor, all threads', clock: ({ processor }: Reading) => processor },
] as const satisfies readonly { title: string; clock: Clock }[];

/** Seconds of each phase and of all; empty if a boot has failed. */
export function secondsOf({ marks, failure }: Boot, clock: Clock): number[] {
  if (failure !== null) return [];
  const ends: number[] = [];
  for (const phase of phases) {
    const reading = marks[phase];
    const end = reading === undefined ? null : clock(reading);
    if (end === null) return [];
    ends.push(end);
  }
  return [...ends.map((end, i) => end - (ends[i - 1] ?? 0)), ends.at(-1)!];
}

function table(boots: readonly Boot[], clock: Clock): string[][] {
  const rows = new Map<string, Boot[]>();
  for (const each of boots) {
    const key = [each.kernel, each.cpus, each.workload, each.emulator].join();
    rows.set(key, [...(rows.get(key) ?? []), each]);
  }
  return [...rows.values()].map((row) => {
    const [first] = row as [Boot];
    const head = [first.kernel, String(first.cpus), first.workload, first.emulator];
    const failure = row.find((each) => each.failure !== null)?.failure;
    if (failure != null) return [...head, failure];
    const times = row.map((each) => secondsOf(each, clock)).filter((seconds) => seconds.length > 0);
    if (times.length === 0) return [...head, 'not known'];
    const figures = times[0]!.map((_, i) => median(times.map((seconds) => seconds[i]!))!);
    const ratios = row.flatMap((each) => {
      const other = boots.find(
        (b) =>
          b.emulator === 'qemu' &&
          b.kernel === each.kernel &&
          b.cpus === each.cpus &&
          b.workload === each.workload &&
          b.round === each.round,
      );
      const [mine, theirs] = [secondsOf(each, clock).at(-1), other && secondsOf(other, clock).at(-1)];
      return mine === undefined || theirs === undefined ? [] : [mine / theirs];
    });
    const ratio = first.emulator === 'qemu' ? null : median(ratios);
    return [...head, ...figures.map((seconds) => seconds.toFixed(2)), ratio === null ? '' : ratio.toFixed(2)];
  });
}

/** Texts in columns; a row that is shorter than the head has a sentence in its last cell. */
function columns(rows: readonly (readonly string[])[], texts: number): string[] {
  const whole = rows.filter(({ length }) => length > texts + 1);
  const widths = rows[0]!.map((_, i) => Math.max(...(i < texts ? rows : whole).map((row) => row[i]?.length ?? 0)));
  return rows.map((row) =>
    row
      .map((cell, i) => (i < texts || row.length <= texts + 1 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)))
      .join('  ')
      .trimEnd(),
  );
}

/** The whole report. */
export function report(boots: readonly Boot[]): string {
  const head = ['kernel', 'cpus', 'workload', 'emulator', ...phases, 'all', 'over qemu'];
  return clocks
    .flatMap(({ title, clock }) => ['', title, '', ...columns([head, ...table(boots, clock)], 4)])
    .map((line) => `${line}\n`)
    .join('');
}
