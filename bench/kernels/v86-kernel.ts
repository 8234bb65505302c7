/** A Linux kernel in v86, its serial port on the standard output: `v86-kernel.ts BIOS KERNEL INITRD COMMAND-LINE MEMORY`. */
import { readFileSync, writeSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { V86 } from 'v86';

const [bios, kernel, initrd, cmdline, memory] = process.argv.slice(2) as [string, string, string, string, string];
const image = (path: string) => ({ buffer: new Uint8Array(readFileSync(path)).buffer });
const emulator = new V86({
  wasm_path: fileURLToPath(import.meta.resolve('v86').replace(/[^/]+$/, 'v86.wasm')),
  memory_size: Number(memory),
  bios: image(bios),
  bzimage: image(kernel),
  initrd: image(initrd),
  cmdline,
  autostart: true,
  disable_keyboard: true,
  disable_mouse: true,
  disable_speaker: true,
});
const line: number[] = [];
emulator.add_listener('serial0-output-byte', (byte: number) => {
  line.push(byte);
  if (byte !== 10) return;
  writeSync(1, Uint8Array.from(line));
  line.length = 0;
});
