/** The thread that owns a Unix socket for a machine whose own thread waits: bytes go from the socket to the ring and back. */
import { createConnection } from 'node:net';
import { parentPort, workerData } from 'node:worker_threads';
import { type RingEnd, ringTransport } from '../remote/ring-transport.ts';
import { type PumpReport, socketTransport } from './node-socket.ts';

const { path, end } = workerData as { readonly path: string; readonly end: RingEnd };
const report = (message: PumpReport) => parentPort!.postMessage(message);
const socket = createConnection(path);
const refused = (error: Error) => {
  report({ connected: false, reason: error.message });
  end.port.close();
};

socket.once('error', refused);
socket.once('connect', () => {
  socket.off('error', refused);
  const outside = socketTransport(socket);
  const inside = ringTransport(end);
  outside.open({ received: (bytes) => inside.send(bytes), closed: () => inside.close() });
  inside.open({ received: (bytes) => outside.send(bytes), closed: () => outside.close() });
  report({ connected: true });
});
