/**
 * What arithmetic and conditions compute (RFC 9669, sections 4.1 to 4.3): registers are unsigned 64-bit numbers. Read by
 * the interpreter, and by the verifier for operands that it knows.
 */
import type { AluOperation, Condition, Width } from './instructions.ts';

const unsigned = BigInt.asUintN;
const signed = BigInt.asIntN;

/** The result, zero-extended if the operation is one of 32 bits. */
export function compute(operation: AluOperation, width: Width, left: bigint, right: bigint): bigint {
  const a = unsigned(width, left);
  const b = unsigned(width, right);
  switch (operation) {
    case 'add':
      return unsigned(width, a + b);
    case 'sub':
      return unsigned(width, a - b);
    case 'mul':
      return unsigned(width, a * b);
    case 'div':
      return b === 0n ? 0n : a / b;
    case 'sdiv':
      return b === 0n ? 0n : unsigned(width, signed(width, a) / signed(width, b));
    case 'mod':
      return b === 0n ? a : a % b;
    case 'smod':
      return b === 0n ? a : unsigned(width, signed(width, a) % signed(width, b));
    case 'or':
      return a | b;
    case 'and':
      return a & b;
    case 'xor':
      return a ^ b;
    case 'lsh':
      return unsigned(width, a << shiftCount(width, b));
    case 'rsh':
      return a >> shiftCount(width, b);
    case 'arsh':
      return unsigned(width, signed(width, a) >> shiftCount(width, b));
    case 'mov':
      return b;
    default:
      return operation satisfies never;
  }
}

/** Shifts use the low bits of their count. */
export const shiftCount = (width: Width, count: bigint): bigint => count & BigInt(width - 1);

export const negate = (width: Width, value: bigint): bigint => unsigned(width, -value);

/** A move that extends the sign. */
export const extend = (width: Width, bits: number, value: bigint): bigint => unsigned(width, signed(bits, value));

/** Bytes of the low `bits` in opposite order. */
export function reverseBytes(bits: number, value: bigint): bigint {
  let result = 0n;
  for (let done = 0; done < bits; done += 8) {
    result = (result << 8n) | (value & 0xffn);
    value >>= 8n;
  }
  return result;
}

/** Memory is little endian: `le` only cuts off. */
export const swap = (order: 'le' | 'be' | 'swap', bits: number, value: bigint): bigint =>
  order === 'le' ? unsigned(bits, value) : reverseBytes(bits, value);

export function holds(condition: Condition, width: Width, left: bigint, right: bigint): boolean {
  const a = unsigned(width, left);
  const b = unsigned(width, right);
  switch (condition) {
    case 'eq':
      return a === b;
    case 'ne':
      return a !== b;
    case 'gt':
      return a > b;
    case 'ge':
      return a >= b;
    case 'lt':
      return a < b;
    case 'le':
      return a <= b;
    case 'set':
      return (a & b) !== 0n;
    case 'sgt':
      return signed(width, a) > signed(width, b);
    case 'sge':
      return signed(width, a) >= signed(width, b);
    case 'slt':
      return signed(width, a) < signed(width, b);
    case 'sle':
      return signed(width, a) <= signed(width, b);
    default:
      return condition satisfies never;
  }
}
