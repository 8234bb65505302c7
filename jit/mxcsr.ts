/** What MXCSR means for translated floating point (jit/exact-float.ts). SDM volume 1, section 10.2.3. */

/** Masks, rounding control and the inexact flag: what they must be on the fast way. */
export const FAST_MASK = 0x7fa0;
export const FAST_VALUE = 0x1fa0;
/** The inexact flag. */
export const INEXACT = 0x20;
/** The inexact flag where a region may be entered: a region made for one state of it is faster than one for either. */
export type InexactFlag = 'set' | 'clear' | 'either';
