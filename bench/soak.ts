/**
 * A soak of the code memory: a guest that makes a new function, calls it until it is translated, and goes on to the next,
 * without end, in the memory of the ones before. What is translated is dropped when it is overwritten and when there is
 * too much of it, and the process must not grow for it.
 *
 *   npm run build
 *   node bench/soak.ts [--regions 10000] [--bound BYTES]
 *
 * Prints the resident size while it goes on, each time after a collection of garbage; the status is 1 if it has grown by
 * more than 32 MiB since the first fifth of the regions, when V8's heap has found its size, or the guest's sum is wrong. The
 * bound is low enough for translations to be dropped several times, and the translation cache keeps less than it is given.
 */

import { readFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { translate } from '../jit/translate.ts';
import { TranslationCache } from '../jit/translation-cache.ts';
import { UsageError } from '../runtime/cli/options.ts';
import { nodeHost } from '../runtime/hosts/node.ts';
import { loadGuest } from '../runtime/loaders/load.ts';
import { Vm } from '../runtime/vm/vm.ts';
import { openBus } from '../src/mmu/physical-memory.ts';
import { begin, counted } from './command-line.ts';

const mebibyte = 2 ** 20;
const allowedGrowth = 32 * mebibyte;
const cacheBytes = mebibyte / 2;

/** Where the guest's functions are made, one after the other, and how many there is room for. */
const functions = 0x20_0000;
const room = 4096;
const functionBytes = 64;
export const origin = 0x1_0000;
/** Calls of each function: more than make it hot. */
const calls = 1500;

const little32 = (value: number): number[] => [0, 8, 16, 24].map((shift) => (value >> shift) & 0xff);

/**
 * For ebx = 1, 2, …: writes `mov eax, ebx's value; ret` to the next place of the ring, calls it many times and adds up what
 * it returns in esi. Leaves ebx at port 0x80 after each function.
 */
export function soakGuest(): Uint8Array {
  const code: number[] = [];
  const emit = (...bytes: number[]) => void code.push(...bytes);
  emit(0xbc, ...little32(0x8000)); // mov esp, 0x8000
  emit(0x31, 0xdb, 0x31, 0xf6); // xor ebx, ebx; xor esi, esi
  const outer = code.length;
  emit(0x43); // inc ebx
  emit(0x89, 0xdf); // mov edi, ebx
  emit(0x81, 0xe7, ...little32(room - 1)); // and edi, room - 1
  emit(0x69, 0xff, ...little32(functionBytes)); // imul edi, functionBytes
  emit(0x81, 0xc7, ...little32(functions)); // add edi, functions
  emit(0xc6, 0x07, 0xb8); // mov byte [edi], opcode of mov eax, imm32
  emit(0x89, 0x5f, 0x01); // mov [edi + 1], ebx
  emit(0xc6, 0x47, 0x05, 0xc3); // mov byte [edi + 5], opcode of ret
  emit(0xb9, ...little32(calls)); // mov ecx, calls
  const inner = code.length;
  emit(0xff, 0xd7); // call edi
  emit(0x01, 0xc6); // add esi, eax
  emit(0x49); // dec ecx
  emit(0x75, inner - (code.length + 2)); // jnz inner
  emit(0x89, 0xd8); // mov eax, ebx
  emit(0xe7, 0x80); // out 0x80, eax
  emit(0xe9, ...little32(outer - (code.length + 5))); // jmp outer
  return Uint8Array.from(code);
}

/** Resident bytes of this process when nothing is left to collect. */
async function resident(): Promise<number> {
  const collect: () => void = runInNewContext('gc');
  collect();
  await nodeHost.nextTurn(); // V8 frees modules between tasks
  collect();
  return process.memoryUsage.rss();
}

/** The sum that the guest has in esi is what the functions so far return, the one that runs counted as far as it is. */
export function isRight({ rsi, rbx, rcx }: Readonly<Record<'rsi' | 'rbx' | 'rcx', number>>): boolean {
  const complete = calls * ((rbx * (rbx - 1)) / 2);
  const counts = [0, calls - rcx, calls - rcx + 1];
  return counts.some((count) => (complete + count * rbx) % 2 ** 32 === rsi);
}

async function main(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: { regions: { type: 'string', default: '10000' }, bound: { type: 'string', default: `${24 * mebibyte}` } },
  });
  const wanted = counted('regions', values.regions, 1e9);
  const bound = counted('bound', values.bound, 2 ** 40);
  await readFile(new URL('../dist/core.wasm', import.meta.url)).catch(() => {
    throw new UsageError('dist/core.wasm is not there: npm run build makes it');
  });
  setFlagsFromString('--expose-gc');
  const module = async (name: string) => new WebAssembly.Module(await nodeHost.readArtifact(name));
  let made = 0;
  const cache = new TranslationCache('soak', cacheBytes);
  const vm = new Vm({
    mmio: openBus,
    memory: 8 * mebibyte,
    cpus: 1,
    modules: { core: await module('core.wasm'), arithmetic: await module('softfloat.wasm') },
    ports: { read: () => 0xffff_ffff, write: (_port, _bytes, value) => void (made = value) },
    tsc: { read: () => 0n, hertz: 1e9 },
    translate: {
      way: { kind: 'hot', translate },
      cache,
      mode: { shared: false, x87: 'exact' },
      maximumBytes: bound,
    },
  });
  const options = { name: 'soak', commandLine: '', modules: [], flat: { address: origin, mode: 'protected' } } as const;
  vm.start(0, loadGuest(soakGuest(), { bytes: vm.ram }, options).state);
  const vcpu = vm.vcpu(0);
  const { statistics } = vm.translators[0]!;
  const started = performance.now();
  const sizes: number[] = [];
  console.log('  regions  functions  dropped all  cached  resident MiB  seconds');
  while (statistics.regions < wanted) {
    const exit = vcpu.enter(100_000);
    if (exit.kind !== 'budget') throw new Error(`the guest ended: ${exit.kind}`);
    await nodeHost.nextTurn();
    if (statistics.regions < ((sizes.length + 1) * wanted) / 10) continue;
    sizes.push(await resident());
    const columns = [
      [statistics.regions, 9],
      [made, 11],
      [statistics.dropped, 13],
      [cache.size, 8],
      [(sizes.at(-1)! / mebibyte).toFixed(0), 14],
      [((performance.now() - started) / 1000).toFixed(1), 9],
    ] as const;
    console.log(columns.map(([value, width]) => String(value).padStart(width)).join(''));
  }
  const { fields: state } = vcpu;
  if (!isRight({ rsi: state.get32('rsi'), rbx: state.get32('rbx'), rcx: state.get32('rcx') })) {
    console.log(`the guest's sum is ${state.get32('rsi')} in round ${state.get32('rbx')}, which is wrong`);
    return 1;
  }
  const growth = Math.max(...sizes) - sizes[1]!;
  const fits = growth <= allowedGrowth;
  console.log(`growth since the first fifth: ${(growth / mebibyte).toFixed(0)} MiB: ${fits ? 'bounded' : 'too much'}`);
  return fits ? 0 : 1;
}

if (import.meta.main) await begin('soak', main);
