/**
 * What guests of many tests have in common: the instructions that set up a processor, as the bytes of 32-bit code (and, where
 * they name no address, of 64-bit code), and the tables that these instructions load. SDM volume 3, sections 3.4 and 6.11.
 */
import type { Vm } from '../../runtime/vm/vm.ts';
import { dword, qword } from './assembler.ts';

// --- instructions
/** `mov al, value; out port, al` */
export const out = (port: number, value: number): number[] => [0xb0, value, 0xe6, port];
/** `mov dword [address], value` */
export const store = (address: number, value: number): number[] => [0xc7, 0x05, ...dword(address), ...dword(value)];
/** `mov ecx, index; rdmsr` */
export const rdmsr = (index: number): number[] => [0xb9, ...dword(index), 0x0f, 0x32];
/** `mov ecx, index; mov eax, low; mov edx, high; wrmsr` */
export const wrmsr = (index: number, low: number, high = 0): number[] => [
  ...[0xb9, ...dword(index), 0xb8, ...dword(low)],
  ...(high === 0 ? [0x31, 0xd2] : [0xba, ...dword(high)]), // xor edx, edx
  ...[0x0f, 0x30],
];
/** `lgdt [pointer]`, `lidt [pointer]` */
export const lgdt = (pointer: number): number[] => [0x0f, 0x01, 0x15, ...dword(pointer)];
export const lidt = (pointer: number): number[] => [0x0f, 0x01, 0x1d, ...dword(pointer)];
const control = (register: number, ...change: number[]): number[] => {
  const operand = 0xc0 | (register << 3);
  return [0x0f, 0x20, operand, ...change, 0x0f, 0x22, operand]; // mov eax, crN; …; mov crN, eax
};
/** Sets bits of a control register by way of EAX; in 16-bit code only such as AL holds. */
export const setControl = (register: number, bits: number): number[] =>
  control(register, ...(bits <= 0xff ? [0x0c, bits] : [0x0d, ...dword(bits)])); // or
/** Clears them. */
export const clearControl = (register: number, bits: number): number[] =>
  control(register, ...(bits <= 0xff ? [0x24, ~bits & 0xff] : [0x25, ...dword(~bits)])); // and
/** Bits of CR0, CR4 and IA32_EFER for them. */
export const CR0_PE = 1;
export const CR0_PG = 0x8000_0000;
export const CR4_DE = 1 << 3;
export const CR4_PAE = 1 << 5;
/** OSFXSR and OSXMMEXCPT. */
export const CR4_SSE = 0x600;
export const EFER = 0xc000_0080;
export const EFER_LME = 1 << 8;

// --- tables
/** The two words of a gate: an interrupt gate of ring 0 unless `access` says otherwise. */
export function gate(selector: number, offset: number, access = 0x8e, count = 0): [number, number] {
  return [((offset & 0xffff) | (selector << 16)) >>> 0, ((offset & 0xffff_0000) | (access << 8) | count) >>> 0];
}
/** The two words of a segment descriptor; `limit` in its own unit, `flags` are G, D/B, L and AVL. */
export function descriptor(base: number, limit: number, access: number, flags: number): [number, number] {
  const low = ((limit & 0xffff) | (base << 16)) >>> 0;
  const high = ((base >>> 16) & 0xff) | (access << 8) | (limit & 0xf_0000) | (flags << 20) | (base & 0xff00_0000);
  return [low, high >>> 0];
}
/** Descriptors of segments from 0 to 4 GiB. */
export const flat = {
  code: 0x00cf_9b00_0000_ffffn,
  data: 0x00cf_9300_0000_ffffn,
  userCode: 0x00cf_fb00_0000_ffffn,
  userData: 0x00cf_f300_0000_ffffn,
  code16: 0x000f_9b00_0000_ffffn,
  code64: 0x00af_9b00_0000_ffffn,
} as const;
/** The bytes of a GDT, whose first descriptor is the null one. */
export const gdt = (...descriptors: readonly bigint[]): number[] => [0n, ...descriptors].flatMap(qword);
/** What LGDT and LIDT read. */
export const tablePointer = (limit: number, base: number): number[] => [limit & 0xff, limit >> 8, ...dword(base)];

/** Puts a GDT at `base`, and 8 bytes before it what LGDT reads. */
export function putGdt(ram: Uint8Array, base: number, ...descriptors: readonly bigint[]): void {
  ram.set(gdt(...descriptors), base);
  ram.set(tablePointer(descriptors.length * 8 + 7, base), base - 8);
}
/**
 * Puts 32-bit interrupt gates into the IDT at `base`.
 * @param handlers addresses of handlers by vector
 */
export function putGates(
  ram: Uint8Array,
  base: number,
  handlers: Readonly<Record<number, number | bigint>>,
  selector = 8,
): void {
  for (const [vector, handler] of Object.entries(handlers))
    ram.set(gate(selector, Number(handler)).flatMap(dword), base + Number(vector) * 8);
}
/** The same for an IDT of 256 vectors, and 8 bytes before it what LIDT reads. */
export function putIdt(
  ram: Uint8Array,
  base: number,
  handlers: Readonly<Record<number, number | bigint>>,
  selector = 8,
): void {
  putGates(ram, base, handlers, selector);
  ram.set(tablePointer(0x7ff, base), base - 8);
}
/** Gives a vCPU an IDT at 3000H in its mode, with handlers in its code segment; the guest loads none. */
export function giveIdt(vm: Vm, handlers: Readonly<Record<number, number | bigint>>): void {
  const base = 0x3000;
  const { fields } = vm.vcpu(0);
  const selector = fields.get32('csSelector');
  const long = (fields.get64('efer') & 0x400n) !== 0n;
  if (long)
    for (const [vector, handler] of Object.entries(handlers))
      vm.ram.set([...gate(selector, Number(handler)), 0, 0].flatMap(dword), base + Number(vector) * 16);
  else putGates(vm.ram, base, handlers, selector);
  fields.set64('idtrBase', BigInt(base));
  fields.set32('idtrLimit', long ? 0xfff : 0x7ff);
}
