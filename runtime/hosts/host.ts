/**
 * What a machine needs of whatever it runs on: time, the files that the build made, threads, a place for what outlives a
 * run. `node.ts` and `browser.ts` each have one of these; nothing above them names a host.
 */
import type { MachineCode } from '../../jit/machine-code.ts';

/** A worker thread, reduced to what the compiler needs. */
export interface HostWorker {
  /** Sends a message, whose buffers in `transfer` this side has no longer. */
  post(message: unknown, transfer?: readonly ArrayBuffer[]): void;
  /** Who gets the messages of the thread. */
  onMessage(listener: (message: unknown) => void): void;
  /** Takes a message of the thread ahead of the event loop's turn; undefined: there is none. Not every host can. */
  receive?(): unknown;
  /** Who is told that the thread has failed. */
  onError(listener: (error: Error) => void): void;
  /** Ends the thread. */
  terminate(): Promise<void>;
}

/** Named blobs that outlive the process or the page. */
export interface BlobStore {
  /** Nobody else can write to it: what is found there may be executed as it is. */
  readonly isPrivate: boolean;
  /** There is no blob at all. */
  isEmpty(): Promise<boolean>;
  /** The blob's bytes; undefined if there is none, or it cannot be read. */
  read(name: string): Promise<Uint8Array | undefined>;
  /** Replaces a blob as a whole: a reader finds the old bytes or the new ones. Rejects if that cannot be. */
  write(name: string, bytes: Uint8Array): Promise<void>;
}

/** What a VM needs of whatever it runs on: `nodeHost` of `jit86/node`, `browserHost` of `jit86/browser`. */
export interface Host {
  /** Nanoseconds of the monotonic clock, from an arbitrary origin: the source of a `HostClock`. */
  monotonicNanos(): number;
  /** Lets timers, messages, input and output of the host have their turn. */
  nextTurn(): Promise<void>;
  /** The bytes of a file that `npm run build` made, such as `core.wasm`. */
  readArtifact(name: string): Promise<Uint8Array<ArrayBuffer>>;
  /** The module of such a file, all of it compiled: what is not when it is first called makes the guest wait. */
  readModule(name: string): Promise<WebAssembly.Module>;
  /** Null: the host's engine keeps what it makes of modules to itself. */
  readonly machineCode: MachineCode | null;
  /** Names the translator's sources: translations of another build are foreign. */
  translatorIdentity(): Promise<string>;
  /** Starts a thread that serves `jit/compiler-protocol.ts`. It does not keep the process alive. */
  startCompiler(): HostWorker;
  /** Blobs in a folder (Node) or a database (a page). */
  openStore(place: string): BlobStore;
  /** Whether memory can be shared with workers; without, they get copies. */
  readonly sharesMemory: boolean;
}
