/**
 * What the machine needs of a page: artifacts, workers, time. The sibling of `node.ts`, with the same names where both
 * have the same thing.
 */
import type { HostWorker } from './host-worker.ts';

/** Nanoseconds of the monotonic clock, from an arbitrary origin: the source of a `HostClock`. */
export function monotonicNanos(): number {
  return performance.now() * 1e6;
}

/** Whether the page may share memory with its workers: it is cross-origin isolated. */
export function canShareMemory(): boolean {
  return globalThis.crossOriginIsolated === true && typeof SharedArrayBuffer === 'function';
}

/**
 * Fetches a file that lies beside the page, such as `core.wasm` or a guest.
 *
 * @throws if the server does not answer with it; the message names the file and the answer
 */
export async function fetchFile(url: string | URL): Promise<Uint8Array<ArrayBuffer>> {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: the server answered ${response.status}`);
  return new Uint8Array(await response.arrayBuffer());
}

/** Starts a module as a worker. */
export function startWorker(module: URL): HostWorker {
  const worker = new Worker(module, { type: 'module' });
  return {
    post: (message, transfer = []) => worker.postMessage(message, [...transfer]),
    onMessage: (listener) => worker.addEventListener('message', ({ data }) => listener(data)),
    onError: (listener) => worker.addEventListener('error', ({ message }) => listener(new Error(message))),
    unref() {}, // a page has no end to hold up
    terminate: async () => worker.terminate(),
  };
}
