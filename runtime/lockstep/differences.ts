/**
 * What differs between two vCPUs that should be in one state, and which instruction made it so. One of them, the reference,
 * is the interpreter, which can be asked after every instruction.
 */
import { linearOf } from '../../src/execute/frontend.ts';
import { decode } from '../../src/isa/decode.ts';
import { disassemble } from '../../src/isa/disassemble.ts';
import { layout } from '../../src/state/layout.ts';
import type { Vcpu } from '../vm/vcpu.ts';
import { firstDifference } from './same-bytes.ts';

/** A vCPU and its memory. */
export interface Side {
  readonly vcpu: Vcpu;
  readonly ram: Uint8Array;
}

/** A place that a guest can see: a register, a part of the system state, a byte of RAM. */
export interface Place {
  readonly name: string;
  readonly read: (side: Side) => bigint;
}

const visibleFields: readonly Place[] = [...layout.values()]
  .filter(({ set }) => set !== null)
  .map(({ name, type, offset }) => ({
    name,
    read: ({ vcpu }) => {
      const { view } = vcpu.fields;
      if (type === 'u32') return BigInt(view.getUint32(offset, true));
      const low = view.getBigUint64(offset, true);
      return type === 'u64' ? low : low | (view.getBigUint64(offset + 8, true) << 64n);
    },
  }));
const flags: Place = { name: 'flags', read: ({ vcpu }) => BigInt(vcpu.engine.flags()) };
const byteAt = (at: number): Place => ({ name: `RAM 0x${at.toString(16)}`, read: ({ ram }) => BigInt(ram[at]!) });

/** Everything that differs, registers first, at most `limit` bytes of RAM. */
export function differingPlaces(a: Side, b: Side, limit = 20): Place[] {
  const places = [flags, ...visibleFields].filter(({ read }) => read(a) !== read(b));
  const at = (from: number) => firstDifference(a.ram, b.ram, from);
  for (let i = at(0), n = 0; i >= 0 && n < limit; i = at(i + 1), n++) places.push(byteAt(i));
  return places;
}

export function describePlace({ name, read }: Place, actual: Side, expected: Side): string {
  return `${name}: got 0x${read(actual).toString(16)}, expected 0x${read(expected).toString(16)}`;
}

/** An instruction as it stood in memory when it was about to be executed. */
export interface TracedInstruction {
  readonly rip: bigint;
  readonly bytes: Uint8Array;
  readonly text: string;
}

/** The instruction that a vCPU executes next. */
export function nextInstruction(vcpu: Vcpu): TracedInstruction {
  const { engine, fields: state } = vcpu;
  const context = engine.contexts.current(state);
  const rip = context.codeSize === 64 ? BigInt.asIntN(64, state.get64('rip')) : state.get64('rip');
  const linear = linearOf(context, rip);
  const code = new Uint8Array(16);
  let there = 0;
  for (
    let page = engine.pages.page(linear);
    there < 16 && page !== null;
    page = engine.pages.page(linear + BigInt(there))
  ) {
    const part = page.subarray(Number((linear + BigInt(there)) & 0xfffn)).subarray(0, 16 - there);
    code.set(part, there);
    there += part.length;
  }
  if (there === 0) return { rip, bytes: code.subarray(0, 0), text: '(no code here)' };
  const decoded = decode(code, 0, there, rip, context.codeSize);
  if (decoded.failure !== null) return { rip, bytes: code.subarray(0, there), text: `(${decoded.failure})` };
  return { rip, bytes: code.subarray(0, decoded.insn.length), text: disassemble(decoded) };
}

export function formatInstruction({ rip, bytes, text }: TracedInstruction): string {
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
  return `${BigInt.asUintN(64, rip).toString(16).padStart(8, '0')}  ${hex.padEnd(32)} ${text}`;
}

/** The reference's instructions before a difference, and the values that came out of each. */
export class Trace {
  private readonly places: readonly Place[];
  private readonly instructions: TracedInstruction[] = [];
  /** The last instruction that changed each place, or -1. */
  private readonly changed: number[];
  private values: readonly bigint[] = [];

  /** `places`: what differs in the end. */
  constructor(places: readonly Place[]) {
    // Every instruction moves the instruction pointer.
    const others = places.filter(({ name }) => name !== 'rip');
    this.places = others.length > 0 ? others : places;
    this.changed = this.places.map(() => -1);
  }
  before(side: Side): void {
    if (this.instructions.length === 0) this.values = this.places.map(({ read }) => read(side));
    this.instructions.push(nextInstruction(side.vcpu));
  }
  after(side: Side): void {
    const values = this.places.map(({ read }) => read(side));
    for (let i = 0; i < values.length; i++)
      if (values[i] !== this.values[i]) this.changed[i] = this.instructions.length - 1;
    this.values = values;
  }
  /**
   * Names the first instruction, since the last jump backwards, whose result is the value that one of the places should have:
   * what follows only spreads it. If there is none, the other engine has changed what it should not have.
   */
  report(shown = 12): string[] {
    const { instructions } = this;
    if (instructions.length === 0) return [];
    const last = instructions.length - 1;
    let from = last;
    while (from > 0 && instructions[from - 1]!.rip < instructions[from]!.rip) from--;
    const at = Math.min(last, ...this.changed.filter((step) => step >= from));
    const lines = [`first differing instruction: ${formatInstruction(instructions[at]!)}`];
    for (let i = Math.max(0, at - shown); i <= last; i++)
      lines.push(`  ${i === at ? '>' : ' '} ${formatInstruction(instructions[i]!)}`);
    return lines;
  }
}
