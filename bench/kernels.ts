/**
 * Debian's kernels here and elsewhere, in one run: each boots with busybox, works, and switches the machine off.
 *
 *   npm run kernels -- [--kernels 686,686-pae,amd64,cloud-amd64] [--cpus 1,2] [--engines auto,cached,interpreter,qemu,v86]
 *     [--workload whole|reduced|short] [--clock virtual|host] [--cpu MODEL] [--rounds 1] [--timeout 600] [--json FILE]
 *
 * Prints the seconds from the start of the process to userland, of each phase of the workload, and of all until its end,
 * first by the clock on the wall and then of the processor (all threads of the process); ratios are to QEMU's in the same
 * round, and figures medians over rounds. What the guest prints is compared with what the host computes. The interpreter
 * has a workload of its own (short), and so QEMU has a second row with that. On `--clock virtual`, which is the default,
 * the guest does not wait when it sleeps; the others run on the host's clock.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { begin, counted, picked } from './command-line.ts';
import { type Boot, boot, type Emulator } from './kernels/boot.ts';
import { type Kernel, kernelPath, kernels, missing } from './kernels/catalogue.ts';
import { findQemu, ourEmulators, qemu, v86 } from './kernels/emulators.ts';
import { report } from './kernels/report.ts';
import { initramfs, type Workload, workloads } from './kernels/workload.ts';

const memory = 256 << 20;

interface Plan {
  readonly kernels: readonly Kernel[];
  readonly cpus: readonly number[];
  readonly emulators: readonly Emulator[];
  readonly workload: Workload;
  readonly rounds: number;
  readonly timeout: number;
  readonly json: string | undefined;
}

/** @throws UsageError that names the wrong value */
function readPlan(args: readonly string[], folder: string): Plan {
  const { values } = parseArgs({
    args: [...args],
    options: {
      kernels: { type: 'string' },
      cpus: { type: 'string', default: '1' },
      engines: { type: 'string', default: 'auto,qemu,v86' },
      workload: { type: 'string', default: 'whole' },
      clock: { type: 'string', default: 'virtual' },
      cpu: { type: 'string', default: 'max' },
      rounds: { type: 'string', default: '1' },
      timeout: { type: 'string', default: '600' },
      json: { type: 'string' },
    },
  });
  const ours = ourEmulators(['--clock', values.clock, '--cpu', values.cpu], join(folder, 'cache'));
  return {
    kernels: picked('kernels', values.kernels, kernels, ({ name }) => name),
    cpus: values.cpus.split(',').map((text) => counted('cpus', text)),
    emulators: picked('engines', values.engines, [...ours, qemu, v86], ({ name }) => name),
    workload: picked('workload', values.workload, Object.values<Workload>(workloads), ({ name }) => name)[0]!,
    rounds: counted('rounds', values.rounds),
    timeout: counted('timeout', values.timeout),
    json: values.json,
  };
}

/** Which workload an emulator runs; QEMU runs the interpreter's, too. */
function workloadsOf(emulator: Emulator, plan: Plan): readonly Workload[] {
  const interpreted = plan.emulators.some(({ name }) => name === 'interpreter');
  if (emulator.name === 'interpreter') return [workloads.short];
  if (emulator === qemu && interpreted && plan.workload !== workloads.short) {
    return plan.emulators.some(({ name }) => name === 'auto' || name === 'cached' || name === 'v86')
      ? [plan.workload, workloads.short]
      : [workloads.short];
  }
  return [plan.workload];
}

/** A line when a boot is over: the table comes at the end of all. */
function tell({ round, kernel, cpus, emulator, workload, marks, failure }: Boot): void {
  const end = marks.fork;
  const took = end === undefined ? '' : `${end.wall.toFixed(1)} s, of the processor ${end.processor ?? 'unknown'} s`;
  console.error(`round ${round + 1}: ${kernel}, cpus ${cpus}, ${emulator}, ${workload}: ${failure ?? took}`);
}

async function measure(plan: Plan, folder: string): Promise<Boot[]> {
  const boots: Boot[] = [];
  for (let round = 0; round < plan.rounds; round++) {
    for (const kernel of plan.kernels) {
      const absent = missing(kernel);
      if (absent !== null) {
        if (round === 0) console.log(`without ${kernel.name}: ${absent}`);
        continue;
      }
      for (const cpus of plan.cpus) {
        for (const emulator of plan.emulators) {
          for (const workload of workloadsOf(emulator, plan)) {
            const made = { kernel: kernel.name, cpus, workload: workload.name, emulator: emulator.name, round };
            const reason = emulator.cannot(kernel, cpus);
            if (reason !== null) {
              boots.push({ ...made, marks: {}, failure: reason });
              continue;
            }
            const initrd = join(folder, 'initrd');
            writeFileSync(initrd, initramfs(kernel, workload));
            const files = { kernel, image: kernelPath(kernel), initrd, memory, cpus };
            if (emulator.twice === true) await boot(emulator, files, workload, plan.timeout);
            const result = await boot(emulator, files, workload, plan.timeout);
            boots.push({ ...made, ...result });
            tell(boots.at(-1)!);
          }
        }
      }
    }
  }
  return boots;
}

async function main(args: readonly string[]): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), 'jit86-kernels-'));
  try {
    const plan = readPlan(args, folder);
    await findQemu();
    const boots = await measure(plan, folder);
    for (const { name, description } of plan.emulators) console.log(`${name}: ${description}`);
    process.stdout.write(report(boots));
    if (plan.json !== undefined) writeFileSync(plan.json, `${JSON.stringify(boots, null, 2)}\n`);
    const possible = (b: Boot) =>
      plan.emulators.find(({ name }) => name === b.emulator)?.cannot(kernels.find((k) => k.name === b.kernel)!, b.cpus);
    return boots.length === 0 || boots.some((each) => each.failure !== null && possible(each) === null) ? 1 : 0;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

if (import.meta.main) await begin('kernels', main);
