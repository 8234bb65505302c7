/**
 * What a machine needs of whatever it runs on: time, the files that the build made, threads. `node.ts` and `browser.ts`
 * each have one of these; nothing above them names a host.
 */

/** A worker thread, reduced to what the compiler needs. */
export interface HostWorker {
  post(message: unknown, transfer?: readonly ArrayBuffer[]): void;
  onMessage(listener: (message: unknown) => void): void;
  onError(listener: (error: Error) => void): void;
  /** Lets the process end although the worker is alive. */
  unref(): void;
  terminate(): Promise<void>;
}

export interface Host {
  /** Nanoseconds of the monotonic clock, from an arbitrary origin: the source of a `HostClock`. */
  monotonicNanos(): number;
  /** The bytes of a file that `npm run build` made, such as `core.wasm`. */
  readArtifact(name: string): Promise<Uint8Array<ArrayBuffer>>;
  /** Starts a module as a worker thread. */
  startWorker(module: URL): HostWorker;
  /** Whether memory can be shared with workers; without, they get copies. */
  readonly sharesMemory: boolean;
}
