/** A guest's serial port as Web Streams. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { serialPort } from '../../runtime/io/serial-streams.ts';
import { Assembler, dword, to } from '../engines/assembler.ts';
import { guest, origin, testEngines } from './vm-harness.ts';

/** Sends back what it receives, one higher, and halts after an `!`. */
const echo = new Assembler(BigInt(origin))
  .label('wait')
  .put(0xba, dword(0x3fd), 0xec, 0xa8, 1, 0x74, to('wait', 1)) // mov edx, 3fdh; in al, dx; test al, 1; jz wait
  .put(0xba, dword(0x3f8), 0xec, 0x3c, 0x21, 0x74, to('end', 1)) // mov edx, 3f8h; in al, dx; cmp al, '!'; je end
  .put(0xfe, 0xc0, 0xee, 0xeb, to('wait', 1)) // inc al; out dx, al; jmp wait
  .label('end')
  .put(0xf4)
  .finish();

testEngines('a serial port is a pair of streams', async (engine) => {
  const vm = guest(engine, echo);
  const port = serialPort();
  vm.io.attach({ space: 'port', address: 0x3f8, length: 8 }, port.device);
  const sent = 'HAL'.repeat(3000);
  const text = new TextEncoder();
  const written = new Blob([text.encode(sent), text.encode('!')]).stream().pipeTo(port.writable);
  const read = new Response(port.readable).text();
  for await (const exit of vm.run()) if (exit.kind === 'halt') break;
  port.close();
  await written;
  assert.equal(await read, 'IBM'.repeat(3000));
});

test('a serial port takes bytes alone, and a reader that goes away holds nobody up', async () => {
  const port = serialPort();
  await assert.rejects(port.writable.getWriter().write('text' as never), { code: 'bad-option' });
  const other = serialPort();
  await other.readable.cancel();
  for (let i = 0; i < 5000; i++) other.device.write(0, 1, i & 0xff);
  await new Promise((resolve) => setTimeout(resolve));
  other.close();
});
