/** Names and codes of the lazy arithmetic flags: the bits of RFLAGS, the kinds of operation, what conditions test. */
import type { Width } from './types.ts';

export const CF = 0x001;
export const PF = 0x004;
export const AF = 0x010;
export const ZF = 0x040;
export const SF = 0x080;
export const OF = 0x800;
export const ARITHMETIC_FLAGS = CF | PF | AF | ZF | SF | OF;

/**
 * - `bits`: a = the flags themselves
 * - `add`: a + b; `adc`: a + b + carry; `sub`: a - b; `sbb`: a - b - carry
 * - `logic`: a = result
 * - `inc`, `dec`: a = operand, carry = the old CF, which stays
 * - `shl`, `shr`, `sar`: a = operand, b = count (1 to width, or more for widths 8 and 16)
 */
export const flagKinds = ['bits', 'add', 'adc', 'sub', 'sbb', 'logic', 'inc', 'dec', 'shl', 'shr', 'sar'] as const;
export type FlagKind = (typeof flagKinds)[number];
const widthIndex: Record<Width, number> = { 8: 0, 16: 1, 32: 2, 64: 3 };
/** The word in the field `flagKind`: kind, width, and the carry in bit 8. */
export const flagCode = (kind: FlagKind, width: Width): number => flagKinds.indexOf(kind) * 4 + widthIndex[width];
export const FLAG_CARRY_BIT = 8;

/** The flags that a condition code tests. */
export const conditionFlags = (code: number): number =>
  [OF, CF, ZF, CF | ZF, SF, PF, SF | OF, SF | OF | ZF][code >> 1]!;
