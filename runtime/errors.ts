/**
 * The errors that the public face throws. Each has a `code` that stays the same from version to version and a message
 * of one line that names the offending value. A guest's fault is never one of these: it is a value inside the machine.
 */

/** What all errors thrown on purpose have in common; anything else that escapes is a bug of the host. */
export abstract class Jit86Error<Code extends string = string> extends Error {
  /** Stable and meant for programs; the message is meant for people. */
  readonly code: Code;

  constructor(code: Code, message: string) {
    super(message);
    this.code = code;
    this.name = new.target.name;
  }
}

/** Codes of {@link ConfigurationError}. */
export type ConfigurationCode =
  | 'bad-memory-size'
  | 'bad-cpu-count'
  | 'bad-option'
  | 'region-overlap'
  | 'bad-region'
  | 'already-entered'
  | 'held'
  | 'bad-vector'
  | 'bad-msr-rule'
  | 'bad-cpuid'
  | 'interrupt-pending'
  | 'busy'
  | 'unsupported-host'
  | 'foreign-core';

/** The embedder asked for a machine, a region or an entry that cannot be. */
export class ConfigurationError extends Jit86Error<ConfigurationCode> {}

/** Codes of {@link MemoryError}. */
export type MemoryCode = 'unbacked' | 'read-only' | 'not-contiguous';

/** An access of the embedder's to guest-physical memory that is not there, or not so; nothing was read or written. */
export class MemoryError extends Jit86Error<MemoryCode> {}

/** Codes of {@link StateError}. */
export type StateCode =
  | 'unknown-register'
  | 'duplicate-register'
  | 'bad-register-size'
  | 'bad-register-type'
  | 'read-only-register'
  | 'bad-register-value';

/** A call of the state interface named something that is not there; the call as a whole changed nothing. */
export class StateError extends Jit86Error<StateCode> {}

/** Codes of {@link InterruptError}. */
export type InterruptCode =
  | 'bad-gsi'
  | 'bad-route'
  | 'bad-msi'
  | 'bad-controller'
  | 'bad-event'
  | 'bad-interrupt-state'
  | 'bad-message';

/** Interrupt routing was asked for something that cannot be, or a controller's messages make no sense. */
export class InterruptError extends Jit86Error<InterruptCode> {}

/** Codes of {@link LoaderError}. */
export type LoaderCode =
  | 'unknown-format'
  | 'empty-file'
  | 'truncated'
  | 'bad-header'
  | 'big-endian'
  | 'foreign-class'
  | 'foreign-machine'
  | 'not-executable'
  | 'needs-interpreter'
  | 'no-segments'
  | 'bad-segment'
  | 'segment-overlap'
  | 'outside-ram'
  | 'entry-outside'
  | 'bad-multiboot-header'
  | 'unsupported-multiboot-flags'
  | 'no-low-memory'
  | 'unsupported-boot-protocol'
  | 'bad-boot-header'
  | 'bad-address'
  | 'bad-section'
  | 'bad-symbol'
  | 'bad-relocation'
  | 'bad-map'
  | 'no-programs';

/** A guest image that cannot be loaded: damaged, foreign, or too big for the machine. */
export class LoaderError extends Jit86Error<LoaderCode> {}

/** Codes of {@link RemoteError}. */
export type RemoteCode =
  | 'connect-failed'
  | 'peer-closed'
  | 'peer-timeout'
  | 'bad-message'
  | 'oversized-message'
  | 'unexpected-reply'
  | 'unsupported-version'
  | 'peer-refused'
  | 'would-block'
  | 'overrun'
  | 'not-connected'
  | 'dma-unmapped'
  | 'dma-failed';

/** A device behind a transport, or the peer that it serves: gone, silent, or not to be understood. */
export class RemoteError extends Jit86Error<RemoteCode> {
  /** Of `peer-refused`: the error number that the peer gave; 0 if it is none of those. */
  readonly errno: number;

  constructor(code: RemoteCode, message: string, errno = 0) {
    super(code, message);
    this.errno = errno;
  }
}

/** Codes of {@link ProgramError}. */
export type ProgramCode =
  | 'bad-program'
  | 'no-program'
  | 'foreign-import'
  | 'no-access-export'
  | 'program-too-big'
  | 'unsupported-instruction'
  | 'out-of-fuel'
  | 'trap'
  | 'bad-state';

/** A device program that cannot be attached, or that has failed while the guest ran. What a verifier refuses is a `BpfError`. */
export class ProgramError extends Jit86Error<ProgramCode> {}
/** Codes of {@link SnapshotError}. */
export type SnapshotCode =
  | 'foreign-snapshot'
  | 'unsupported-version'
  | 'bad-chunk'
  | 'bad-checksum'
  | 'truncated-snapshot'
  | 'missing-chunk'
  | 'different-machine'
  | 'different-base'
  | 'bad-device-state'
  | 'access-pending'
  | 'host-function'
  | 'remote-state'
  | 'migration-failed'
  | 'migration-uncertain';

/** A snapshot that cannot be taken, read or put into this VM, or a migration that came to nothing: the VM is as it was. */
export class SnapshotError extends Jit86Error<SnapshotCode> {}
