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

/** @throws with a line that names the wrong value */
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
  function pick<Item>(option: string, text: string | undefined, all: readonly Item[], name: (item: Item) => string) {
    if (text === undefined) return all;
    const wanted = text.split(',');
    const unknown = wanted.find((word) => !all.some((item) => name(item) === word));
    if (unknown !== undefined) throw new Error(`--${option} ${unknown}: not one of ${all.map(name).join(', ')}`);
    return all.filter((item) => wanted.includes(name(item)));
  }
  const count = (option: string, text: string) => {
    if (!/^[1-9]\d{0,2}$/.test(text)) throw new Error(`--${option} ${text}: not a number from 1 to 999`);
    return Number(text);
  };
  const engines = values.engines === undefined ? undefined : `native,${values.engines}`;
  return {
    guests: pick('guests', values.guests, workloads, ({ name }) => name),
    variants: pick('variants', values.variants, guestVariants, (variant) => variant),
    contenders: pick('engines', engines, contenders, ({ name }) => name),
    rounds: count('rounds', values.rounds),
    limits: { calls: count('calls', values.calls), enough: 2.5, fewest: 2, timeout: 120 },
    time: pick('time', values.time, times, ({ name }) => name)[0]!.time,
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
  let plan: Plan;
  try {
    plan = readPlan(args);
  } catch (error) {
    console.error(`peers: ${error instanceof Error ? error.message : String(error)}`);
    return 2;
  }
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

if (import.meta.main) process.exitCode = await main(process.argv.slice(2));
