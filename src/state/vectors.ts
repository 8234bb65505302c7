/** Exception vectors by the manual's mnemonics. SDM volume 3, section 7.3. */

export const DE = 0;
export const DB = 1;
export const NMI = 2;
export const BP = 3;
/** #OF, raised by INTO. */
export const OF_TRAP = 4;
export const BR = 5;
export const UD = 6;
export const NM = 7;
export const DF = 8;
export const TS = 10;
export const NP = 11;
/** #SS. */
export const SS_FAULT = 12;
export const GP = 13;
/** #PF. */
export const PF_FAULT = 14;
export const MF = 16;
export const AC = 17;
export const MC = 18;
export const XM = 19;
/** `faultErrorCode` of an exception that pushes none. */
export const NO_ERROR_CODE = 0xffff_ffff;
