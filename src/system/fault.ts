/**
 * A guest's exception on its way from the depth of a helper to the one place that delivers it (helpers.ts). No Error: it is
 * part of the machine, not a bug, and never leaves src/system.
 */
import { GP, NO_ERROR_CODE, UD } from '../state/vectors.ts';

export class GuestFault {
  readonly vector: number;
  /** NO_ERROR_CODE = none. */
  readonly errorCode: number;

  constructor(vector: number, errorCode: number = NO_ERROR_CODE) {
    this.vector = vector;
    this.errorCode = errorCode;
  }
}

/** #GP(0). */
export const generalProtection = (errorCode = 0): GuestFault => new GuestFault(GP, errorCode);
/** #UD. */
export const undefinedOpcode = (): GuestFault => new GuestFault(UD);
