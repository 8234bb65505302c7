/**
 * ELF executables for i386 and x86_64 (System V ABI, "Object Files", and its two processor supplements).
 *
 * A file is checked whole before a byte of RAM changes: a damaged or foreign one is a `LoaderError` that names what is
 * wrong. Segments go to their physical addresses. Without a boot protocol an ELF32 is entered in flat protected mode
 * with paging off, an ELF64 in long mode with the first 4 GiB mapped one to one (see flat-entry.ts).
 */
import { LoaderError } from '../errors.ts';
import { flatEntry } from './flat-entry.ts';
import { clear, type GuestRam, type InitialState, place } from './initial-state.ts';
import type { Range } from './low-memory.ts';

/** A part of the file that is to be in memory. */
export interface ElfSegment {
  readonly fileOffset: number;
  readonly fileSize: number;
  /** Guest-physical. */
  readonly physical: number;
  /** Bytes beyond `fileSize` are zero. */
  readonly memorySize: number;
}

export interface ElfFile {
  readonly class: 32 | 64;
  /** Guest-physical address of the first instruction. */
  readonly entry: number;
  /** The PT_LOAD segments that occupy memory, in ascending order of address. */
  readonly segments: readonly ElfSegment[];
}

const machineNames: Readonly<Record<number, string>> = {
  3: 'i386',
  8: 'MIPS',
  20: 'PowerPC',
  21: 'PowerPC64',
  22: 'S/390',
  40: 'ARM',
  62: 'x86_64',
  183: 'AArch64',
  243: 'RISC-V',
};
const typeNames: Readonly<Record<number, string>> = {
  0: 'no type',
  1: 'relocatable object',
  2: 'executable',
  3: 'shared object or position-independent executable',
  4: 'core dump',
};
const programHeader = { load: 1, dynamic: 2, interpreter: 3 } as const;

const hex = (value: number | bigint) => `0x${value.toString(16)}`;

/** Whether the file begins as every ELF does. */
export function isElf(file: Uint8Array): boolean {
  return file.length >= 4 && file[0] === 0x7f && file[1] === 0x45 && file[2] === 0x4c && file[3] === 0x46;
}

/** Where the fields of the two classes stand. */
export const elfLayouts = {
  32: { machine: 3, header: 52, entry: 24, phoff: 28, ehsize: 40, phentsize: 42, phnum: 44, ph: 32 },
  64: { machine: 62, header: 64, entry: 24, phoff: 32, ehsize: 52, phentsize: 54, phnum: 56, ph: 56 },
} as const;

/**
 * Takes an ELF apart and checks it against a RAM of `ramSize` bytes.
 *
 * @throws LoaderError; never another error, whatever the bytes are
 */
export function parseElf(file: Uint8Array, ramSize: number): ElfFile {
  if (!isElf(file))
    throw new LoaderError('unknown-format', 'the file does not begin with 7f 45 4c 46, so it is no ELF');
  if (file.length < 52) {
    throw new LoaderError('truncated', `the ELF header needs 52 bytes and the file has ${file.length}`);
  }
  const view = new DataView(file.buffer, file.byteOffset, file.length);
  const bits = file[4] === 1 ? 32 : file[4] === 2 ? 64 : undefined;
  if (bits === undefined) throw new LoaderError('foreign-class', `ELF class ${file[4]} is neither 32- nor 64-bit`);
  if (file[5] === 2)
    throw new LoaderError('big-endian', 'the ELF is big-endian (data encoding 2); x86 is little-endian');
  if (file[5] !== 1) throw new LoaderError('bad-header', `ELF data encoding ${file[5]} does not exist`);
  if (file[6] !== 1) throw new LoaderError('bad-header', `ELF version ${file[6]} does not exist`);
  const layout = elfLayouts[bits];
  if (file.length < layout.header) {
    throw new LoaderError('truncated', `the ELF header needs ${layout.header} bytes and the file has ${file.length}`);
  }
  const machine = view.getUint16(18, true);
  if (machine !== layout.machine) {
    const name = machineNames[machine] ?? 'unknown';
    throw new LoaderError(
      'foreign-machine',
      `a ${bits}-bit ELF for machine ${machine} (${name}); jit86 runs i386 (3) in 32-bit and x86_64 (62) in 64-bit ELFs`,
    );
  }
  const type = view.getUint16(16, true);
  if (type !== 2) {
    const name = typeNames[type] ?? 'unknown';
    throw new LoaderError('not-executable', `ELF type ${type} (${name}) is not an executable with fixed addresses`);
  }
  const headerSize = view.getUint16(layout.ehsize, true);
  if (headerSize < layout.header) {
    throw new LoaderError(
      'bad-header',
      `the ELF header says it is ${headerSize} bytes long, less than ${layout.header}`,
    );
  }

  const word = (at: number) => (bits === 32 ? BigInt(view.getUint32(at, true)) : view.getBigUint64(at, true));
  const count = view.getUint16(layout.phnum, true);
  const stride = view.getUint16(layout.phentsize, true);
  const table = word(layout.phoff);
  if (count === 0) throw new LoaderError('no-segments', 'the ELF has no program headers, so nothing to load');
  if (count === 0xffff) throw new LoaderError('bad-header', 'the ELF has 65535 or more program headers');
  if (stride < layout.ph) {
    throw new LoaderError('bad-header', `program headers of ${stride} bytes are shorter than ${layout.ph}`);
  }
  if (table + BigInt(count * stride) > BigInt(file.length)) {
    throw new LoaderError(
      'truncated',
      `${count} program headers at ${hex(table)} do not fit the file of ${file.length} bytes`,
    );
  }

  const entry = word(layout.entry);
  let physicalEntry: number | undefined;
  const segments: ElfSegment[] = [];
  for (let index = 0; index < count; index++) {
    const at = Number(table) + index * stride;
    const kind = view.getUint32(at, true);
    if (kind === programHeader.interpreter) {
      throw new LoaderError(
        'needs-interpreter',
        'the ELF asks for a program interpreter: it is for an operating system',
      );
    }
    if (kind === programHeader.dynamic) {
      throw new LoaderError('not-executable', 'the ELF is dynamically linked: link it statically, without PIE');
    }
    if (kind !== programHeader.load) continue;
    const field = (offset32: number, offset64: number) => word(at + (bits === 32 ? offset32 : offset64));
    const offset = field(4, 8);
    const virtual = field(8, 16);
    const physical = field(12, 24);
    const fileSize = field(16, 32);
    const memorySize = field(20, 40);
    const name = `segment ${index}`;
    if (fileSize > memorySize) {
      throw new LoaderError('bad-segment', `${name} has ${fileSize} bytes in the file for ${memorySize} in memory`);
    }
    if (memorySize === 0n) continue;
    if (fileSize > 0n && offset + fileSize > BigInt(file.length)) {
      throw new LoaderError(
        'truncated',
        `${name} is at ${hex(offset)}-${hex(offset + fileSize)} of a file of ${hex(file.length)} bytes`,
      );
    }
    if (physical + memorySize > BigInt(ramSize)) {
      throw new LoaderError(
        'outside-ram',
        `${name} at ${hex(physical)}-${hex(physical + memorySize)} lies outside of the RAM of ${hex(ramSize)} bytes`,
      );
    }
    if (entry >= virtual && entry < virtual + memorySize) {
      // A kernel linked high names a virtual address that is not mapped yet: enter at its physical place.
      physicalEntry ??= Number(entry - virtual + physical);
    }
    segments.push({
      fileOffset: Number(fileSize > 0n ? offset : 0n),
      fileSize: Number(fileSize),
      physical: Number(physical),
      memorySize: Number(memorySize),
    });
  }
  if (segments.length === 0) throw new LoaderError('no-segments', 'no program header of the ELF loads anything');
  segments.sort((a, b) => a.physical - b.physical);
  for (let index = 1; index < segments.length; index++) {
    const below = segments[index - 1]!;
    const above = segments[index]!;
    if (below.physical + below.memorySize > above.physical) {
      throw new LoaderError(
        'segment-overlap',
        `the segments at ${hex(below.physical)}-${hex(below.physical + below.memorySize)} and ` +
          `${hex(above.physical)}-${hex(above.physical + above.memorySize)} overlap`,
      );
    }
  }
  if (physicalEntry === undefined) {
    throw new LoaderError('entry-outside', `the entry point ${hex(entry)} lies in no segment`);
  }
  return { class: bits, entry: physicalEntry, segments };
}

/** Copies the segments of a parsed ELF into RAM; answers the ranges they occupy. */
export function placeElf(file: Uint8Array, elf: ElfFile, ram: GuestRam): Range[] {
  return elf.segments.map(({ fileOffset, fileSize, physical, memorySize }) => {
    place(ram, file.subarray(fileOffset, fileOffset + fileSize), physical);
    clear(ram, physical + fileSize, physical + memorySize);
    return { start: physical, end: physical + memorySize };
  });
}

/**
 * Loads an ELF that speaks no boot protocol.
 *
 * @throws LoaderError
 */
export function loadElf(file: Uint8Array, ram: GuestRam): InitialState {
  const elf = parseElf(file, ram.bytes.length);
  return flatEntry(ram, placeElf(file, elf, ram), elf.class === 64 ? 'long' : 'protected', elf.entry);
}
