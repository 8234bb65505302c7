/** How long an access takes: by an exit, a device, a program. `node test/vm/io-bench.ts` */

import { attachProgram } from '../../runtime/io/program.ts';
import { assemble } from '../../src/bpf/assemble.ts';
import { Assembler, dword, to } from '../engines/assembler.ts';
import { engines, IoGuest } from './io-guest.ts';

const loop = (n: number) =>
  new Assembler(0x10000n).put(0xb9, dword(n), 0xba, dword(0x40)).label('l').put(0xec, 0x49, 0x75, to('l', 1)).put(0xf4);
const empty = (n: number) =>
  new Assembler(0x10000n).put(0xb9, dword(n), 0xba, dword(0x40)).label('l').put(0x90, 0x49, 0x75, to('l', 1)).put(0xf4);
for (const engine of engines) {
  for (const [what, count] of [
    ['nothing', 2e6],
    ['exit', 2e5],
    ['device', 2e6],
    ['bpf', 2e6],
  ] as const) {
    const g = new IoGuest(engine, (what === 'nothing' ? empty : loop)(count));
    const range = { space: 'port', address: 0x40, length: 4 } as const;
    if (what === 'device') g.io.attach(range, { name: 'd', read: () => 7, write: () => {} });
    if (what === 'bpf')
      await attachProgram(
        g.io,
        { ...range, access: 'read' },
        assemble('r0 = *(u64 *)(r1 + 24)\nr2 = *(u32 *)(r0 + 0)\n*(u64 *)(r1 + 8) = r2\nr0 = 1\nexit'),
        { shared: 16 },
        () => 5,
      );
    const t = process.cpuUsage();
    const exits = g.run((e) => {
      if (e.kind === 'pio') e.value = 7;
    });
    const d = process.cpuUsage(t);
    console.log(engine, what, ((d.user * 1000) / count).toFixed(1), 'ns', exits);
  }
}
