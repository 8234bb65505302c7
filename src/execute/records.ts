/**
 * The interpreter's records: how a micro-op stands in memory for the loop of jit/core.ts. Each kind of record is one case
 * of the loop; encoder and loop number them from this one list.
 *
 * A record is: case number (u16), destination (u16), first and second operand (u16 each); a third operand (u16, u16 spare)
 * if there is one; then the immediates. Operands and destination are byte offsets in the vCPU's block: a register's field
 * or a value slot. A slot holds 8 bytes (an i32 zero-extended), a v128 slot 16.
 *
 * Micro-ops that often follow one another have a record in common (fusions.ts): case number, then the places of all of
 * them (u16 each), then their immediates.
 */

import { type Immediate, type MicroOp, microOps, specOf } from '../ir/micro-ops.ts';
import { sseImmediates } from '../ir/sse-ops.ts';
import type { Type } from '../ir/types.ts';
import { isX87, x87Immediates } from '../ir/x87-ops.ts';
import { fusions, parseFusion } from './fusions.ts';

/** `i32` and `i64`: that many bytes of immediate; `v128`: sixteen bytes. */
export type RecordImmediate = 'i32' | 'i64' | 'v128';

/** Where a micro-op finds its things in a record: offsets in it, -1 = not there. */
export interface Part {
  readonly kind: RecordKind;
  readonly destination: number;
  /** By operand; -1 for a constant and for what an earlier part of the record hands on. */
  readonly operands: readonly number[];
  /** By operand: the part whose result it is, -1 = it is read from its place. */
  readonly from: readonly number[];
  /** A later part takes the result. */
  readonly handsOn: boolean;
  /** A u16 that is no place: stack flag of an access, vector of a segment's fault, code of flags. */
  readonly extra: number;
  readonly immediates: readonly number[];
}

export interface RecordKind {
  readonly id: number;
  readonly key: string;
  /** What the record does, one after the other: one micro-op, or the several of a fusion (fusions.ts). */
  readonly parts: readonly Part[];
  /** The micro-op, or one that only the interpreter has; the last one of a fusion. */
  readonly op: MicroOp | CopyOp;
  readonly operands: readonly Type[];
  readonly result: Type | null;
  /** Immediates that are part of the kind. */
  readonly fixed: readonly Immediate[];
  /** Immediates that stand in the record. */
  readonly immediates: readonly RecordImmediate[];
  /** The last operand is not a slot but an i32 immediate (sign-extended), the first of the immediates. */
  readonly constantOperand: boolean;
  readonly immediateOffset: number;
  readonly bytes: number;
}

/**
 * Copies between registers and slots, the set of a 32-bit field, and the record that ends a block that was overwritten.
 * `flags.code` is `flags.set` with a constant carry, which then stands with the code in the destination's place;
 * `flags.constant` has constant operands, too.
 */
export type CopyOp = 'copy.64' | 'copy.128' | 'set.32' | 'stop' | 'flags.code' | 'flags.constant';

export const immediateBytes: Record<RecordImmediate, number> = { i32: 4, i64: 8, v128: 16 };

/** How the immediates of a micro-op go into its record: the fixed combinations, and the types of the others by position. */
interface Split {
  readonly fixed: readonly (readonly Immediate[])[];
  /** For each immediate of the node: its record type, or null if it is fixed. */
  readonly dynamic: readonly (RecordImmediate | null)[];
}
const none: Split = { fixed: [[]], dynamic: [] };
const widths = [16, 32, 64];

function lanes(op: MicroOp): number {
  const [shape] = op.split('.');
  return Number(shape!.split('x')[1]);
}

function split(op: MicroOp): Split {
  switch (op) {
    case 'i32.const':
      return { fixed: [[]], dynamic: ['i32'] };
    case 'i64.const':
      return { fixed: [[]], dynamic: ['i64'] };
    case 'v128.const':
      return { fixed: [[]], dynamic: ['v128'] };
    case 'address.base':
      return { fixed: widths.map((w) => [w]), dynamic: ['i32', null] };
    case 'address.index':
      return { fixed: [0, 1, 2, 3].flatMap((s) => widths.map((w) => [s, w])), dynamic: [null, 'i32', null] };
    default:
      if (isX87(op)) return { fixed: [[]], dynamic: x87Immediates(op) };
      if (sseImmediates(op).length > 0) return { fixed: sseImmediates(op).map((n) => [n]), dynamic: [null] };
      if (op === 'mmx.get' || op === 'mmx.set')
        return { fixed: [0, 1, 2, 3, 4, 5, 6, 7].map((n) => [n]), dynamic: [null] };
      if (/lane/.test(op)) return { fixed: Array.from({ length: lanes(op) }, (_, i) => [i]), dynamic: [null] };
      if (op.endsWith('.shuffle')) return { fixed: [[]], dynamic: ['v128'] };
      return none;
  }
}
const special: Partial<Record<MicroOp, readonly RecordImmediate[]>> = {
  'flags.set': ['i32'], // code
  'flags.merge': ['i32'], // mask
  'flags.get': ['i32'],
  'flags.test': ['i32'], // condition code
  segment: ['i32', 'i32', 'i32'], // offset of the range in the block, bytes - 1, offset of the base; destination b = vector
  'probe.read': ['i32'],
  'probe.write': ['i32'],
  raise: ['i32', 'i32'],
  'raise.if': ['i32', 'i32'],
  when: ['i32'], // bytes to skip
  jump: [],
  branch: ['i64', 'i64'],
  call: ['i32', 'i64', 'i64'], // helper, rip, next
  'call.if': ['i32', 'i64', 'i64'],
};
/** Micro-ops that make no record of their own: they steer the encoder, or are copies. */
const unrecorded = new Set<MicroOp>([
  'reg.get',
  'reg.set',
  'xmm.get',
  'xmm.set',
  'ymm.get',
  'ymm.set',
  'state.get32',
  'state.set32',
  'state.get64',
  'state.set64',
  'insn',
  'restart',
  'end',
  'f32.const',
  'f64.const',
]);

const takesConstant = (op: MicroOp): boolean => {
  const { operands, effect } = specOf(op);
  const last = operands.at(-1);
  if (last !== 'i32' && last !== 'i64') return false;
  if (op.startsWith('store.')) return true;
  return effect === 'pure' && operands.length === 2 && operands[0] === last && /^i(32|64)\./.test(op);
};

function makeKinds(): RecordKind[] {
  const kinds: RecordKind[] = [];
  const add = (
    op: RecordKind['op'],
    operands: readonly Type[],
    result: Type | null,
    fixed: readonly Immediate[],
    immediates: readonly RecordImmediate[],
    constantOperand: boolean,
  ) => {
    const slots = operands.length - (constantOperand ? 1 : 0);
    const all: readonly RecordImmediate[] = constantOperand ? ['i32', ...immediates] : immediates;
    const immediateOffset = slots > 2 ? 12 : 8;
    const bytes = all.reduce((n, t) => n + immediateBytes[t], immediateOffset);
    const parts: Part[] = [];
    const kind: RecordKind = {
      id: kinds.length,
      key: recordKey(op, fixed, constantOperand),
      parts,
      op,
      operands,
      result,
      fixed,
      immediates: all,
      constantOperand,
      immediateOffset,
      bytes,
    };
    parts.push({
      kind,
      destination: result !== null || op === 'set.32' ? 2 : -1,
      operands: operands.map((_, i) => (i < slots ? 4 + 2 * i : -1)),
      from: operands.map(() => -1),
      handsOn: false,
      extra: hasExtra(op) ? (result === null && !/^(probe|segment)/.test(op) ? 2 : 6) : -1,
      immediates: offsetsOf(all, immediateOffset),
    });
    kinds.push(kind);
  };
  add('copy.64', ['i64'], 'i64', [], [], false);
  add('copy.64', ['i64'], 'i64', [], [], true);
  add('copy.128', ['v128'], 'v128', [], [], false);
  add('set.32', ['i32'], null, [], [], false);
  add('set.32', ['i32'], null, [], [], true);
  add('stop', [], null, [], ['i64'], false);
  add('flags.code', ['i64', 'i64'], null, [], [], false);
  add('flags.code', ['i64', 'i64'], null, [], [], true);
  add('flags.constant', [], null, [], ['i32', 'i32'], false);
  for (const op of Object.keys(microOps) as MicroOp[]) {
    if (unrecorded.has(op)) continue;
    const { operands, result } = specOf(op);
    const immediates = special[op];
    if (immediates !== undefined) {
      add(op, operands, result, [], immediates, false);
      continue;
    }
    const { fixed, dynamic } = split(op);
    for (const values of fixed) {
      const types = dynamic.filter((t) => t !== null);
      add(op, operands, result, values, types, false);
      if (takesConstant(op)) add(op, operands, result, values, types, true);
    }
  }
  // A jump to a constant: the target is an immediate.
  add('jump', [], null, ['constant'], ['i64'], false);
  return kinds;
}

const hasExtra = (op: RecordKind['op']): boolean =>
  /^(load|modify|store|probe)\.|^segment$|^flags\.(code|constant)$/.test(op);

function offsetsOf(immediates: readonly RecordImmediate[], first: number): number[] {
  let at = first;
  return immediates.map((type) => {
    at += immediateBytes[type];
    return at - immediateBytes[type];
  });
}

/** How far on a record's part says that it stands, where it faults or an instruction begins with it. */
export const partStep = 2;

/** A fusion has the parts' places one after the other, then their immediates. */
function fused(id: number, text: string): RecordKind {
  const written = parseFusion(text);
  let handOn = 0; // parts, as bits
  let at = 2;
  for (const { from } of written) for (const index of from) if (index >= 0) handOn |= 1 << index;
  const place = (): number => (at += 2) - 2;
  const parts: Mutable<Part>[] = [];
  for (const [index, { key, keeps, from }] of written.entries()) {
    const kind = byKey.get(key);
    if (kind === undefined) throw new Error(`records: a fusion of no kind ${key}`);
    const { destination, operands, extra } = kind.parts[0]!;
    const handsOn = (handOn & (1 << index)) !== 0;
    parts.push({
      kind,
      destination: destination >= 0 && (!handsOn || keeps) ? place() : -1,
      operands: operands.map((offset, i) => (offset < 0 || (from[i] ?? -1) >= 0 ? -1 : place())),
      from: operands.map((_, i) => from[i] ?? -1),
      handsOn,
      extra: extra < 0 ? -1 : place(),
      immediates: [],
    });
  }
  const immediateOffset = (at + 3) & ~3;
  let bytes = immediateOffset;
  for (const part of parts) {
    part.immediates = offsetsOf(part.kind.immediates, bytes);
    bytes += part.kind.bytes - part.kind.immediateOffset;
  }
  if (bytes < parts.length * partStep) throw new Error(`records: too many parts for ${bytes} bytes: ${text}`);
  const { op, operands, result, fixed, immediates, constantOperand } = parts.at(-1)!.kind;
  return { id, key: text, parts, op, operands, result, fixed, immediates, constantOperand, immediateOffset, bytes };
}
type Mutable<T> = { -readonly [K in keyof T]: T[K] };

export function recordKey(op: RecordKind['op'], fixed: readonly Immediate[], constantOperand: boolean): string {
  return `${op}${fixed.length === 0 ? '' : `,${fixed.join()}`}${constantOperand ? '#' : ''}`;
}

/** The kinds of one micro-op each, by their numbers. */
export const recordKinds: readonly RecordKind[] = makeKinds();
const byKey = new Map(recordKinds.map((k) => [k.key, k]));
if (byKey.size !== recordKinds.length) throw new Error('records: two kinds with one key');

/** Fusions are numbered after them, and made when they are met. */
const fusedKinds: RecordKind[] = [];
export function fusionKind(index: number): RecordKind {
  const id = recordKinds.length + index;
  return (fusedKinds[index] ??= fused(id, fusions[index]!));
}
/** The kind with a number. */
export const kindAt = (id: number): RecordKind =>
  id < recordKinds.length ? recordKinds[id]! : fusionKind(id - recordKinds.length);
/** All of them, for who makes their cases. */
export const allKinds = (): RecordKind[] => [...recordKinds, ...fusions.map((_, index) => fusionKind(index))];

export const findKind = (key: string): RecordKind | undefined => byKey.get(key);
export function kindOf(op: RecordKind['op'], fixed: readonly Immediate[] = [], constantOperand = false): RecordKind {
  const kind = byKey.get(recordKey(op, fixed, constantOperand));
  if (kind === undefined) throw new Error(`records: no kind ${recordKey(op, fixed, constantOperand)}`);
  return kind;
}

/** Which of a micro-op's immediates are part of the kind, and which stand in the record. */
export function splitImmediates(op: MicroOp): {
  readonly fixed: readonly number[];
  readonly dynamic: readonly number[];
} {
  const { dynamic } = split(op);
  const places = dynamic.map((_, i) => i);
  return { fixed: places.filter((i) => dynamic[i] === null), dynamic: places.filter((i) => dynamic[i] !== null) };
}
/** Puts the values of both together again, in the micro-op's order. */
export function joinImmediates(op: MicroOp, fixed: readonly Immediate[], dynamic: readonly unknown[]): unknown[] {
  let f = 0;
  let d = 0;
  return split(op).dynamic.map((t) => (t === null ? fixed[f++] : dynamic[d++]));
}
export const isSpecial = (op: RecordKind['op']): boolean => op in special;
