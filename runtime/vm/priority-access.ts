/**
 * The task priority at the local APIC's page as translated code reaches it: like a program beside the processor
 * (src/mmu/direct-access.ts), by a function on the vCPU's fields. While no vector waits, a priority holds none back, and to
 * write it is all; otherwise the function passes the access on to the APIC, as CR8 does (src/isa/system.ts). SDM volume 3,
 * section 11.8.3.1.
 */
import type { DirectAccess } from '../../src/mmu/direct-access.ts';
import type { CpuState } from '../../src/state/cpu-state.ts';
import { offsetOf } from '../../src/state/layout.ts';

/** Offset of the register in the page. */
export const priorityRegister = 0x80;
/** Of 32 bits: twice the size, plus 1 for a write. */
const readWay = 8;
const writeWay = 9;
/** `priorityPaths`: the field holds it for both. */
const heldInField = 3;

const i32 = 0x7f;
const i64 = 0x7e;
const end = 0x0b;

function signed(value: number): number[] {
  const bytes: number[] = [];
  for (let rest = value; ; rest >>= 7) {
    const last = rest >> 6 === 0 || rest >> 6 === -1;
    bytes.push((rest & 0x7f) | (last ? 0 : 0x80));
    if (last) return bytes;
  }
}
const constant = (value: number) => [0x41, ...signed(value)];
const local = (index: number) => [0x20, index];
const load = (address: number) => [...constant(address), 0x28, 2, 0];
const isEqual = 0x46;
const ifTrue = (...body: (number | readonly number[])[]) => [0x04, 0x40, ...body.flat(), end];
const giveBack = 0x0f;
const text = (word: string) => [word.length, ...new TextEncoder().encode(word)];
/** Shorter than 128 bytes. */
const section = (id: number, ...content: (number | readonly number[])[]) => [
  id,
  content.flat().length,
  ...content.flat(),
];

/** The function for one vCPU. */
export function priorityAccess(memory: WebAssembly.Memory, { base }: CpuState): DirectAccess {
  const priority = base + offsetOf('taskPriority');
  const paths = base + offsetOf('priorityPaths');
  const [way, value] = [2, 3];
  const byte = [...local(value), ...constant(0xff), 0x71]; // and
  const body = [
    0, // no locals
    ...[...local(way), ...constant(writeWay), isEqual],
    ...ifTrue(
      [...load(paths), ...constant(heldInField), isEqual],
      ifTrue(constant(priority), byte, [0x36, 2, 0, 0x42, 0, giveBack]), // store; 0
    ),
    ...[...local(way), ...constant(readWay), isEqual],
    ...ifTrue(load(paths), ifTrue(constant(priority), [0x35, 2, 0, giveBack])), // load32_u
    ...[0x42, 0x7f, end], // -1
  ];
  const bytes = [
    ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, 1, 0x60, 4, [i32, i32, i32, i32], 1, i64),
    ...section(2, 1, text('env'), text('memory'), 2, 0, 0),
    ...section(3, 1, 0),
    ...section(7, 1, text('access'), 0, 0),
    ...section(10, 1, body.length, body),
  ];
  const module = new WebAssembly.Module(Uint8Array.from(bytes));
  return new WebAssembly.Instance(module, { env: { memory } }).exports.access as DirectAccess;
}
