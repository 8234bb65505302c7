/**
 * A device in a process of its own: `node remote-device-process.ts SOCKET` serves the test device at a Unix socket, one
 * machine after another, until it is ended. It says `ready` when it can be connected to.
 */
import { listenSocket } from '../../runtime/hosts/node-socket.ts';
import { DeviceServer } from '../../runtime/remote/device-server.ts';
import { testDeviceOptions } from './remote-test-device.ts';

const path = process.argv[2];
if (path === undefined) {
  process.stderr.write('usage: node remote-device-process.ts SOCKET\n');
  process.exit(2);
}
const server = new DeviceServer({
  ...testDeviceOptions(),
  onError: (error) => process.stderr.write(`${error.message}\n`),
});
// A machine that connects while another is served takes its place: the old one may have died without a word.
await listenSocket(path, (transport) => {
  server.close();
  server.accept(transport);
});
process.stdout.write('ready\n');
