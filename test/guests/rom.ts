/**
 * A guest of this folder as the ROM of a PC, for emulators that load no multiboot file: code behind the reset vector opens
 * A20, goes to flat protected mode, brings the segments to their places and enters the guest as a multiboot loader would.
 */
import { parseElf } from '../../runtime/loaders/elf.ts';
import { Assembler, at, dword } from '../engines/assembler.ts';
import { flat, gdt } from '../engines/system-code.ts';

const block = 0x10000;
const top = 2 ** 32;
/** Where the multiboot information goes. */
const information = 0x7000;

/** @param from what `cases.h` is to be told, null = nothing */
export function romOf(file: Uint8Array, from: number | null): Uint8Array {
  const { segments, entry } = parseElf(file, 2 ** 32);
  const bytes = segments.reduce((sum, { fileSize }) => sum + fileSize, 0);
  const size = Math.ceil(bytes / block) * block + block;
  const rom = new Uint8Array(size).fill(0x90);
  const code = new Assembler(BigInt(top - block));
  code.put(0xfa, 0xe4, 0x92, 0x0c, 2, 0x24, 0xfe, 0xe6, 0x92); // cli; port 92H: A20, no reset
  code.put(0x2e, 0x66, 0x0f, 1, 0x16, at('pointer', 0, 2)); // lgdt
  code.put(0x66, 0xb8, dword(0x11), 0x0f, 0x22, 0xc0, 0x66, 0xea, at('flat'), 8, 0); // CR0: PE, ET
  code.label('flat').put(0x66, 0xb8, 0x10, 0, 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0, 0x8e, 0xe0, 0x8e, 0xe8, 0xfc);
  let place = 0;
  for (const { fileOffset, fileSize, physical, memorySize } of segments) {
    rom.set(file.subarray(fileOffset, fileOffset + fileSize), place);
    code.put(0xbe, dword(top - size + place), 0xbf, dword(physical), 0xb9, dword(fileSize), 0xf3, 0xa4);
    code.put(0xb9, dword(memorySize - fileSize), 0x30, 0xc0, 0xf3, 0xaa);
    place += fileSize;
  }
  // The information for the guest lies in RAM, where 64-bit guests see it too.
  code.put(0xbe, at('information'), 0xbf, dword(information), 0xb9, dword(64), 0xf3, 0xa4);
  code.put(0xb0, 0xff, 0xe6, 0x21, 0xe6, 0xa1); // the 8259s: nothing
  code.put(0xb8, dword(0x2bad_b002), 0xbb, dword(information), 0xba, dword(entry), 0xff, 0xe2);
  code.label('pointer').put(23, 0, at('table'));
  code.label('table').put(gdt(flat.code, flat.data));
  code.label('information').put(dword(from === null ? 0 : 4), dword(0), dword(0), dword(0));
  code.put(
    dword(information + 20),
    [...`from=${from ?? 0}\0`].map((character) => character.charCodeAt(0)),
  );
  rom.set(code.finish(), size - block);
  rom.set([0xe9, 0x0d, 0], size - 16); // from FFF0 to 0
  return rom;
}
