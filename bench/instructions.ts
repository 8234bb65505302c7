/**
 * Lists what instructions look like that kernels and their programs execute: what the build encodes for the interpreter
 * (`src/execute/learn-patterns.ts`), so that a machine that begins need not.
 *
 *   npm run instructions -- [--kernels 686,686-pae,amd64,cloud-amd64] [--cpus 1,2] [--workload whole|reduced|short]
 *
 * Boots Debian's kernels with busybox, and adds to `src/execute/common-instructions.txt` what the build did not know. Of
 * what only registers and numbers tell apart one instruction stands for all.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { nodeHost } from '../runtime/hosts/node.ts';
import { loadGuest } from '../runtime/loaders/load.ts';
import { createPcMachine } from '../runtime/machines/pc-machine.ts';
import { readList, writeList } from '../src/execute/learn-patterns.ts';
import { classOf } from '../src/execute/places.ts';
import { begin, counted, picked } from './command-line.ts';
import { type Kernel, kernelPath, kernels, missing } from './kernels/catalogue.ts';
import { commandLine, initramfs, type Workload, workloads } from './kernels/workload.ts';

const file = new URL('../src/execute/common-instructions.txt', import.meta.url);

/** Boots, works and ends; tells of every instruction that had to be learned. */
async function listen(
  kernel: Kernel,
  cpus: number,
  workload: Workload,
  learned: (context: number, place: number, code: Uint8Array) => void,
): Promise<void> {
  const ignore = (): void => {};
  const machine = await createPcMachine(
    { memory: 256 << 20, cpus, engine: 'auto', x87: 'exact', cache: null, serial: ignore, debugcon: ignore },
    nodeHost,
  );
  const modules = [{ bytes: initramfs(kernel, workload), string: '' }];
  machine.start(
    loadGuest(readFileSync(kernelPath(kernel)), machine.ram, { name: 'kernel', commandLine, modules }).state,
  );
  for (const { engine } of machine.vm.vcpus)
    engine.maker.onLearn = ({ id, codeSize }, ip, code) => learned(id, classOf(ip, codeSize === 64), code);
  await machine.run({});
  await machine.close();
}

async function main(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      kernels: { type: 'string' },
      cpus: { type: 'string', default: '1,2' },
      workload: { type: 'string', default: 'reduced' },
    },
  });
  const [workload] = picked('workload', values.workload, Object.values<Workload>(workloads), ({ name }) => name);
  const processors = values.cpus.split(',').map((text) => counted('cpus', text));
  const list = readList(readFileSync(file, 'utf8'));
  for (const kernel of picked('kernels', values.kernels, kernels, ({ name }) => name)) {
    const absent = missing(kernel);
    if (absent !== null) {
      console.error(`without ${kernel.name}: ${absent}`);
      continue;
    }
    for (const cpus of processors) {
      const before = list.length;
      await listen(kernel, cpus, workload!, (context, place, code) => {
        list.push({ context, place, code: Uint8Array.from(code) });
      });
      console.log(`${kernel.name}, cpus ${cpus}: ${list.length - before} that were not known`);
      writeFileSync(file, writeList(list));
    }
  }
  return 0;
}

if (import.meta.main) await begin('instructions', main);
