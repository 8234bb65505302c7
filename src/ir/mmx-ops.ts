/**
 * The micro-ops of the mmx registers, which are the significands of the x87 registers by their physical numbers. SDM
 * volume 1, section 9.6. A region has either them or x87 micro-ops (jit/region.ts): they act on the registers in memory.
 */
import { spec } from './micro-op-spec.ts';

export const mmxOps = {
  /** #MF if an unmasked x87 exception is pending. */
  'mmx.ready': spec('fault', '>'),
  'mmx.get': spec('read', '>l'), // [register]
  /** Sets the exponent to all ones, too. */
  'mmx.set': spec('write', 'l>'), // [register]
  /** What every MMX instruction does to the x87 unit: TOP = 0, all registers in use. */
  'mmx.enter': spec('write', '>'),
  /** EMMS: no register in use. */
  'mmx.empty': spec('write', '>'),
} as const;

export const isMmx = (op: string): boolean => op.startsWith('mmx.');
