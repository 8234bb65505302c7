/** The test device on a worker thread, for one machine after another: each message brings an end of a ring, or a port. */
import { parentPort, workerData } from 'node:worker_threads';
import { DeviceServer } from '../../runtime/remote/device-server.ts';
import { type RingEnd, ringTransport } from '../../runtime/remote/ring-transport.ts';
import { messagePortTransport } from '../../runtime/remote/transport.ts';
import { testDeviceOptions } from './remote-test-device.ts';

const server = new DeviceServer(testDeviceOptions());
const options = workerData as { readonly lingerMillis?: number } | null;
parentPort!.on('message', ({ ring, port }: { ring?: RingEnd; port?: MessagePort }) => {
  server.close();
  server.accept(ring !== undefined ? ringTransport(ring, options ?? {}) : messagePortTransport(port!));
});
