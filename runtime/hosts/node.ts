/**
 * What the machine and the command line need of Node: files, workers, time, a place for the translation cache. The
 * only file of the runtime, with its sibling for browsers, that touches a host.
 */
import { createWriteStream, existsSync, mkdirSync, readFileSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import type { Host, HostWorker } from './host.ts';
import { nodeMachineCode, readMachineCodeFile } from './node-machine-code.ts';
import { folderStore } from './node-store.ts';

/** Nanoseconds of the monotonic clock, from an arbitrary origin: the source of a `HostClock`. */
export function monotonicNanos(): number {
  return performance.now() * 1e6;
}

/** Seconds of processor time that this thread has used since it began; the others of the process are not counted. */
export function threadSeconds(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1e6;
}

/** How this file is run: as it stands, as the JavaScript that tsc made of it, or as a part of the bundle in `dist/cli`. */
const form = /\/runtime\/hosts\/node\.([tj]s)$/.exec(import.meta.url)?.[1] ?? 'bundle';
const distFolder = new URL({ ts: '../../dist/', js: '../../', bundle: '../' }[form]!, import.meta.url);

/** A file that `npm run build` made, such as `core.wasm`. */
export function artifactUrl(name: string): URL {
  return new URL(name, distFolder);
}

/** A file of the package, such as `package.json`. */
export function packageUrl(name: string): URL {
  return new URL(name, new URL('../', distFolder));
}

/** The version of this package. */
export function packageVersion(): string {
  return JSON.parse(readFileSync(packageUrl('package.json'), 'utf8')).version;
}

/** The folder of the translation cache: `$XDG_CACHE_HOME/jit86`, or `~/.cache/jit86`. It need not exist. */
export function defaultCacheDirectory(environment: Record<string, string | undefined> = process.env): string {
  const base = environment.XDG_CACHE_HOME;
  // The XDG base directory specification: a relative path in the variable is to be ignored.
  return join(base?.startsWith('/') ? base : join(homedir(), '.cache'), 'jit86');
}

/** Makes a folder and its parents if need be. */
export function ensureDirectory(path: string): void {
  mkdirSync(path, { recursive: true });
}

/** The whole of a file; undefined if there is no such file. Other errors (a folder, no permission) throw. */
export function readFileIfExists(path: string): Uint8Array<ArrayBuffer> | undefined {
  if (!existsSync(path)) return undefined;
  if (statSync(path).isDirectory()) throw new Error('it is a folder');
  const { buffer, byteOffset, length } = readFileSync(path);
  // Node puts small files into memory that they share; a large one is not to be copied.
  return new Uint8Array(length < buffer.byteLength ? buffer.slice(byteOffset, byteOffset + length) : buffer);
}

/** A place for a guest's output, written in pieces and flushed when closed. */
export interface ByteSink {
  write(byte: number): void;
  /** Hands what has been gathered to the host. */
  flush(): void;
  /** Flushes and waits until the host has taken everything. */
  close(): Promise<void>;
}

const sinkSize = 4096;

/** Gathers bytes, since guests write one at a time, and hands them on at a line's end or when 4 KiB are full. */
export function streamSink(stream: NodeJS.WritableStream, ownsStream = false): ByteSink {
  let pending = new Uint8Array(sinkSize);
  let used = 0;
  const flush = () => {
    if (used === 0) return;
    stream.write(pending.subarray(0, used));
    pending = new Uint8Array(sinkSize);
    used = 0;
  };
  return {
    write(byte) {
      pending[used++] = byte;
      if (used === sinkSize || byte === 0x0a) flush();
    },
    flush,
    close() {
      flush();
      return new Promise((done) => {
        if (ownsStream) stream.end(() => done());
        else stream.write('', () => done());
      });
    },
  };
}

/** A sink that writes to a file, replacing it. Rejects if the file cannot be opened. */
export async function fileSink(path: string): Promise<ByteSink> {
  const stream = createWriteStream(path);
  await new Promise<void>((done, fail) => {
    stream.once('open', () => done());
    stream.once('error', fail);
  });
  return streamSink(stream, true);
}

/** From the machine code that the build has made of it, if this V8 takes it, and no build was cut short in between. */
async function readModule(name: string): Promise<WebAssembly.Module> {
  const wasm = readFileSync(artifactUrl(name));
  return readMachineCodeFile(artifactUrl(name.replace(/\.wasm$/, '.code')), wasm) ?? compile(new Uint8Array(wasm));
}
/** V8 would leave every function to its first call; a flag of the process says otherwise while this is under way. */
async function compile(bytes: Uint8Array<ArrayBuffer>): Promise<WebAssembly.Module> {
  setFlagsFromString('--no-wasm-lazy-compilation');
  compiling++;
  const wait = setInterval(() => {}, 1e6); // Node would end while V8's threads are at it
  try {
    return await WebAssembly.compile(bytes);
  } finally {
    clearInterval(wait);
    if (--compiling === 0) setFlagsFromString('--wasm-lazy-compilation');
  }
}
let compiling = 0;

function startWorker(module: URL): HostWorker {
  // Loaded here: most runs find their translations and start no thread.
  const { MessageChannel, receiveMessageOnPort, Worker } = process.getBuiltinModule('node:worker_threads');
  const { port1, port2 } = new MessageChannel();
  const worker = new Worker(module, { workerData: port2, transferList: [port2] });
  worker.unref();
  return {
    post: (message, transfer = []) => port1.postMessage(message, [...transfer]),
    // Listening for messages would keep the process alive.
    onMessage: (listener) => void port1.on('message', listener).unref(),
    receive: () => receiveMessageOnPort(port1)?.message,
    onError: (listener) => void worker.on('error', listener),
    terminate: async () => void (await worker.terminate()),
  };
}

/** The sources are their own name; a build has recorded it. */
async function findIdentity(): Promise<string> {
  if (form === 'ts') return (await import(new URL('build.ts', packageUrl('.')).href)).translatorIdentity();
  return readFileSync(artifactUrl('translator-identity'), 'utf8');
}
let identity: Promise<string> | null = null;
function translatorIdentity(): Promise<string> {
  identity ??= findIdentity();
  return identity;
}

/** This process as a host. */
export const nodeHost: Host = {
  monotonicNanos,
  nextTurn: () => new Promise((resolve) => void setImmediate(resolve)),
  readArtifact: async (name) => new Uint8Array(readFileSync(artifactUrl(name))),
  readModule,
  machineCode: nodeMachineCode,
  translatorIdentity,
  startCompiler: () =>
    startWorker(
      new URL({ ts: './node-compiler.ts', js: './node-compiler.js', bundle: './compiler.js' }[form]!, import.meta.url),
    ),
  openStore: folderStore,
  sharesMemory: true,
};
