/**
 * Writes an optimised block as interpreter records (records.ts): chooses the places of values, so that most register
 * traffic needs no record of its own.
 */
import { type FlagKind, flagCode } from '../ir/flags.ts';
import { mayFault, type Node } from '../ir/micro-ops.ts';
import { aliasKey, type Schedule, type Step, schedule } from '../ir/schedule.ts';
import type { Width } from '../ir/types.ts';
import { offsetOf, segmentNames, slotCount, slotsOffset } from '../state/layout.ts';
import { findKind, kindOf, type RecordKind, recordKey, splitImmediates } from './records.ts';

const gpr = Array.from({ length: 16 }, (_, i) =>
  offsetOf(
    ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'][i]!,
  ),
);
const xmm = Array.from({ length: 16 }, (_, i) => offsetOf(`xmm${i}`));
const ymmHigh = Array.from({ length: 16 }, (_, i) => offsetOf(`ymmHigh${i}`));
/** Offset of the register that a micro-op sets, or -1. */
function setBy({ op, imm }: Node): number {
  const file = op === 'reg.set' ? gpr : op === 'xmm.set' ? xmm : op === 'ymm.set' ? ymmHigh : null;
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

/** Bytes before the first record: instruction count (u32), how often the block was entered (u32). */
export const blockHeaderBytes = 8;
export const blockEntriesOffset = 4;

/** Where a block is written before it is copied out: one encoder works at a time, on one thread. */
const scratch = new Int32Array(1 << 14);
const scratchMarks = new Int32Array(1 << 10);
/** Places of the immediates in the records of the last block: word index * 2, + 1 where it has 64 bits. */
const places = new Int32Array(1 << 13);
let placeCount = 0;
export const immediatePlaces = (): Int32Array => places.subarray(0, placeCount);
const bits64 = new BigInt64Array(1);
const halves = new Int32Array(bits64.buffer);

class Encoder {
  private readonly nodes: readonly Node[];
  private readonly helper: HelperIndex;
  private readonly plan: Schedule;
  private readonly place: Int32Array;
  private readonly lastUse: Int32Array;
  private readonly clean: Uint8Array;
  private at = blockHeaderBytes;
  private readonly freeSlots: number[] = [];
  private readonly dying = new Map<number, number[]>();
  private slots = 0;
  private instructions = 0;
  private rip = 0n;
  private readonly whens: number[] = [];
  private readonly whenConstants: number[][] = [];

  constructor(nodes: readonly Node[], helper: HelperIndex) {
    placeCount = 0;
    this.nodes = nodes;
    this.helper = helper;
    this.plan = schedule(nodes);
    this.place = new Int32Array(nodes.length).fill(-1);
    this.lastUse = new Int32Array(nodes.length).fill(-1);
    this.clean = new Uint8Array(nodes.length);
    this.plan.steps.forEach((step, position) => {
      if (!step.save) for (const a of nodes[step.node]!.args) this.lastUse[a] = position;
    });
    // A value that stands for another's place (wrap, extend) keeps that place busy.
    for (let i = nodes.length - 1; i >= 0; i--) {
      if (nodes[i]!.op === 'i32.wrap' || nodes[i]!.op === 'i64.extend_u') {
        const a = nodes[i]!.args[0]!;
        this.lastUse[a] = Math.max(this.lastUse[a]!, this.lastUse[i]!);
      }
    }
  }

  encode(): EncodedBlock {
    const { steps } = this.plan;
    for (let p = 0; p < steps.length; p++) {
      this.step(steps[p]!, p);
      for (const slot of this.dying.get(p) ?? []) this.freeSlots.push(slot);
    }
    scratch[0] = this.instructions;
    scratch[1] = 0;
    return { words: scratch, length: this.at >> 2, instructions: this.instructions, marks: scratchMarks };
  }

  private slotAt(lastUse: number): number {
    const slot = this.freeSlots.pop() ?? this.slots++;
    if (slot >= slotCount) throw new Error('encode: a block needs too many value slots');
    const list = this.dying.get(lastUse);
    if (list === undefined) this.dying.set(lastUse, [slot]);
    else list.push(slot);
    return slotsOffset + slot * 16;
  }

  /** Where the operand can be read; registers that stand for themselves are read in place. */
  private where(v: number): number {
    if (this.place[v]! >= 0) return this.place[v]!;
    const node = this.nodes[v]!;
    if (node.op === 'reg.get') return gpr[node.imm[0] as number]!;
    if (node.op === 'xmm.get') return xmm[node.imm[0] as number]!;
    if (node.op === 'ymm.get') return ymmHigh[node.imm[0] as number]!;
    if (node.op === 'i32.wrap') return this.where(node.args[0]!);
    throw new Error(`encode: value ${v} (${node.op}) has no place yet`);
  }

  /** True if the eight bytes at the value's place are the value zero-extended. */
  private isClean(v: number): boolean {
    const { op } = this.nodes[v]!;
    return op === 'i32.wrap' ? false : this.clean[v] === 1;
  }

  private destination(v: number, position: number): number {
    const target = this.registerTarget(v, position);
    this.clean[v] = 1;
    return (this.place[v] = target >= 0 ? target : this.slotAt(this.lastUse[v]!));
  }

  /**
   * If the value goes into a register a little later, with nothing in between that reads the register, can fault or
   * branches, it is made there at once. Returns the register's offset or -1.
   */
  private registerTarget(v: number, position: number): number {
    const { steps } = this.plan;
    let carrier = v;
    for (let p = position + 1; p < steps.length; p++) {
      const { node: n, save } = steps[p]!;
      const node = this.nodes[n]!;
      if (save) return -1;
      if (node.op === 'i64.extend_u' && node.args[0] === carrier) {
        carrier = n;
        continue;
      }
      const target = setBy(node);
      if (target >= 0 && node.args[0] === carrier) {
        for (let k = position + 1; k < p; k++) {
          const between = this.nodes[steps[k]!.node]!;
          // POP rSP sets the register twice: the value that stays must not be put there before the other.
          if (setBy(between) === target) return -1;
          for (const a of between.args) if (this.reads(a, target)) return -1;
        }
        const last = Math.max(this.lastUse[v]!, this.lastUse[carrier]!);
        for (let k = p + 1; k <= last; k++) {
          if (setBy(this.nodes[steps[k]!.node]!) === target) return -1;
        }
        return target;
      }
      if (mayFault(node.op) || node.op === 'when' || node.op === 'end' || node.op === 'call') return -1;
      if (p > position + 6) return -1;
    }
    return -1;
  }
  /** True if the register at `target` is set after `from` and before `to`. */
  private overwritten(target: number, from: number, to: number): boolean {
    const { steps } = this.plan;
    for (let p = from + 1; p < to; p++) {
      const node = this.nodes[steps[p]!.node]!;
      if (!steps[p]!.save && node.op === 'reg.set' && gpr[node.imm[0] as number] === target) return true;
    }
    return false;
  }
  private reads(v: number, target: number): boolean {
    if (this.place[v] === target) return true;
    const node = this.nodes[v]!;
    if (this.place[v]! >= 0) return false;
    if (aliasKey(node) !== null) return this.where(v) === target;
    return node.op === 'i32.wrap' && this.reads(node.args[0]!, target);
  }

  private record(
    kind: RecordKind,
    destination: number,
    operands: readonly number[],
    immediates: readonly (number | bigint | readonly number[])[],
  ): void {
    if (this.at + kind.bytes + 32 > scratch.byteLength) throw new Error('encode: a block is too long');
    const start = this.at >> 2;
    scratch[start] = kind.id | (destination << 16);
    scratch[start + 1] = (operands[0] ?? 0) | ((operands[1] ?? 0) << 16);
    if (kind.immediateOffset > 8) scratch[start + 2] = operands[2] ?? 0;
    let at = start + (kind.immediateOffset >> 2);
    for (let i = 0; i < kind.immediates.length; i++) {
      const type = kind.immediates[i]!;
      const value = immediates[i]!;
      if (type === 'i32') {
        places[placeCount++] = at * 2;
        scratch[at++] = Number(value);
      } else if (type === 'i64') {
        places[placeCount++] = at * 2 + 1;
        bits64[0] = BigInt(value as number | bigint);
        scratch[at++] = halves[0]!;
        scratch[at++] = halves[1]!;
      } else {
        const bytes = value as readonly number[];
        for (let k = 0; k < 16; k += 4)
          scratch[at++] = bytes[k]! | (bytes[k + 1]! << 8) | (bytes[k + 2]! << 16) | (bytes[k + 3]! << 24);
      }
    }
    this.at += kind.bytes;
  }

  private copy(from: number, to: number, wide: boolean): void {
    if (from !== to) this.record(kindOf(wide ? 'copy.128' : 'copy.64'), to, [from], []);
  }

  /** The constant behind a value as an i32 immediate, or null. */
  private smallConstant(v: number): number | null {
    const node = this.nodes[v]!;
    if (node.op === 'i32.const') return node.imm[0] as number;
    if (node.op !== 'i64.const') return null;
    const n = node.imm[0] as bigint;
    return n === BigInt.asIntN(32, n) ? Number(n) : null;
  }

  /** The operand's place; a constant that has none yet gets a slot. */
  private operand(v: number): number {
    const node = this.nodes[v]!;
    if (
      this.place[v]! < 0 &&
      (node.op === 'i32.const' ||
        node.op === 'i64.const' ||
        node.op === 'v128.const' ||
        node.op === 'f32.const' ||
        node.op === 'f64.const')
    ) {
      const to = this.slotAt(this.lastUse[v]!);
      this.place[v] = to;
      this.clean[v] = 1;
      this.whenConstants.at(-1)?.push(v);
      if (node.op === 'f32.const')
        this.record(
          kindOf('i32.const'),
          to,
          [],
          [new Int32Array(new Float32Array([node.imm[0] as number]).buffer)[0]!],
        );
      else if (node.op === 'f64.const')
        this.record(
          kindOf('i64.const'),
          to,
          [],
          [new BigInt64Array(new Float64Array([node.imm[0] as number]).buffer)[0]!],
        );
      else this.record(kindOf(node.op), to, [], [node.imm[0] as number]);
      return to;
    }
    return this.where(v);
  }

  private step(step: Step, position: number): void {
    const v = step.node;
    const node = this.nodes[v]!;
    const { op, args, imm } = node;
    if (step.save) {
      const wide = op !== 'reg.get';
      const from = this.where(v);
      this.place[v] = this.slotAt(this.lastUse[v]!);
      return this.copy(from, this.place[v]!, wide);
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
        const inRegister = this.place[args[0]!]! < 0 || this.place[args[0]!]! < slotsOffset;
        if (!inRegister || !this.overwritten(at, position, this.lastUse[v]!)) {
          this.place[v] = at;
          return;
        }
        this.place[v] = this.slotAt(this.lastUse[v]!);
        return this.copy(at, this.place[v]!, false);
      }
      case 'i64.extend_u': {
        const a = args[0]!;
        const at = this.operand(a);
        if (this.isClean(a)) {
          this.place[v] = at;
          this.clean[v] = 1;
          return;
        }
        return this.record(kindOf('i64.extend_u'), this.destination(v, position), [at], []);
      }
      case 'reg.set': {
        const target = gpr[imm[0] as number]!;
        const n = this.smallConstant(args[0]!);
        if (n !== null) return this.record(kindOf('copy.64', [], true), target, [], [n]);
        return this.copy(this.operand(args[0]!), target, false);
      }
      case 'xmm.set':
      case 'ymm.set':
        return this.copy(this.operand(args[0]!), setBy(node), true);
      case 'state.get32':
        return this.record(kindOf('i64.extend_u'), this.destination(v, position), [offsetOf(imm[0] as string)], []);
      case 'state.get64':
        return this.record(kindOf('copy.64'), this.destination(v, position), [offsetOf(imm[0] as string)], []);
      case 'state.set32': {
        const n = this.smallConstant(args[0]!);
        if (n !== null) return this.record(kindOf('set.32', [], true), offsetOf(imm[0] as string), [], [n]);
        return this.record(kindOf('set.32'), offsetOf(imm[0] as string), [this.operand(args[0]!)], []);
      }
      case 'state.set64': {
        const n = this.smallConstant(args[0]!);
        if (n !== null) return this.record(kindOf('copy.64', [], true), offsetOf(imm[0] as string), [], [n]);
        return this.copy(this.operand(args[0]!), offsetOf(imm[0] as string), false);
      }
      case 'flags.set':
        return this.record(
          kindOf(op),
          0,
          args.map((a) => this.operand(a)),
          [flagCode(imm[0] as FlagKind, imm[1] as Width)],
        );
      case 'flags.merge':
        return this.record(kindOf(op), 0, [this.operand(args[0]!)], [imm[0] as number]);
      case 'flags.get':
      case 'flags.test':
        return this.record(kindOf(op), this.destination(v, position), [], [imm[0] as number]);
      case 'segment': {
        const [segment, bytes, write] = imm as [number, number, number];
        const name = segmentNames[segment]!;
        const offset = this.operand(args[0]!);
        return this.record(
          kindOf(op),
          this.destination(v, position),
          [offset, segment === 2 ? 12 : 13],
          [offsetOf(`${name}${write ? 'Write' : 'Read'}Low`), bytes - 1, offsetOf(`${name}Base`)],
        );
      }
      case 'probe.read':
      case 'probe.write':
        return this.record(kindOf(op), 0, [this.operand(args[0]!), imm[1] as number], [imm[0] as number]);
      case 'raise':
        return this.record(kindOf(op), 0, [], imm as number[]);
      case 'raise.if':
        return this.record(kindOf(op), 0, [this.operand(args[0]!)], imm as number[]);
      case 'when': {
        const condition = this.operand(args[0]!);
        this.whens.push(this.at);
        this.whenConstants.push([]);
        return this.record(kindOf(op), 0, [condition], [0]);
      }
      case 'end': {
        const when = this.whens.pop()!;
        // Constants placed by the body are not there if it was skipped.
        for (const c of this.whenConstants.pop()!) this.place[c] = -1;
        scratch[(when + kindOf('when').immediateOffset) >> 2] = this.at - when;
        return;
      }
      case 'jump': {
        const target = this.nodes[args[0]!]!;
        if (target.op === 'i64.const')
          return this.record(kindOf('jump', ['constant']), 0, [], [target.imm[0] as bigint]);
        return this.record(kindOf(op), 0, [this.operand(args[0]!)], []);
      }
      case 'branch':
        return this.record(kindOf(op), 0, [this.operand(args[0]!)], [imm[0] as bigint, imm[1] as bigint]);
      case 'x87.data':
        return this.record(
          kindOf(op),
          0,
          [this.operand(args[0]!)],
          [offsetOf(`${segmentNames[imm[0] as number]!}Selector`)],
        );
      case 'call':
        return this.record(kindOf(op), 0, [], [this.helper(imm[0] as string), imm[1] as bigint, imm[2] as bigint]);
      default:
        return this.general(v, position);
    }
  }

  /** Pure micro-ops, loads and stores: operands, destination, immediates as records.ts splits them. */
  private general(v: number, position: number): void {
    const { op, args, imm } = this.nodes[v]!;
    const isMemory = /^(load|store|modify)\./.test(op);
    const { fixed, dynamic } = isMemory ? { fixed: [], dynamic: [] } : splitImmediates(op, imm);
    const constant = args.length === 2 ? this.smallConstant(args[1]!) : null;
    const withConstant = constant !== null ? findKind(recordKey(op, fixed, true)) : undefined;
    const kind = withConstant ?? kindOf(op, fixed);
    const places = (withConstant === undefined ? args : [args[0]!]).map((a) => this.operand(a));
    const stack = isMemory ? (imm[0] as number) : 0;
    if (isMemory && kind.result !== null) places.push(stack);
    const destination = kind.result === null ? stack : this.destination(v, position);
    this.record(kind, destination, places, [
      ...(withConstant === undefined ? [] : [constant!]),
      ...(dynamic as number[]),
    ]);
  }
}

/** Encodes a block, whose last node must leave it (jump, branch, call or raise), or a part of one. */
export function encodeBlock(nodes: readonly Node[], helper: HelperIndex): EncodedBlock {
  return new Encoder(nodes, helper).encode();
}
