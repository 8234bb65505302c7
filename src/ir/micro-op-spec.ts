/** What a row of the micro-op table says. */
import type { Type } from './types.ts';

/**
 * - `pure`: a function of its operands.
 * - `read`: also reads guest state (registers, flags, state fields).
 * - `write`: changes guest state; cannot fault.
 * - `memory`: may fault or leave; loads and stores of guest memory.
 * - `fault`: may fault; changes nothing.
 * - `control`: steers; ends a block or brackets a part of it.
 */
export type Effect = 'pure' | 'read' | 'write' | 'memory' | 'fault' | 'control';

export interface MicroOpSpec {
  readonly operands: readonly Type[];
  readonly result: Type | null;
  readonly effect: Effect;
}

const shortTypes: Record<string, Type> = { i: 'i32', l: 'i64', f: 'f32', d: 'f64', v: 'v128' };
/** `'ii>i'`: two i32 operands, an i32 result; `'lv>'`: an i64 and a v128, none. i = i32, l = i64, f = f32, d = f64, v = v128. */
export function spec(effect: Effect, signature: string): MicroOpSpec {
  const [operands, result] = signature.split('>');
  return {
    effect,
    operands: [...operands!].map((c) => shortTypes[c]!),
    result: result === '' ? null : shortTypes[result!]!,
  };
}
