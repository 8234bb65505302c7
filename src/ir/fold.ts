/** Constant folding and identities of pure integer micro-ops, applied as they are recorded. */
import { type Immediate, type MicroOp, type Node, opList } from './micro-ops.ts';
import type { Type, Value } from './types.ts';

/** What folding sees of a builder. */
export interface Recording {
  readonly nodes: readonly Node[];
  constantOf(v: Value): bigint | undefined;
  i32(n: number): Value<'i32'>;
  i64(n: number | bigint): Value<'i64'>;
  emit<T extends Type>(op: MicroOp, args?: readonly number[], ...imm: Immediate[]): Value<T>;
}

const s32 = (n: bigint) => BigInt.asIntN(32, n);
const u = (bits: number, n: bigint) => BigInt.asUintN(bits, n);

/** Integer micro-ops' operations by number (`add`), or undefined for all others. */
const operations = opList.map((op) => (/^i(32|64)\.[a-z0-9_]+$/.test(op) ? op.slice(4) : undefined));

/** The value of a pure micro-op whose operands decide it, or null. */
export function foldConstant(b: Recording, code: number, op: MicroOp, args: readonly number[]): Value | null {
  const name = operations[code];
  if (name === undefined || args.length === 0 || args.length > 2) return null;
  // Most micro-ops have neither a constant operand nor twice the same.
  const isConstant = isConst(b, args[0]!) || (args.length === 2 && (isConst(b, args[1]!) || args[0] === args[1]));
  if (!isConstant) return args.length === 1 ? unary(b, op, args[0] as Value) : null;
  if (args.length === 2) {
    const one = b.nodes[args[0]!]!;
    const other = b.nodes[args[1]!]!;
    if (one.op === 'i32.const' && other.op === 'i32.const') {
      const n = binary32(name, (one.imm[0] as number) | 0, (other.imm[0] as number) | 0);
      if (n !== null) return b.i32(n);
    }
  }
  const first = b.constantOf(args[0] as Value);
  const second = args.length > 1 ? b.constantOf(args[1] as Value) : undefined;
  const bits = op.charCodeAt(1) === 54 ? 64 : 32; // i64, i32
  const make = (n: bigint): Value => (bits === 64 ? b.i64(n) : b.i32(Number(s32(n))));
  if (args.length === 1) {
    if (first === undefined) return unary(b, op, args[0] as Value);
    switch (op) {
      case 'i64.extend_u':
        return b.i64(u(32, first));
      case 'i64.extend_s':
        return b.i64(first);
      case 'i32.wrap':
        return b.i32(Number(s32(first)));
      case 'i32.eqz':
      case 'i64.eqz':
        return b.i32(first === 0n ? 1 : 0);
      case 'i32.extend8_s':
        return b.i32(Number(BigInt.asIntN(8, first)));
      case 'i32.extend16_s':
        return b.i32(Number(BigInt.asIntN(16, first)));
      default:
        return null;
    }
  }
  if (first !== undefined && second !== undefined) {
    const n = binary(name, bits, first, second);
    if (n !== null) return typeof n === 'boolean' ? b.i32(n ? 1 : 0) : make(n);
  }
  const same = args[0] === args[1];
  switch (op) {
    case 'i32.add':
    case 'i64.add':
    case 'i32.or':
    case 'i64.or':
    case 'i32.xor':
    case 'i64.xor':
      if (second === 0n) return args[0] as Value;
      if (first === 0n) return args[1] as Value;
      if (same && name === 'xor') return make(0n);
      return same && name === 'or' ? (args[0] as Value) : null;
    case 'i32.sub':
    case 'i64.sub':
      if (second === 0n) return args[0] as Value;
      return same ? make(0n) : null;
    case 'i32.and':
    case 'i64.and':
      if (second === 0n || first === 0n) return make(0n);
      if (second === -1n || same) return args[0] as Value;
      return second === undefined ? null : maskOf(b, args[0] as Value, second, bits);
    case 'i32.shl':
    case 'i64.shl':
    case 'i32.shr_u':
    case 'i64.shr_u':
    case 'i32.shr_s':
    case 'i64.shr_s':
    case 'i32.rotl':
    case 'i32.rotr':
    case 'i64.rotl':
    case 'i64.rotr':
      return second !== undefined && u(bits === 64 ? 6 : 5, second) === 0n ? (args[0] as Value) : null;
    default:
      return null;
  }
}

const isConst = (b: Recording, v: number): boolean => {
  const { op } = b.nodes[v]!;
  return op === 'i32.const' || op === 'i64.const';
};

function unary(b: Recording, op: MicroOp, arg: Value): Value | null {
  const node = b.nodes[arg]!;
  if (op === 'i32.wrap' && (node.op === 'i64.extend_u' || node.op === 'i64.extend_s')) return node.args[0] as Value;
  return null;
}

/** Bits of a number from 0 to 2^64 - 1, at least 1. */
function length(n: bigint): number {
  const high = Number(n >> 32n);
  return high !== 0 ? 64 - Math.clz32(high) : Math.max(1, 32 - Math.clz32(Number(n & 0xffff_ffffn)));
}

/** How many low bits of a value may be set, as far as its micro-op says. */
function bitsOf(b: Recording, v: Value): number {
  const node = b.nodes[v]!;
  switch (node.op) {
    case 'load.8':
    case 'modify.8':
    case 'extract8h':
      return 8;
    case 'load.16':
    case 'modify.16':
      return 16;
    case 'i64.extend_u':
      return Math.min(32, bitsOf(b, node.args[0] as Value));
    case 'flags.test':
    case 'i32.eqz':
    case 'i64.eqz':
      return 1;
    case 'i32.const':
    case 'i64.const': {
      const n = b.constantOf(v)!;
      return n < 0n ? 64 : length(n);
    }
    case 'i32.and':
    case 'i64.and':
      return Math.min(bitsOf(b, node.args[0] as Value), bitsOf(b, node.args[1] as Value));
    default:
      return 64;
  }
}

/** A mask of low ones over a value that has no other bits is the value; a mask over a mask is one mask. */
function maskOf(b: Recording, v: Value, mask: bigint, bits: number): Value | null {
  const m = u(bits, mask);
  const low = (m & (m + 1n)) === 0n ? length(m) : 0;
  if (low > 0 && bitsOf(b, v) <= low) return v;
  return null;
}

function binary32(name: string, a: number, c: number): number | null {
  switch (name) {
    case 'add':
      return (a + c) | 0;
    case 'sub':
      return (a - c) | 0;
    case 'mul':
      return Math.imul(a, c);
    case 'and':
      return a & c;
    case 'or':
      return a | c;
    case 'xor':
      return a ^ c;
    case 'shl':
      return a << c;
    case 'shr_u':
      return (a >>> c) | 0;
    case 'shr_s':
      return a >> c;
    case 'eq':
      return a === c ? 1 : 0;
    case 'ne':
      return a !== c ? 1 : 0;
    case 'lt_u':
      return a >>> 0 < c >>> 0 ? 1 : 0;
    case 'le_u':
      return a >>> 0 <= c >>> 0 ? 1 : 0;
    case 'gt_u':
      return a >>> 0 > c >>> 0 ? 1 : 0;
    case 'ge_u':
      return a >>> 0 >= c >>> 0 ? 1 : 0;
    case 'lt_s':
      return a < c ? 1 : 0;
    case 'le_s':
      return a <= c ? 1 : 0;
    case 'gt_s':
      return a > c ? 1 : 0;
    case 'ge_s':
      return a >= c ? 1 : 0;
    default:
      return null;
  }
}

function binary(name: string, bits: number, a: bigint, c: bigint): bigint | boolean | null {
  const count = u(bits === 64 ? 6 : 5, c);
  switch (name) {
    case 'add':
      return a + c;
    case 'sub':
      return a - c;
    case 'mul':
      return a * c;
    case 'and':
      return a & c;
    case 'or':
      return a | c;
    case 'xor':
      return a ^ c;
    case 'shl':
      return a << count;
    case 'shr_u':
      return u(bits, a) >> count;
    case 'shr_s':
      return a >> count;
    case 'eq':
      return a === c;
    case 'ne':
      return a !== c;
    case 'lt_u':
      return u(bits, a) < u(bits, c);
    case 'le_u':
      return u(bits, a) <= u(bits, c);
    case 'gt_u':
      return u(bits, a) > u(bits, c);
    case 'ge_u':
      return u(bits, a) >= u(bits, c);
    case 'lt_s':
      return a < c;
    case 'le_s':
      return a <= c;
    case 'gt_s':
      return a > c;
    case 'ge_s':
      return a >= c;
    default:
      return null;
  }
}
