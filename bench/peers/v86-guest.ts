/** A guest in v86, as a process of its own: `v86-guest.ts LIMITS ELF`. It loads multiboot guests itself, without a BIOS. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { V86 } from 'v86';
import { CallMarks } from '../../runtime/cli/call-marks.ts';
import { callBetween, isEnough, readClock, scriptArguments } from './contender.ts';

const { limits, args } = scriptArguments();
const image = new Uint8Array(readFileSync(args[0]!)); // a buffer of its own, of the file's size

function done(status: number, line: string): never {
  console.log(line);
  process.exit(status);
}
function finish(): never {
  return done(0, JSON.stringify(marks.calls.map(({ start, end }) => callBetween(start, end))));
}

/** What of v86 its own declarations leave out. */
interface Insides {
  v86: { cpu: { io: { register_write(port: number, device: object, write: (value: number) => void): void } } };
}

const began = performance.now();
const marks = new CallMarks(readClock, (call) => {
  if (isEnough(limits, call, (performance.now() - began) / 1000)) finish();
});
const options = {
  wasm_path: fileURLToPath(import.meta.resolve('v86').replace(/[^/]+$/, 'v86.wasm')),
  memory_size: 128 << 20,
  multiboot: { buffer: image.buffer },
  cmdline: `marks=1 repeat=${limits.calls}`,
  autostart: false,
  disable_keyboard: true,
  disable_mouse: true,
  disable_speaker: true,
};
const emulator = new V86(options);
emulator.add_listener('emulator-ready', () => {
  const { io } = (emulator as unknown as Insides).v86.cpu;
  io.register_write(0xe9, {}, marks.take);
  io.register_write(0xf4, {}, (value) => (value === 0 ? finish() : done(1, `exit code ${value}`)));
  void emulator.run();
});
