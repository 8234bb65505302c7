/**
 * A whole VMM: loads a flat binary, gives it a serial port and 16 MiB, and runs it until it halts.
 *
 *   node test/examples/small-vmm.ts [file.bin]     in real mode at 7C00, as firmware would start a boot sector
 */
import { readFileSync } from 'node:fs';
import { argv, stdout } from 'node:process';
import { Serial16550, unconnectedLine } from '../../runtime/devices/index.ts';
import { nodeHost } from '../../runtime/hosts/node.ts';
import { unexpectedExit, Vm } from '../../runtime/index.ts';
import { bootSectorAddress, loadFlatBinary } from '../../runtime/loaders/index.ts';

/** Runs the guest; returns why it ended. */
export async function runSmallVmm(image: Uint8Array, output: (byte: number) => void): Promise<string> {
  await using vm = await Vm.create({ memory: 16 << 20, cpus: 1 }, nodeHost);
  vm.io.attach({ space: 'port', address: 0x3f8, length: 8 }, new Serial16550(output, unconnectedLine));
  vm.start(0, loadFlatBinary(image, { bytes: vm.ram }, { address: bootSectorAddress, mode: 'real' }));

  for await (const exit of vm.run()) {
    switch (exit.kind) {
      case 'pio': // nobody else is on this bus: reads give all ones, writes are lost
      case 'mmio':
        break;
      case 'halt':
        return 'halted';
      case 'shutdown':
        return `triple fault at 0x${exit.rip.toString(16)}`;
      case 'internal-error':
        return exit.message;
      case 'budget':
      case 'kicked':
      case 'debug':
      case 'msr':
      case 'hypercall':
      case 'interrupt-window':
        return `did not ask for ${exit.kind}`;
      default:
        return unexpectedExit(exit);
    }
  }
  return 'stopped';
}

/** Prints a line through the serial port; halts. */
const greeting = [
  ...[0xbe, 0x0f, 0x7c, 0xba, 0xf8, 0x03], //  mov si, text; mov dx, 3f8h
  ...[0xac, 0x84, 0xc0, 0x74, 0x03], //        next: lodsb; test al, al; jz done
  ...[0xee, 0xeb, 0xf8, 0xf4], //              out dx, al; jmp next; done: hlt
];
export const helloImage = Uint8Array.from([...greeting, ...new TextEncoder().encode('Hello from the guest\n'), 0]);

if (import.meta.main) {
  const image = argv[2] === undefined ? helloImage : new Uint8Array(readFileSync(argv[2]));
  console.log(await runSmallVmm(image, (byte) => stdout.write(Uint8Array.of(byte))));
}
