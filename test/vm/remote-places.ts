/** Where the test device can be: ways for a machine to reach it, each behind the same interface. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { connectBlockingSocket, connectSocket } from '../../runtime/hosts/node-socket.ts';
import { DeviceServer } from '../../runtime/remote/device-server.ts';
import { createRing, ringTransport } from '../../runtime/remote/ring-transport.ts';
import {
  messagePortTransport,
  streamTransport,
  type Transport,
  transportPair,
  webSocketTransport,
} from '../../runtime/remote/transport.ts';
import { testDeviceOptions } from './remote-test-device.ts';
import { webSocketServer } from './web-socket-server.ts';

/** A running device; each transport is a new connection to it. */
export interface Place {
  connect(): Promise<Transport>;
  /** Ends the device without a word, if it is in a thread or process that can be ended. */
  kill(): Promise<void>;
  close(): Promise<void>;
}

/** In this thread, behind messages. */
export async function sameThread(): Promise<Place> {
  const server = new DeviceServer(testDeviceOptions());
  return {
    async connect() {
      const [here, there] = transportPair();
      server.close();
      server.accept(there);
      return here;
    },
    kill: async () => server.close(),
    close: async () => server.close(),
  };
}

/** In this thread, behind Web Streams: nothing can be waited for. */
export async function webStreams(): Promise<Place> {
  const server = new DeviceServer(testDeviceOptions());
  return {
    async connect() {
      const up = new TransformStream<Uint8Array, Uint8Array>(undefined, { highWaterMark: 16 });
      const down = new TransformStream<Uint8Array, Uint8Array>(undefined, { highWaterMark: 16 });
      server.close();
      server.accept(streamTransport({ readable: up.readable, writable: down.writable }));
      return streamTransport({ readable: down.readable, writable: up.writable });
    },
    kill: async () => server.close(),
    close: async () => server.close(),
  };
}

/** Behind a WebSocket to this process. */
export async function webSocket(): Promise<Place> {
  const server = new DeviceServer(testDeviceOptions());
  const listening = await webSocketServer((transport) => {
    server.close();
    server.accept(transport);
  });
  return {
    connect: async () => webSocketTransport(new WebSocket(listening.url)),
    kill: async () => listening.close(),
    async close() {
      server.close();
      listening.close();
    },
  };
}

const workerFile = new URL('./remote-device-worker.ts', import.meta.url);

/** On a worker thread, over shared memory or over a port alone. */
export async function workerThread(shared: boolean, lingerMillis = 0): Promise<Place> {
  const worker = new Worker(workerFile, { workerData: { lingerMillis } });
  const end = async () => void (await worker.terminate());
  return {
    async connect() {
      if (!shared) {
        const { port1, port2 } = new MessageChannel();
        worker.postMessage({ port: port2 }, [port2 as never]);
        return messagePortTransport(port1);
      }
      const { here, there } = createRing();
      worker.postMessage({ ring: there }, [there.port as never]);
      return ringTransport(here);
    },
    kill: end,
    close: end,
  };
}

const programFile = fileURLToPath(new URL('./remote-device-process.ts', import.meta.url));

/** In another process, over a Unix socket that a thread of ours owns (`blocking`) or this one does. */
export async function otherProcess(
  blocking: boolean,
): Promise<Place & { readonly signal: (name: NodeJS.Signals) => void }> {
  const folder = mkdtempSync(join(tmpdir(), 'jit86-remote-'));
  const path = join(folder, 'device');
  const child = spawn(process.execPath, [programFile, path], { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  await ready(child);
  const kill = async () => {
    child.kill('SIGKILL');
    await ended;
  };
  return {
    connect: () => (blocking ? connectBlockingSocket(path) : connectSocket(path)),
    signal: (name) => void child.kill(name),
    kill,
    async close() {
      await kill();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

function ready(child: ChildProcess): Promise<void> {
  return new Promise((resolve, reject) => {
    child.stdout!.once('data', () => resolve());
    child.once('exit', (code) => reject(new Error(`the device's process ended with ${code}`)));
    child.once('error', reject);
  });
}
