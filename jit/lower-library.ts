/** Lowering of the micro-ops that are calls of the arithmetic library; the table is src/ir/library-ops.ts. */
import { type LibraryOp, libraryCalls, libraryOps } from '../src/ir/library-ops.ts';
import type { MicroOp } from '../src/ir/micro-ops.ts';
import { type LibraryFunction, useLibrary } from './arith.ts';
import { type Arm, addArms } from './lower.ts';

const arms: Partial<Record<MicroOp, Arm>> = {};
const functions: Record<string, LibraryFunction> = {};
for (const [op, name] of Object.entries(libraryCalls) as [LibraryOp, string][]) {
  const { operands, result } = libraryOps[op];
  functions[name] = { parameters: operands, result };
  arms[op] = ({ e }, args) => e.call(name, args, result);
}
useLibrary(functions);
addArms(arms);
