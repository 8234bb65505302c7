/** Puts a reset vCPU into the state that a loader asks for (runtime/loaders/initial-state.ts). */
import type { PhysicalMemory } from '../../src/mmu/physical-memory.ts';
import type { InitialState } from '../loaders/initial-state.ts';
import type { Vcpu } from './vcpu.ts';

const usable = 1 << 16;
/** Present, code or data, accessed, read-write or execute-read; D/B and G set, in long mode L in place of D. */
const access = {
  data16: usable | 0x93,
  code32: usable | 0xc09b,
  data32: usable | 0xc093,
  code64: usable | 0xa09b,
} as const;
const CR0_PE = 1n;
const CR0_ET = 0x10n;
const CR0_PG = 0x8000_0000n;
const CR4_PAE = 0x20n;
const EFER_LME_LMA = 0x500n;

export function enterInitialState(vcpu: Vcpu, memory: PhysicalMemory, initial: InitialState): void {
  const { fields: state, cpu } = vcpu;
  cpu.reset();
  memory.a20 = initial.a20;
  initial.gpr.forEach((value, i) => {
    state.u64[i] = BigInt.asUintN(64, BigInt(value)); // the general registers stand first in the layout
  });
  const segment = (name: string, selector: number, rights: number, real: boolean) => {
    state.set32(`${name}Selector`, selector);
    state.set64(`${name}Base`, real ? BigInt(selector * 16) : 0n);
    state.set32(`${name}Limit`, real ? 0xffff : 0xffff_ffff);
    state.set32(`${name}Access`, rights);
  };
  const real = initial.mode === 'real';
  segment(
    'cs',
    initial.codeSelector,
    real ? access.data16 : initial.mode === 'long' ? access.code64 : access.code32,
    real,
  );
  for (const name of ['ss', 'ds', 'es', 'fs', 'gs'])
    segment(name, initial.dataSelector, real ? access.data16 : access.data32, real);
  if (initial.gdt !== null) {
    state.set64('gdtrBase', BigInt(initial.gdt.base));
    state.set32('gdtrLimit', initial.gdt.limit);
  }
  let cr0 = CR0_ET;
  if (!real) cr0 |= CR0_PE;
  if (initial.mode === 'long') {
    cr0 |= CR0_PG;
    state.set64('cr4', CR4_PAE);
    state.set64('efer', EFER_LME_LMA);
  }
  if (initial.pageTables !== null) state.set64('cr3', BigInt(initial.pageTables));
  state.set64('cr0', cr0);
  state.set64('rip', BigInt.asUintN(64, BigInt(initial.rip)));
  cpu.stateReplaced();
}
