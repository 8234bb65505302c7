/**
 * Small guests for the tests of the VM API: machine code at 0x1000 of a VM of its own, in real, protected (flat, ring 0) or
 * 64-bit mode, executed by the interpreter or by translations.
 */
import { test } from 'node:test';
import { translate } from '../../jit/translate.ts';
import { loadFlatBinary } from '../../runtime/loaders/flat-binary.ts';
import type { GuestRam, InitialMode } from '../../runtime/loaders/initial-state.ts';
import { stateHash } from '../../runtime/state-hash.ts';
import type { VmOptions } from '../../runtime/vm/options.ts';
import { Vm } from '../../runtime/vm/vm.ts';
import { vmModules } from '../engines/modules.ts';

/** Who executes: nobody translates, or everything is translated when it is first executed, or when it is hot. */
export const engines = ['interpreter', 'translation', 'hot'] as const;
export type TestEngine = (typeof engines)[number];

/** Where guests' code lies. */
export const origin = 0x1000;

export interface GuestOptions extends Partial<Omit<VmOptions, 'modules' | 'translate'>> {
  readonly mode?: InitialMode;
}

/** A VM whose vCPU 0 stands before the first instruction. 4 MiB of RAM and one vCPU unless something else is asked for. */
export function guest(engine: TestEngine, code: Uint8Array | readonly number[], options: GuestOptions = {}): Vm {
  const { mode = 'protected', ...others } = options;
  const vm = emptyVm(engine, others);
  loadCode(vm, code, mode);
  return vm;
}

/** A VM without a guest. */
export function emptyVm(engine: TestEngine, options: Omit<GuestOptions, 'mode'> = {}): Vm {
  const way = engine === 'translation' ? 'first' : 'hot';
  const { x87 = 'exact' } = options;
  return new Vm({
    memory: 4 << 20,
    cpus: 1,
    modules: vmModules(),
    translate:
      engine === 'interpreter' ? false : { way: { kind: way, translate }, cache: null, mode: { shared: false, x87 } },
    ...options,
  });
}

export function loadCode(vm: Vm, code: Uint8Array | readonly number[], mode: InitialMode = 'protected'): void {
  const ram: GuestRam = { bytes: vm.ram };
  const bytes = Uint8Array.from(code);
  vm.start(0, loadFlatBinary(bytes, ram, { address: origin, mode }));
  vm.physical.writeBytes(origin, bytes); // what has been made of earlier code is told
}

/** Registers and RAM of vCPU 0. */
export function hashOf(vm: Vm): string {
  return stateHash(vm.vcpu(0), vm.ram);
}

/** One test for each engine. */
export function testEngines(name: string, body: (engine: TestEngine) => void | Promise<void>): void {
  for (const engine of engines) test(`${name} (${engine})`, () => body(engine));
}
