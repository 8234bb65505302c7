/**
 * Names of micro-ops made of a type and an operation, and taken apart again. Blocks are recorded by the ten thousand while
 * a kernel starts: each name is made once, so that tables are looked up by strings that they already know.
 */
import type { MicroOp } from './micro-ops.ts';

const made = new Map<string, Map<string, MicroOp>>();
const parts = new Map<string, readonly [shape: string, name: string]>();

/** `i32` and `add` -> `i32.add`. */
export function opOf(shape: string, name: string): MicroOp {
  let names = made.get(shape);
  if (names === undefined) made.set(shape, (names = new Map()));
  let op = names.get(name);
  if (op === undefined) names.set(name, (op = `${shape}.${name}` as MicroOp));
  return op;
}

/** `i32.add` -> `i32` and `add`. */
export function partsOf(op: string): readonly [shape: string, name: string] {
  let found = parts.get(op);
  if (found === undefined) parts.set(op, (found = op.split('.') as [string, string]));
  return found;
}
