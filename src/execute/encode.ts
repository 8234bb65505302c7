/**
 * Writes an optimised block as interpreter records (records.ts): chooses the places of values, so that most register
 * traffic needs no record of its own.
 */

import { FLAG_CARRY_BIT, type FlagKind, flagCode } from '../ir/flags.ts';
import { codeMayFault, codeOf, type Immediate, type MicroOp, type Node, nodeOf, opList } from '../ir/micro-ops.ts';
import { aliasOf, type Step, schedule } from '../ir/schedule.ts';
import type { Width } from '../ir/types.ts';
import { offsetOf, segmentNames, slotCount, slotsOffset } from '../state/layout.ts';
import { fuse } from './encode-fusions.ts';
import { InternalError } from './internal-error.ts';
import { findKind, kindOf, type RecordKind, recordKey, splitImmediates } from './records.ts';

const gpr = Array.from({ length: 16 }, (_, i) =>
  offsetOf(
    ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'][i]!,
  ),
);
const xmm = Array.from({ length: 16 }, (_, i) => offsetOf(`xmm${i}`));
const ymmHigh = Array.from({ length: 16 }, (_, i) => offsetOf(`ymmHigh${i}`));
/** Offsets of the registers of a file, by the number of the micro-op that sets one. */
const setFiles = opList.map((op) =>
  op === 'reg.set' ? gpr : op === 'xmm.set' ? xmm : op === 'ymm.set' ? ymmHigh : null,
);
/** Offset of the register that a micro-op sets, or -1. */
function setBy({ code, imm }: Node): number {
  const file = setFiles[code]!;
  return file === null ? -1 : file[imm[0] as number]!;
}

/** A block's records and what is known of them; valid until the next block is encoded. */
export interface EncodedBlock {
  /** Header and records, in the first `length` words. */
  readonly words: Int32Array;
  readonly length: number;
  readonly instructions: number;
  /** For each instruction: where its first record begins (byte offset), and how far its rip is from the block's, << 16. */
  readonly marks: Int32Array;
}

export type HelperIndex = (name: string) => number;

/**
 * Bytes before the first record: instruction count (u32), how often the block was entered (u32); what a block that leads
 * here compares, as in an entry of the jump cache: rip (u64), context (u32; 0 = nobody leads here), epoch (u32), number of
 * the physical page (u32); the addresses of the two blocks that came after this one last (u32; 0 = none); and the block's
 * number (code-memory.ts; u32).
 */
export const blockHeaderBytes = 40;
export const blockEntriesOffset = 4;
export const blockPlace = { rip: 8, context: 16, epoch: 20, physical: 24 };
export const blockNext = [28, 32] as const;
export const blockNumberOffset = 36;

/** Where a block is written before it is copied out: one encoder works at a time, on one thread. */
const scratch = new Int32Array(1 << 14);
const scratchMarks = new Int32Array(1 << 10);
/** For each node of the block: its place, the position of its last use, and whether its place holds it zero-extended. */
let place = new Int32Array(1 << 8);
let lastUse = new Int32Array(1 << 8);
let clean = new Uint8Array(1 << 8);
/** By position: the first and the last slot that is free after it, + 1; by slot: the next one that is. */
let dyingFirst = new Int32Array(1 << 8);
let dyingLast = new Int32Array(1 << 8);
const dyingNext = new Int32Array(slotCount);
const freeSlots = new Int32Array(slotCount);
function makeRoom(nodes: number, steps: number): void {
  if (nodes > place.length) {
    place = new Int32Array(nodes * 2);
    lastUse = new Int32Array(nodes * 2);
    clean = new Uint8Array(nodes * 2);
  }
  if (steps > dyingFirst.length) {
    dyingFirst = new Int32Array(steps * 2);
    dyingLast = new Int32Array(steps * 2);
  }
  place.fill(-1, 0, nodes);
  lastUse.fill(-1, 0, nodes);
  clean.fill(0, 0, nodes);
  dyingFirst.fill(0, 0, steps);
}

const WRAP = codeOf('i32.wrap');
const EXTEND = codeOf('i64.extend_u');
const SET = codeOf('reg.set');
const CONSTANT = codeOf('i64.const');
const AND = codeOf('i64.and');
const BASE = codeOf('address.base');
const INDEX = codeOf('address.index');
/** Micro-ops that the making of a value must not be moved over. */
const isBarrier = Uint8Array.from(opList, (op, code) =>
  codeMayFault(code) || op === 'when' || op === 'end' || op === 'call' ? 1 : 0,
);
const isMemory = opList.map((op) => /^(load|store|modify)\./.test(op));

/** The kinds of record of a micro-op: with a slot or a constant as the last operand. */
interface Kinds {
  readonly plain: RecordKind;
  readonly constant: RecordKind | undefined;
}
/** A micro-op's immediates that are part of the kind, those in the record, and the kinds by the former. */
interface Shape {
  readonly fixed: readonly number[];
  readonly dynamic: readonly number[];
  readonly kinds: Map<number, Kinds>;
}
const shapes = new Array<Shape | undefined>(opList.length).fill(undefined);
function shapeOf(op: MicroOp, code: number): Shape {
  let shape = shapes[code];
  if (shape === undefined) {
    const { fixed, dynamic } = isMemory[code]! ? { fixed: [], dynamic: [] } : splitImmediates(op);
    shapes[code] = shape = { fixed, dynamic, kinds: new Map() };
  }
  return shape;
}
/** The kinds for a node's immediates, of which those that choose a kind are small numbers. */
function kindsOf(op: MicroOp, { fixed, kinds }: Shape, imm: readonly Immediate[]): Kinds {
  let key = 0;
  for (let i = 0; i < fixed.length; i++) key = key * 1024 + (imm[fixed[i]!] as number);
  let found = kinds.get(key);
  if (found === undefined) {
    const values = fixed.map((i) => imm[i]!);
    found = { plain: kindOf(op, values), constant: findKind(recordKey(op, values, true)) };
    kinds.set(key, found);
  }
  return found;
}
const kind = {
  copy: kindOf('copy.64'),
  copyConstant: kindOf('copy.64', [], true),
  copyWide: kindOf('copy.128'),
  set32: kindOf('set.32'),
  set32Constant: kindOf('set.32', [], true),
  extend: kindOf('i64.extend_u'),
  i32: kindOf('i32.const'),
  i64: kindOf('i64.const'),
  v128: kindOf('v128.const'),
  flagsSet: kindOf('flags.set'),
  flagsCode: kindOf('flags.code'),
  flagsCodeConstant: kindOf('flags.code', [], true),
  flagsConstant: kindOf('flags.constant'),
  flagsMerge: kindOf('flags.merge'),
  flagsGet: kindOf('flags.get'),
  flagsTest: kindOf('flags.test'),
  segment: kindOf('segment'),
  probeRead: kindOf('probe.read'),
  probeWrite: kindOf('probe.write'),
  raise: kindOf('raise'),
  raiseIf: kindOf('raise.if'),
  when: kindOf('when'),
  jump: kindOf('jump'),
  jumpConstant: kindOf('jump', ['constant']),
  branch: kindOf('branch'),
  call: kindOf('call'),
  callIf: kindOf('call.if'),
  x87Data: kindOf('x87.data'),
} as const;

const lowHalf = 0xffff_ffffn;
const bits64 = new BigInt64Array(1);
const halves = new Int32Array(bits64.buffer);

class Encoder {
  private readonly nodes: readonly Node[];
  private readonly helper: HelperIndex;
  private readonly steps: readonly Step[];
  private at = blockHeaderBytes;
  private freeCount = 0;
  private slots = 0;
  private instructions = 0;
  private rip = 0n;
  private readonly whens: number[] = [];
  private readonly whenConstants: number[][] = [];

  constructor(nodes: readonly Node[], helper: HelperIndex) {
    this.nodes = nodes;
    this.helper = helper;
    const { steps } = schedule(nodes, true);
    this.steps = steps;
    makeRoom(nodes.length, steps.length);
    for (let p = 0; p < steps.length; p++) {
      if ((steps[p]! & 1) !== 0) continue;
      const { args } = nodes[steps[p]! >> 1]!;
      for (let k = 0; k < args.length; k++) lastUse[args[k]!] = p;
    }
    // A value that stands for another's place (wrap, extend) keeps that place busy.
    for (let i = nodes.length - 1; i >= 0; i--) {
      const { code, args } = nodes[i]!;
      if ((code === WRAP || code === EXTEND) && lastUse[args[0]!]! < lastUse[i]!) lastUse[args[0]!] = lastUse[i]!;
    }
  }

  encode(): EncodedBlock {
    const { steps } = this;
    for (let p = 0; p < steps.length; p++) {
      this.step(steps[p]!, p);
      for (let slot = dyingFirst[p]!; slot !== 0; slot = dyingNext[slot - 1]!) freeSlots[this.freeCount++] = slot - 1;
    }
    scratch[0] = this.instructions;
    scratch[1] = 0;
    const length = fuse(scratch, blockHeaderBytes >> 2, this.at >> 2, scratchMarks, this.instructions);
    return { words: scratch, length, instructions: this.instructions, marks: scratchMarks };
  }

  private slotAt(last: number): number {
    const slot = this.freeCount > 0 ? freeSlots[--this.freeCount]! : this.slots++;
    if (slot >= slotCount) throw new InternalError('encode: a block needs too many value slots');
    if (last >= 0) {
      dyingNext[slot] = 0;
      if (dyingFirst[last] === 0) dyingFirst[last] = slot + 1;
      else dyingNext[dyingLast[last]! - 1] = slot + 1;
      dyingLast[last] = slot + 1;
    }
    return slotsOffset + slot * 16;
  }

  /** Where the operand can be read; registers that stand for themselves are read in place. */
  private where(v: number): number {
    if (place[v]! >= 0) return place[v]!;
    const node = this.nodes[v]!;
    switch (node.op) {
      case 'reg.get':
        return gpr[node.imm[0] as number]!;
      case 'xmm.get':
        return xmm[node.imm[0] as number]!;
      case 'ymm.get':
        return ymmHigh[node.imm[0] as number]!;
      case 'i32.wrap':
        return this.where(node.args[0]!);
      default:
        throw new InternalError(`encode: value ${v} (${node.op}) has no place yet`);
    }
  }

  /** True if the eight bytes at the value's place are the value zero-extended. */
  private isClean(v: number): boolean {
    const { code, args } = this.nodes[v]!;
    return code === WRAP ? this.isNarrow(args[0]!) : clean[v] === 1;
  }
  /** True if a value of 64 bits is sure to have nothing in its upper half. */
  private isNarrow(v: number): boolean {
    const { code, imm } = this.nodes[v]!;
    if (code === EXTEND) return true;
    return (code === BASE || code === INDEX) && imm.at(-1) !== 64;
  }

  private destination(v: number, position: number): number {
    const target = this.registerTarget(v, position);
    clean[v] = 1;
    return (place[v] = target >= 0 ? target : this.slotAt(lastUse[v]!));
  }

  /**
   * If the value goes into a register a little later, with nothing in between that reads the register, can fault or
   * branches, it is made there at once. Returns the register's offset or -1.
   */
  private registerTarget(v: number, position: number): number {
    const { steps, nodes } = this;
    let carrier = v;
    for (let p = position + 1; p < steps.length; p++) {
      if ((steps[p]! & 1) !== 0) return -1;
      const n = steps[p]! >> 1;
      const node = nodes[n]!;
      if (
        node.args[0] === carrier &&
        (node.code === EXTEND || (node.code === WRAP && this.isNarrow(carrier) && nodes[carrier]!.code !== EXTEND))
      ) {
        carrier = n;
        continue;
      }
      const target = setBy(node);
      if (target >= 0 && node.args[0] === carrier) {
        for (let k = position + 1; k < p; k++) {
          const between = nodes[steps[k]! >> 1]!;
          // POP rSP sets the register twice: the value that stays must not be put there before the other.
          if (setBy(between) === target) return -1;
          const { args } = between;
          for (let i = 0; i < args.length; i++) if (this.reads(args[i]!, target)) return -1;
        }
        const last = Math.max(lastUse[v]!, lastUse[carrier]!);
        for (let k = p + 1; k <= last; k++) {
          if (setBy(nodes[steps[k]! >> 1]!) === target) return -1;
        }
        return target;
      }
      if (isBarrier[node.code] === 1) return -1;
      if (p > position + 6) return -1;
    }
    return -1;
  }
  /** True if the register at `target` is set after `from` and before `to`. */
  private overwritten(target: number, from: number, to: number): boolean {
    const { steps } = this;
    for (let p = from + 1; p < to; p++) {
      const node = this.nodes[steps[p]! >> 1]!;
      if (node.code === SET && (steps[p]! & 1) === 0 && gpr[node.imm[0] as number] === target) return true;
    }
    return false;
  }
  private reads(v: number, target: number): boolean {
    if (place[v] === target) return true;
    const node = this.nodes[v]!;
    if (place[v]! >= 0) return false;
    if (aliasOf(node) >= 0) return this.where(v) === target;
    return node.code === WRAP && this.reads(node.args[0]!, target);
  }

  /** Writes a record but for its immediates; gives the index of their first word. */
  private record(of: RecordKind, destination: number, first = 0, second = 0, third = 0): number {
    const start = this.at >> 2;
    this.at += of.bytes;
    if (this.at + 32 > scratch.byteLength) throw new InternalError('encode: a block is too long');
    scratch[start] = of.id | (destination << 16);
    scratch[start + 1] = first | (second << 16);
    if (of.immediateOffset > 8) scratch[start + 2] = third;
    return start + (of.immediateOffset >> 2);
  }
  private put32(at: number, value: number): void {
    scratch[at] = value;
  }
  private put64(at: number, value: bigint): void {
    bits64[0] = value;
    scratch[at] = halves[0]!;
    scratch[at + 1] = halves[1]!;
  }
  /** A record with one immediate of 32 bits. */
  private with32(of: RecordKind, destination: number, value: number, first = 0, second = 0): void {
    this.put32(this.record(of, destination, first, second), value);
  }
  private putOther(at: number, type: RecordKind['immediates'][number], value: Immediate): number {
    if (type === 'i32') this.put32(at, Number(value));
    else if (type === 'i64') this.put64(at, BigInt(value as number | bigint));
    else {
      const bytes = value as readonly number[];
      for (let k = 0; k < 16; k += 4)
        scratch[at + (k >> 2)] = bytes[k]! | (bytes[k + 1]! << 8) | (bytes[k + 2]! << 16) | (bytes[k + 3]! << 24);
    }
    return at + (type === 'i32' ? 1 : type === 'i64' ? 2 : 4);
  }

  private copy(from: number, to: number, wide: boolean): void {
    if (from !== to) this.record(wide ? kind.copyWide : kind.copy, to, from);
  }

  /** The constant behind a value as an i32 immediate, or null. */
  private smallConstant(v: number): number | null {
    const node = this.nodes[v]!;
    if (node.op === 'i32.const') return node.imm[0] as number;
    if (node.op !== 'i64.const') return null;
    const n = Number(node.imm[0]);
    return n === (n | 0) ? n : null;
  }

  /** The operand's place; a constant that has none yet gets a slot. */
  private operand(v: number): number {
    if (place[v]! >= 0) return place[v]!;
    const { op, imm } = this.nodes[v]!;
    if (op !== 'i32.const' && op !== 'i64.const' && op !== 'v128.const' && op !== 'f32.const' && op !== 'f64.const')
      return this.where(v);
    const to = this.slotAt(lastUse[v]!);
    place[v] = to;
    clean[v] = 1;
    this.whenConstants.at(-1)?.push(v);
    switch (op) {
      case 'i32.const':
        this.with32(kind.i32, to, imm[0] as number);
        break;
      case 'i64.const':
        this.put64(this.record(kind.i64, to), imm[0] as bigint);
        break;
      case 'f32.const':
        this.with32(kind.i32, to, new Int32Array(new Float32Array([imm[0] as number]).buffer)[0]!);
        break;
      case 'f64.const':
        this.put64(this.record(kind.i64, to), new BigInt64Array(new Float64Array([imm[0] as number]).buffer)[0]!);
        break;
      default:
        this.putOther(this.record(kind.v128, to), 'v128', imm[0]!);
    }
    return to;
  }

  private step(step: Step, position: number): void {
    const v = step >> 1;
    const node = this.nodes[v]!;
    const { op, args, imm } = node;
    if ((step & 1) !== 0) {
      const from = this.where(v);
      place[v] = this.slotAt(lastUse[v]!);
      return this.copy(from, place[v]!, op !== 'reg.get');
    }
    switch (op) {
      case 'i32.const':
      case 'i64.const':
      case 'f32.const':
      case 'f64.const':
      case 'v128.const':
        return; // at the first record that cannot hold it as an immediate
      case 'restart':
        return;
      case 'insn':
        if (this.instructions === 0) this.rip = imm[0] as bigint;
        scratchMarks[this.instructions++] = this.at | (Number(BigInt.asUintN(16, (imm[0] as bigint) - this.rip)) << 16);
        return;
      case 'i32.wrap': {
        // Reads the low half in place, unless that is a register which is overwritten before the last use.
        const at = this.operand(args[0]!);
        const inRegister = place[args[0]!]! < 0 || place[args[0]!]! < slotsOffset;
        if (!inRegister || !this.overwritten(at, position, lastUse[v]!)) {
          place[v] = at;
          return;
        }
        place[v] = this.slotAt(lastUse[v]!);
        return this.copy(at, place[v]!, false);
      }
      case 'i64.extend_u': {
        const a = args[0]!;
        const at = this.operand(a);
        if (this.isClean(a)) {
          place[v] = at;
          clean[v] = 1;
          return;
        }
        this.record(kind.extend, this.destination(v, position), at);
        return;
      }
      case 'reg.set':
        return this.set64(gpr[imm[0] as number]!, args[0]!);
      case 'xmm.set':
      case 'ymm.set':
        return this.copy(this.operand(args[0]!), setBy(node), true);
      case 'state.get32':
        this.record(kind.extend, this.destination(v, position), offsetOf(imm[0] as string));
        return;
      case 'state.get64':
        this.record(kind.copy, this.destination(v, position), offsetOf(imm[0] as string));
        return;
      case 'state.set32': {
        const n = this.smallConstant(args[0]!);
        if (n !== null) this.with32(kind.set32Constant, offsetOf(imm[0] as string), n);
        else {
          const from = this.operand(args[0]!);
          this.record(kind.set32, offsetOf(imm[0] as string), from);
        }
        return;
      }
      case 'state.set64':
        return this.set64(offsetOf(imm[0] as string), args[0]!);
      case 'flags.set': {
        const carries = this.smallConstant(args[2]!);
        if (carries !== null) {
          const code = flagCode(imm[0] as FlagKind, imm[1] as Width) | (carries << FLAG_CARRY_BIT);
          return this.flags(code, args[0]!, args[1]!);
        }
        const [a, b, carry] = [this.operand(args[0]!), this.operand(args[1]!), this.operand(args[2]!)];
        this.put32(this.record(kind.flagsSet, 0, a, b, carry), flagCode(imm[0] as FlagKind, imm[1] as Width));
        return;
      }
      case 'flags.merge':
        return this.with32(kind.flagsMerge, 0, imm[0] as number, this.operand(args[0]!));
      case 'flags.get':
      case 'flags.test':
        return this.with32(
          op === 'flags.get' ? kind.flagsGet : kind.flagsTest,
          this.destination(v, position),
          imm[0] as number,
        );
      case 'segment': {
        const [segment, bytes, write] = imm as [number, number, number];
        const name = segmentNames[segment]!;
        const offset = this.operand(args[0]!);
        const at = this.record(kind.segment, this.destination(v, position), offset, segment === 2 ? 12 : 13);
        this.put32(at, offsetOf(`${name}${write ? 'Write' : 'Read'}Low`));
        this.put32(at + 1, bytes - 1);
        this.put32(at + 2, offsetOf(`${name}Base`));
        return;
      }
      case 'probe.read':
      case 'probe.write': {
        const of = op === 'probe.read' ? kind.probeRead : kind.probeWrite;
        return this.with32(of, 0, imm[0] as number, this.operand(args[0]!), imm[1] as number);
      }
      case 'raise':
      case 'raise.if': {
        const condition = op === 'raise' ? 0 : this.operand(args[0]!);
        const at = this.record(op === 'raise' ? kind.raise : kind.raiseIf, 0, condition);
        this.put32(at, imm[0] as number);
        this.put32(at + 1, imm[1] as number);
        return;
      }
      case 'when': {
        const condition = this.operand(args[0]!);
        this.whens.push(this.at);
        this.whenConstants.push([]);
        return this.with32(kind.when, 0, 0, condition);
      }
      case 'end': {
        const when = this.whens.pop()!;
        // Constants placed by the body are not there if it was skipped.
        for (const c of this.whenConstants.pop()!) place[c] = -1;
        scratch[(when + kind.when.immediateOffset) >> 2] = this.at - when;
        return;
      }
      case 'jump': {
        const target = this.nodes[args[0]!]!;
        if (target.op === 'i64.const') this.put64(this.record(kind.jumpConstant, 0), target.imm[0] as bigint);
        else this.record(kind.jump, 0, this.operand(args[0]!));
        return;
      }
      case 'branch': {
        const at = this.record(kind.branch, 0, this.operand(args[0]!));
        this.put64(at, imm[0] as bigint);
        this.put64(at + 2, imm[1] as bigint);
        return;
      }
      case 'x87.data': {
        const selector = offsetOf(`${segmentNames[imm[0] as number]!}Selector`);
        return this.with32(kind.x87Data, 0, selector, this.operand(args[0]!));
      }
      case 'call':
      case 'call.if': {
        const at = op === 'call' ? this.record(kind.call, 0) : this.record(kind.callIf, 0, this.operand(args[0]!));
        this.put32(at, this.helper(imm[0] as string));
        this.put64(at + 1, imm[1] as bigint);
        this.put64(at + 3, imm[2] as bigint);
        return;
      }
      default:
        return this.general(v, position);
    }
  }

  private flags(code: number, a: number, b: number): void {
    const first = this.smallConstant(a);
    const second = this.smallConstant(b);
    if (second === null) this.record(kind.flagsCode, code, this.operand(a), this.operand(b));
    else if (first === null) this.with32(kind.flagsCodeConstant, code, second, this.operand(a));
    else {
      const at = this.record(kind.flagsConstant, code);
      this.put32(at, first);
      this.put32(at + 1, second);
    }
  }

  /** A register or field of 64 bits. */
  private set64(target: number, v: number): void {
    const { code, imm } = this.nodes[v]!;
    const n = this.smallConstant(v);
    if (n !== null) this.with32(kind.copyConstant, target, n);
    else if (code === CONSTANT && place[v]! < 0) this.put64(this.record(kind.i64, target), imm[0] as bigint);
    else this.copy(this.operand(v), target, false);
  }

  /** Pure micro-ops, loads and stores: operands, destination, immediates as records.ts splits them. */
  private general(v: number, position: number): void {
    const { op, code, args, imm } = this.nodes[v]!;
    const shape = shapeOf(op, code);
    const kinds = kindsOf(op, shape, imm);
    if (code === AND && this.nodes[args[1]!]!.imm[0] === lowHalf) {
      const from = this.operand(args[0]!);
      this.record(kind.extend, this.destination(v, position), from);
      return;
    }
    const constant = args.length === 2 && kinds.constant !== undefined ? this.smallConstant(args[1]!) : null;
    const of = constant === null ? kinds.plain : kinds.constant!;
    const count = constant === null ? args.length : 1;
    const first = count > 0 ? this.operand(args[0]!) : 0;
    let second = count > 1 ? this.operand(args[1]!) : 0;
    const third = count > 2 ? this.operand(args[2]!) : 0;
    const stack = isMemory[code]! ? (imm[0] as number) : 0;
    if (isMemory[code]! && of.result !== null) second = stack;
    const destination = of.result === null ? stack : this.destination(v, position);
    let at = this.record(of, destination, first, second, third);
    let next = 0;
    if (constant !== null) {
      this.put32(at++, constant);
      next = 1;
    }
    const { dynamic } = shape;
    for (let i = 0; i < dynamic.length; i++) at = this.putOther(at, of.immediates[next++]!, imm[dynamic[i]!]!);
  }
}

/** Encodes a block, whose last node must leave it (jump, branch, call or raise), or a part of one. */
export function encodeBlock(nodes: readonly Node[], helper: HelperIndex): EncodedBlock {
  return new Encoder(withoutNegation(nodes), helper).encode();
}

/** A branch on a negation goes the other ways without it. */
function withoutNegation(nodes: readonly Node[]): readonly Node[] {
  let last = nodes.at(-1)!;
  if (last.op !== 'branch' || nodes[last.args[0]!]!.op !== 'i32.eqz') return nodes;
  do {
    const [taken, next] = last.imm;
    last = nodeOf('branch', nodes[last.args[0]!]!.args, [next!, taken!]);
  } while (nodes[last.args[0]!]!.op === 'i32.eqz');
  return [...nodes.slice(0, -1), last];
}
