/** A guest in this emulator, as a process of its own: `jit86-guest.ts LIMITS ELF interpreter|auto exact|fast`. */
import { readFileSync } from 'node:fs';
import { CallMarks } from '../../runtime/cli/call-marks.ts';
import { startGuest } from '../../runtime/cli/guest-file.ts';
import { nodeHost } from '../../runtime/hosts/node.ts';
import { createMachine } from '../../runtime/machines/bare-machine.ts';
import type { Engine, X87Mode } from '../../runtime/machines/machine.ts';
import { callBetween, isEnough, readClock, scriptArguments } from './contender.ts';

const { limits, args } = scriptArguments();
const [path, engine, x87] = args as [string, Engine, X87Mode];
const serial: number[] = [];
const stop = new AbortController();
const marks = new CallMarks(
  () => ({ clock: readClock(), instructions: machine.instructions() }),
  (call) => {
    if (isEnough(limits, call, (performance.now() - began) / 1000)) stop.abort();
  },
);
const machine = await createMachine(
  {
    memory: 128 << 20,
    cpus: 1,
    engine,
    x87,
    cache: null,
    serial: (byte) => void serial.push(byte),
    debugcon: marks.take,
  },
  nodeHost,
);
startGuest(machine, path, readFileSync(path), {
  name: path,
  commandLine: `marks=1 repeat=${limits.calls}`,
  modules: [],
});
const began = performance.now();
const end = await machine.run({ signal: stop.signal });
if (end.reason !== 'aborted' && !(end.reason === 'exit' && end.status === 1)) {
  console.log(`${JSON.stringify(end)} ${Buffer.from(serial).toString('latin1').trim()}`);
  process.exit(1);
}
const calls = marks.calls.map(({ start, end }) =>
  callBetween(start.clock, end.clock, end.instructions - start.instructions),
);
console.log(JSON.stringify(calls));
process.exit(0);
