/**
 * The comparison's figures: ratios within a round, medians over rounds, geometric means over groups of guests, targets.
 */
import type { Guest, GuestKind, GuestVariant } from '../guests/catalogue.ts';
import type { Call } from './contender.ts';

/** One contender's run of one guest in one round. */
export interface Run {
  readonly guest: string;
  readonly kind: GuestKind;
  readonly variant: GuestVariant;
  readonly contender: string;
  readonly round: number;
  /** Empty if the run failed. */
  readonly calls: readonly Call[];
  readonly failure: string | null;
}

/** One contender's figures for one guest, over all rounds. */
export interface Figure {
  /** Seconds of a call when warm. */
  readonly seconds: number;
  /** Time over native; null where there is no native time. */
  readonly overNative: number | null;
  /** The first call, cold, over native. */
  readonly firstOverNative: number | null;
  /** Millions of guest instructions per second, where they are counted. */
  readonly mips: number | null;
}

export interface Row {
  readonly guest: string;
  readonly kind: GuestKind;
  readonly variant: GuestVariant;
  readonly figures: ReadonlyMap<string, Figure>;
}

export function median(values: readonly number[]): number | null {
  if (values.length === 0) return null;
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** What a call took, by the clock that is looked at; null if it has no such time. */
export type TimeOf = (call: Call) => number | null;
export const wallTime: TimeOf = ({ seconds }) => seconds;
export const processorTime: TimeOf = ({ cpuSeconds }) => cpuSeconds;

/** A call and its time. */
interface Timed {
  readonly seconds: number;
  readonly instructions: number | null;
}
function timed(calls: readonly Call[], time: TimeOf): Timed[] {
  return calls.flatMap((call) => {
    const seconds = time(call);
    return seconds === null ? [] : [{ seconds, instructions: call.instructions }];
  });
}
/** The call that was disturbed least; by then the run is warm. */
function fastest(calls: readonly Timed[]): Timed | null {
  return calls.reduce<Timed | null>((best, call) => (best === null || call.seconds < best.seconds ? call : best), null);
}

function figureOf(runs: readonly Run[], natives: ReadonlyMap<number, number>, time: TimeOf): Figure | null {
  const good = runs.flatMap((run) => {
    const calls = timed(run.calls, time);
    const best = fastest(calls);
    return best === null ? [] : [{ best, first: calls[0]!.seconds, native: natives.get(run.round) }];
  });
  const seconds = median(good.map(({ best }) => best.seconds));
  if (seconds === null) return null;
  const over = (pick: (run: (typeof good)[number]) => number) =>
    median(good.flatMap((run) => (run.native === undefined ? [] : [pick(run) / run.native])));
  return {
    seconds,
    overNative: over(({ best }) => best.seconds),
    firstOverNative: over(({ first }) => first),
    mips: median(
      good.flatMap(({ best }) => (best.instructions === null ? [] : [best.instructions / best.seconds / 1e6])),
    ),
  };
}

/** A row for each guest and variant, in order of appearance. */
export function rowsOf(runs: readonly Run[], time: TimeOf): Row[] {
  const builds = new Map<string, Run[]>();
  for (const run of runs) {
    const key = `${run.guest}/${run.variant}`;
    const list = builds.get(key) ?? [];
    list.push(run);
    builds.set(key, list);
  }
  return [...builds.values()].map((list) => {
    const { guest, kind, variant } = list[0]!;
    const natives = new Map<number, number>();
    for (const { contender, round, calls } of list) {
      const best = contender === 'native' ? fastest(timed(calls, time)) : null;
      if (best !== null) natives.set(round, best.seconds);
    }
    const figures = new Map<string, Figure>();
    for (const name of new Set(list.map(({ contender }) => contender))) {
      const figure = figureOf(
        list.filter(({ contender }) => contender === name),
        natives,
        time,
      );
      if (figure !== null) figures.set(name, figure);
    }
    return { guest, kind, variant, figures };
  });
}

/** A group of guests whose mean is looked at. */
export interface Group {
  readonly name: string;
  readonly holds: (row: Pick<Guest, 'kind'> & { readonly variant: GuestVariant }) => boolean;
}

export const groups: readonly Group[] = [
  { name: 'i386 integer', holds: ({ kind, variant }) => variant !== 'x86_64' && kind !== 'double' },
  { name: 'x86_64 integer', holds: ({ kind, variant }) => variant === 'x86_64' && kind !== 'double' },
  { name: 'SSE2 double', holds: ({ kind, variant }) => variant !== 'i386-x87' && kind === 'double' },
  { name: 'x87', holds: ({ kind, variant }) => variant === 'i386-x87' && kind === 'double' },
];

/** What this emulator wants to reach: times over native, by group and contender. */
export const targets: readonly { readonly group: string; readonly contender: string; readonly atMost: number }[] = [
  { group: 'i386 integer', contender: 'jit86', atMost: 3 },
  { group: 'x86_64 integer', contender: 'jit86', atMost: 3 },
  { group: 'SSE2 double', contender: 'jit86', atMost: 4 },
  { group: 'x87', contender: 'jit86', atMost: 40 },
  { group: 'x87', contender: 'jit86-fast', atMost: 5 },
];
/** No integer or SSE2 workload is to be slower than this over native. */
export const worstTarget = 8;
/** Millions of instructions per second that the interpreter is to reach, as a mean over i386 and over x86_64 guests. */
export const interpreterTarget = 60;
