/**
 * The same guests here and elsewhere, in one run:
 *
 *   npm run build
 *   node bench/peers.ts [--guests a,b] [--variants i386-x87,i386-sse2,x86_64] [--engines jit86,qemu] [--rounds 3]
 *     [--time wall|processor] [--json FILE]
 *
 * Prints time over native for each guest and engine, geometric means over groups, the interpreter's MIPS, and whether the
 * targets are met. Only the guest's work is timed, by the marks that it puts on the debug console around each of its
 * calls. A round runs every engine once on every guest, one after the other, each in a process of its own; of a process
 * the fastest call counts, ratios are taken within a round, and the figure is the median over rounds. What is not
 * installed (gcc, clang, QEMU) is left out, and said so. On a machine that others use too, --time processor counts what
 * the guest's thread had of a processor, and not the time that it waited for one.
 */
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { begin, counted, picked } from './command-line.ts';
import { type Guest, type GuestVariant, guestVariants, workloads } from './guests/catalogue.ts';
import { native, wasm } from './peers/compiled.ts';
import type { CallLimits, Contender } from './peers/contender.ts';
import { jit86Contenders } from './peers/jit86.ts';
import { qemu } from './peers/qemu.ts';
import { report } from './peers/report.ts';
import { processorTime, type Run, rowsOf, type TimeOf, wallTime } from './peers/summary.ts';
import { v86 } from './peers/v86.ts';

const contenders: readonly Contender[] = [native, wasm, ...jit86Contenders, v86, qemu];

const times = [
  { name: 'wall', time: wallTime },
  { name: 'processor', time: processorTime },
] as const;

interface Plan {
  readonly guests: readonly Guest[];
  readonly variants: readonly GuestVariant[];
  readonly contenders: readonly Contender[];
  readonly rounds: number;
  readonly limits: CallLimits;
  readonly time: TimeOf;
  readonly json: string | undefined;
}

/** @throws UsageError that names the wrong value */
function readPlan(args: readonly string[]): Plan {
  const { values } = parseArgs({
    args: [...args],
    options: {
      guests: { type: 'string' },
      variants: { type: 'string' },
      engines: { type: 'string' },
      rounds: { type: 'string', default: '3' },
      calls: { type: 'string', default: '12' },
      time: { type: 'string', default: 'wall' },
      json: { type: 'string' },
    },
  });
  const engines = values.engines === undefined ? undefined : `native,${values.engines}`;
  return {
    guests: picked('guests', values.guests, workloads, ({ name }) => name),
    variants: picked('variants', values.variants, guestVariants, (variant) => variant),
    contenders: picked('engines', engines, contenders, ({ name }) => name),
    rounds: counted('rounds', values.rounds, 999),
    limits: { calls: counted('calls', values.calls, 999), enough: 2.5, fewest: 2, timeout: 120 },
    time: picked('time', values.time, times, ({ name }) => name)[0]!.time,
    json: values.json,
  };
}

async function measure(plan: Plan, taking: readonly Contender[]): Promise<Run[]> {
  const runs: Run[] = [];
  for (let round = 0; round < plan.rounds; round++) {
    for (const guest of plan.guests) {
      for (const variant of plan.variants) {
        for (const contender of taking) {
          if (!contender.runs(guest, variant)) continue;
          const run = { guest: guest.name, kind: guest.kind, variant, contender: contender.name, round };
          if (process.stderr.isTTY)
            process.stderr.write(`\r\x1b[Kround ${round + 1}: ${guest.name} ${variant} ${contender.name}`);
          try {
            runs.push({ ...run, calls: await contender.measure(guest, variant, plan.limits), failure: null });
          } catch (error) {
            runs.push({ ...run, calls: [], failure: error instanceof Error ? error.message : String(error) });
          }
        }
      }
    }
  }
  if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');
  return runs;
}

async function main(args: readonly string[]): Promise<number> {
  const plan = readPlan(args);
  const taking: Contender[] = [];
  for (const contender of plan.contenders) {
    const reason = await contender.prepare();
    if (reason === null) taking.push(contender);
    else console.log(`without ${contender.name}: ${reason}`);
  }
  const runs = await measure(plan, taking);
  const rows = rowsOf(runs, plan.time);
  for (const { name, description } of taking) console.log(`${name}: ${description}`);
  const clock = plan.time === wallTime ? 'Time' : "The processor's time";
  console.log(`\n${clock} over native, warm; medians of ${plan.rounds} rounds.\n`);
  process.stdout.write(
    report(
      rows,
      taking.map(({ name }) => name),
      runs,
    ),
  );
  if (plan.json !== undefined) {
    const plain = rows.map((row) => ({ ...row, figures: Object.fromEntries(row.figures) }));
    writeFileSync(plan.json, `${JSON.stringify({ rows: plain, runs }, null, 2)}\n`);
  }
  return runs.some(({ failure }) => failure !== null) ? 1 : 0;
}

if (import.meta.main) await begin('peers', main);
