/**
 * A worker thread of any host, reduced to what the compiler needs.
 */
export interface HostWorker {
  post(message: unknown, transfer?: readonly ArrayBuffer[]): void;
  onMessage(listener: (message: unknown) => void): void;
  onError(listener: (error: Error) => void): void;
  /** Lets the process end although the worker is alive. */
  unref(): void;
  terminate(): Promise<void>;
}
