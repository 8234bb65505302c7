/**
 * The emulator has met something that it cannot carry on from: a bug of its own, or nothing left of what it needs. The
 * guest stands before an instruction; `vcpu.enter()` turns this into the exit `internal-error`.
 */
export class InternalError extends Error {
  override readonly name = 'InternalError';
}
