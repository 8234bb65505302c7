/**
 * The other side of a migration: receives a VM over its standard input and output, lets it run for a while, and sends it
 * back; again and again until the stream ends.
 */
import { stdin, stdout } from 'node:process';
import { Readable, Writable } from 'node:stream';
import { emptyVm } from './vm-harness.ts';

const duplex = {
  readable: Readable.toWeb(stdin) as unknown as ReadableStream<Uint8Array>,
  writable: Writable.toWeb(stdout) as WritableStream<Uint8Array>,
};
for (;;) {
  const vm = emptyVm('hot', { clock: 'virtual' });
  try {
    await vm.receive(duplex);
  } catch {
    break;
  }
  const stop = new AbortController();
  const guest = (async () => {
    for await (const exit of vm.run({ signal: stop.signal })) throw new Error(`the guest ended with ${exit.kind}`);
  })();
  await new Promise((resolve) => setTimeout(resolve, 3));
  await vm.migrate(duplex, { maxDowntimeMs: 20 });
  stop.abort();
  await guest;
}
process.exit(0);
