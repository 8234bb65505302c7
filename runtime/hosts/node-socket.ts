/**
 * Unix sockets as transports, in Node. A device's process listens and serves in its event loop (`listenSocket`); a machine
 * connects either likewise (`connectSocket`), or through a thread that owns the socket (`connectBlockingSocket`), so that
 * its own thread can wait for an answer within an instruction.
 */
import { createConnection, createServer, type Socket } from 'node:net';
import { Worker } from 'node:worker_threads';
import { RemoteError } from '../errors.ts';
import { createRing, ringTransport } from '../remote/ring-transport.ts';
import { deafPeer, mostQueued, type Transport, type TransportListener } from '../remote/transport.ts';

/** A transport over a connected socket. */
export function socketTransport(socket: Socket): Transport {
  let listener: TransportListener | null = null;
  let open = true;
  let reason = 'the socket was closed';
  socket.setNoDelay(true);
  socket.on('error', (error) => {
    reason = `the socket failed: ${error.message}`;
  });
  socket.on('close', () => {
    if (!open) return;
    open = false;
    listener?.closed(reason);
  });
  return {
    wait: null,
    open(who) {
      listener = who;
      socket.on('data', (bytes) => {
        if (open) who.received(bytes);
      });
      socket.on('end', () => socket.destroy());
    },
    send(bytes) {
      // Whoever sends may use the bytes again; the socket may keep them.
      if (!open || socket.destroyed) return;
      socket.write(bytes.slice());
      if (socket.writableLength <= mostQueued) return;
      reason = deafPeer;
      socket.destroy();
    },
    close() {
      if (!open) return;
      open = false;
      socket.destroySoon();
    },
  };
}

function connected(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = createConnection(path);
    socket.once('connect', () => {
      socket.removeAllListeners('error');
      resolve(socket);
    });
    socket.once('error', (error) => reject(new RemoteError('connect-failed', `${path}: ${error.message}`)));
  });
}

/**
 * Connects to a device; nothing can be waited for on this thread.
 * @throws RemoteError (as a rejection) `connect-failed`
 */
export async function connectSocket(path: string): Promise<Transport> {
  return socketTransport(await connected(path));
}

/** What the thread that owns a socket says when it has tried to connect. */
export type PumpReport = { readonly connected: true } | { readonly connected: false; readonly reason: string };

/**
 * Connects to a device from a thread of its own, so that this thread can wait for its answers. The thread ends with the
 * connection.
 * @throws RemoteError (as a rejection) `connect-failed`
 */
export async function connectBlockingSocket(path: string): Promise<Transport> {
  const { here, there } = createRing();
  const module = import.meta.url.endsWith('.ts') ? './node-socket-pump.ts' : './node-socket-pump.js';
  const worker = new Worker(new URL(module, import.meta.url), {
    workerData: { path, end: there },
    transferList: [there.port as never],
  });
  const report = await new Promise<PumpReport>((resolve) => {
    worker.once('message', resolve);
    worker.once('error', (error) => resolve({ connected: false, reason: String(error) }));
  });
  if (!report.connected) throw new RemoteError('connect-failed', `${path}: ${report.reason}`);
  worker.unref(); // the port keeps the process alive until it is closed, as a socket does
  return ringTransport(here);
}

/** A socket that is listened to. */
export interface SocketListener {
  /** No more connections; those that exist go on. */
  close(): Promise<void>;
}

/**
 * Listens at a path and hands out each connection.
 * @throws RemoteError (as a rejection) `connect-failed` if the path cannot be had
 */
export function listenSocket(path: string, accept: (transport: Transport) => void): Promise<SocketListener> {
  const server = createServer((socket) => accept(socketTransport(socket)));
  return new Promise((resolve, reject) => {
    server.once('error', (error) => reject(new RemoteError('connect-failed', `${path}: ${error.message}`)));
    server.listen(path, () => resolve({ close: () => new Promise((done) => void server.close(() => done())) }));
  });
}
