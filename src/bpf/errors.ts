/** Why a BPF program is refused: a code for programs, a sentence for people, and the instruction it is about. */

export type BpfDecodeCode =
  | 'empty-program'
  | 'truncated-instruction'
  | 'program-too-long'
  | 'unknown-opcode'
  | 'bad-register'
  | 'reserved-field'
  | 'truncated-constant'
  | 'unsupported-constant'
  | 'unsupported-call'
  | 'legacy-packet-access';

export type BpfFlowCode =
  | 'jump-outside'
  | 'jump-into-constant'
  | 'jump-out-of-function'
  | 'falls-through'
  | 'unreachable'
  | 'recursion'
  | 'call-depth'
  | 'stack-depth';

export type BpfSafetyCode =
  | 'uninitialised-register'
  | 'read-only-register'
  | 'uninitialised-stack'
  | 'stack-bounds'
  | 'context-access'
  | 'out-of-bounds'
  | 'misaligned'
  | 'access-denied'
  | 'not-a-pointer'
  | 'null-pointer'
  | 'pointer-arithmetic'
  | 'pointer-comparison'
  | 'pointer-leak'
  | 'unknown-map'
  | 'unknown-helper'
  | 'helper-argument'
  | 'result-range'
  | 'endless-loop'
  | 'too-complex';

export type BpfEnvironmentCode = 'bad-environment' | 'bad-placement' | 'already-running' | 'too-long-to-translate';

export type BpfCode = BpfDecodeCode | BpfFlowCode | BpfSafetyCode | BpfEnvironmentCode;

/** A program, or the place it is to run in, is not acceptable. */
export class BpfError extends Error {
  /** Stable and meant for programs; the message is meant for people. */
  readonly code: BpfCode;
  /** Number of the instruction in units of 64 bits, as RFC 9669 counts; null if it is about none. */
  readonly instruction: number | null;
  /** The message without the instruction's number. */
  readonly reason: string;

  constructor(code: BpfCode, instruction: number | null, reason: string) {
    super(instruction === null ? reason : `instruction ${instruction}: ${reason}`);
    this.name = 'BpfError';
    this.code = code;
    this.instruction = instruction;
    this.reason = reason;
  }
}
