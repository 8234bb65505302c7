/**
 * What the machine needs of a page: artifacts, workers, time, storage. The sibling of `node.ts`.
 */
import { databaseStore } from './browser-store.ts';
import type { Host, HostWorker } from './host.ts';

/**
 * Fetches a file that lies beside the page, such as a guest.
 *
 * @throws if the server does not answer with it; the message names the file and the answer
 */
export async function fetchFile(url: string | URL): Promise<Uint8Array<ArrayBuffer>> {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: the server answered ${response.status}`);
  return new Uint8Array(await response.arrayBuffer());
}

function startWorker(module: URL): HostWorker {
  const worker = new Worker(module, { type: 'module' });
  return {
    post: (message, transfer = []) => worker.postMessage(message, [...transfer]),
    onMessage: (listener) => worker.addEventListener('message', ({ data }) => listener(data)),
    onError: (listener) => worker.addEventListener('error', ({ message }) => listener(new Error(message))),
    terminate: async () => worker.terminate(),
  };
}

const channel = new MessageChannel();
const waiting: (() => void)[] = [];
channel.port1.onmessage = () => waiting.shift()?.();

/** A message is a task of its own, and comes at once where a timer would wait for milliseconds. */
function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    waiting.push(resolve);
    channel.port2.postMessage(null);
  });
}

/** @param base where the artifacts lie: the folder of the page */
export function browserHost(base: URL): Host {
  return {
    monotonicNanos: () => performance.now() * 1e6,
    nextTurn,
    readArtifact: (name) => fetchFile(new URL(name, base)),
    readModule: async (name) => WebAssembly.compile(await fetchFile(new URL(name, base))),
    machineCode: null,
    translatorIdentity: async () => new TextDecoder().decode(await fetchFile(new URL('translator-identity', base))),
    startCompiler: () => startWorker(new URL('compiler.js', base)),
    openStore: databaseStore,
    // Only a cross-origin isolated page may share memory with its workers.
    sharesMemory: globalThis.crossOriginIsolated === true,
  };
}
