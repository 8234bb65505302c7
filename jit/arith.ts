/** The arithmetic library's functions as generated modules import them (module `arith`, built from src/softfloat). */
import type { Type } from '../src/ir/types.ts';
import type { Emitter } from './emitter.ts';
import { libraryFunctions } from './lower.ts';

/** A function of the library: parameter types and result type. */
export interface LibraryFunction {
  readonly parameters: readonly Type[];
  readonly result: Type | null;
}

const functions = new Map<string, LibraryFunction>();
for (const [name, count] of Object.entries(libraryFunctions)) {
  functions.set(name, { parameters: new Array<Type>(count).fill('i64'), result: 'i64' });
}
const globals = new Map<string, Type>();

/** Declares functions that a family of lowering arms calls, before any module is made. */
export function useLibrary(
  more: Readonly<Record<string, LibraryFunction>>,
  variables: Readonly<Record<string, Type>> = {},
): void {
  for (const [name, f] of Object.entries(more)) functions.set(name, f);
  for (const [name, type] of Object.entries(variables)) globals.set(name, type);
}

/** Lets a module import from the library what it names. */
export function importLibrary(e: Emitter): void {
  for (const [name, f] of functions) e.offerFunction(name, 'arith', f.parameters, f.result);
  for (const [name, type] of globals) e.offerGlobal(name, 'arith', type, true);
}
