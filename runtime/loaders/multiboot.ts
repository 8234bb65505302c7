/**
 * Multiboot, version 1 (the Multiboot Specification 0.6.96): the boot protocol of GRUB, and of QEMU's `-kernel` for ELFs.
 *
 * The image is an ELF, or whatever the address fields of its header describe (the "a.out kludge", flag 16). Modules
 * follow the image, each at a page; the information structure lies below 640 KiB. A guest that prefers a video mode
 * (flag 2) is loaded without one, and is told nothing about video, as QEMU does.
 */
import { LoaderError } from '../errors.ts';
import { isElf, parseElf, placeElf } from './elf.ts';
import { clear, type GuestRam, gpr, type InitialState, place, registers } from './initial-state.ts';
import { findLowMemory, lowMemoryEnd, type Range } from './low-memory.ts';

/** A file that is handed to the guest beside its kernel. */
export interface BootModule {
  /** The file. */
  readonly bytes: Uint8Array;
  /** The string that the guest finds with it: by custom the file's name and its arguments. */
  readonly string: string;
}

/** What a boot loader hands to a kernel. */
export interface BootOptions {
  /** The kernel's file name; it begins the command line, as from QEMU. */
  readonly name: string;
  /** What follows the name on the command line. */
  readonly commandLine: string;
  /** Files beside the kernel; of a Linux kernel they are, one after the other, the initial RAM disk. */
  readonly modules: readonly BootModule[];
}

const headerMagic = 0x1bad_b002;
const bootMagic = 0x2bad_b002;
/** The header must lie in the first 8 KiB, aligned to 4 bytes. */
const searchLength = 8192;
const headerFlags = { alignModules: 1 << 0, memory: 1 << 1, video: 1 << 2, addresses: 1 << 16 } as const;
/** Of bits 0-15 a loader must know each that is set; the others it may ignore. */
const requiredFlags = 0xffff;
const knownRequiredFlags = headerFlags.alignModules | headerFlags.memory | headerFlags.video;
const infoFlags = {
  memory: 1 << 0,
  commandLine: 1 << 2,
  modules: 1 << 3,
  memoryMap: 1 << 6,
  loaderName: 1 << 9,
} as const;
const pageSize = 0x1000;

const hex = (value: number) => `0x${value.toString(16)}`;

export interface MultibootHeader {
  /** Where it stands in the file. */
  readonly offset: number;
  readonly flags: number;
  /** The address fields of the a.out kludge, if flag 16 is set. */
  readonly addresses: {
    readonly header: number;
    readonly load: number;
    readonly loadEnd: number;
    readonly bssEnd: number;
    readonly entry: number;
  } | null;
}

/**
 * Looks for a header whose checksum is right.
 *
 * @returns undefined if there is none: the file speaks another protocol
 * @throws LoaderError if the one found is cut short by the end of the file
 */
export function findMultibootHeader(file: Uint8Array): MultibootHeader | undefined {
  const view = new DataView(file.buffer, file.byteOffset, file.length);
  const end = Math.min(searchLength, file.length);
  for (let offset = 0; offset + 12 <= end; offset += 4) {
    if (view.getUint32(offset, true) !== headerMagic) continue;
    const flags = view.getUint32(offset + 4, true);
    if (((headerMagic + flags + view.getUint32(offset + 8, true)) & 0xffff_ffff) !== 0) continue;
    if ((flags & headerFlags.addresses) === 0) return { offset, flags, addresses: null };
    if (offset + 32 > file.length) {
      throw new LoaderError('truncated', `the multiboot header at ${hex(offset)} is cut short by the end of the file`);
    }
    const [header, load, loadEnd, bssEnd, entry] = [12, 16, 20, 24, 28].map((at) => view.getUint32(offset + at, true));
    return {
      offset,
      flags,
      addresses: { header: header!, load: load!, loadEnd: loadEnd!, bssEnd: bssEnd!, entry: entry! },
    };
  }
  return undefined;
}

/** Where the kernel came to lie. */
interface Placed {
  readonly entry: number;
  readonly ranges: readonly Range[];
}

function placeByAddresses(file: Uint8Array, header: MultibootHeader, ram: GuestRam): Placed {
  const { header: headerAddress, load, loadEnd, bssEnd, entry } = header.addresses!;
  if (load > headerAddress) {
    throw new LoaderError(
      'bad-multiboot-header',
      `load_addr ${hex(load)} lies above header_addr ${hex(headerAddress)}`,
    );
  }
  const fileStart = header.offset - (headerAddress - load);
  if (fileStart < 0) {
    throw new LoaderError(
      'bad-multiboot-header',
      `load_addr ${hex(load)} would begin ${-fileStart} bytes before the file, whose header is at ${hex(header.offset)}`,
    );
  }
  if (loadEnd !== 0 && loadEnd < load) {
    throw new LoaderError('bad-multiboot-header', `load_end_addr ${hex(loadEnd)} lies below load_addr ${hex(load)}`);
  }
  const length = loadEnd === 0 ? file.length - fileStart : loadEnd - load;
  if (fileStart + length > file.length) {
    throw new LoaderError(
      'truncated',
      `the multiboot header asks for ${length} bytes from ${hex(fileStart)} of a file of ${file.length} bytes`,
    );
  }
  const loaded = load + length;
  if (bssEnd !== 0 && bssEnd < loaded) {
    throw new LoaderError(
      'bad-multiboot-header',
      `bss_end_addr ${hex(bssEnd)} lies below the end of the data ${hex(loaded)}`,
    );
  }
  const end = bssEnd === 0 ? loaded : bssEnd;
  if (end > ram.bytes.length) {
    throw new LoaderError(
      'outside-ram',
      `the image at ${hex(load)}-${hex(end)} lies outside of the RAM of ${hex(ram.bytes.length)} bytes`,
    );
  }
  if (entry < load || entry >= end) {
    throw new LoaderError(
      'entry-outside',
      `entry_addr ${hex(entry)} lies outside of the image ${hex(load)}-${hex(end)}`,
    );
  }
  place(ram, file.subarray(fileStart, fileStart + length), load);
  clear(ram, loaded, end);
  return { entry, ranges: [{ start: load, end }] };
}

function placeKernel(file: Uint8Array, header: MultibootHeader, ram: GuestRam): Placed {
  if (header.addresses !== null) return placeByAddresses(file, header, ram);
  if (!isElf(file)) {
    throw new LoaderError(
      'bad-multiboot-header',
      'the image is no ELF and its multiboot header has no addresses (flag 16)',
    );
  }
  const elf = parseElf(file, ram.bytes.length);
  return { entry: elf.entry, ranges: placeElf(file, elf, ram) };
}

interface PlacedModule extends Range {
  readonly string: string;
}

/** Puts modules behind the kernel, each at a page. */
export function placeModules(modules: readonly BootModule[], kernel: Placed, ram: GuestRam): PlacedModule[] {
  const kernelEnd = Math.max(...kernel.ranges.map((range) => range.end));
  let next = Math.max(kernelEnd, 0x10_0000);
  return modules.map(({ bytes, string }, index) => {
    const start = Math.ceil(next / pageSize) * pageSize;
    const end = start + bytes.length;
    if (end > ram.bytes.length) {
      throw new LoaderError(
        'outside-ram',
        `module ${index} (${string}) at ${hex(start)}-${hex(end)} lies outside of the RAM of ${hex(ram.bytes.length)} bytes`,
      );
    }
    place(ram, bytes, start);
    next = end;
    return { start, end, string };
  });
}

/** RAM, and what a PC keeps between 640 KiB and 1 MiB (types as in BIOS call E820: 1 usable, 2 reserved). */
export function memoryMap(ramSize: number): { start: number; end: number; type: 1 | 2 }[] {
  const low = Math.min(ramSize, lowMemoryEnd);
  const map: { start: number; end: number; type: 1 | 2 }[] = [
    { start: 0, end: low, type: 1 },
    { start: lowMemoryEnd, end: 0x10_0000, type: 2 },
  ];
  if (ramSize > 0x10_0000) map.push({ start: 0x10_0000, end: ramSize, type: 1 });
  return map;
}

/** Writes the information structure (section 3.3) and what it points to; answers its address. */
function writeInformation(
  ram: GuestRam,
  placed: Placed,
  modules: readonly PlacedModule[],
  options: BootOptions,
): number {
  const encoder = new TextEncoder();
  const text = (value: string) => encoder.encode(`${value}\0`);
  const commandLine = text(options.commandLine === '' ? options.name : `${options.name} ${options.commandLine}`);
  const loaderName = text('jit86');
  const moduleStrings = modules.map(({ string }) => text(string));
  const map = memoryMap(ram.bytes.length);

  const offsets = { info: 0, map: 128, modules: 128 + map.length * 24 };
  let length = offsets.modules + modules.length * 16;
  const strings = [commandLine, loaderName, ...moduleStrings].map((bytes) => {
    const at = length;
    length += bytes.length;
    return { at, bytes };
  });
  const base = findLowMemory(ram.bytes.length, placed.ranges, length, 'the multiboot information');
  clear(ram, base, base + length);
  const view = new DataView(ram.bytes.buffer, ram.bytes.byteOffset + base, length);
  const put = (at: number, ...values: number[]) => {
    for (const [index, value] of values.entries()) view.setUint32(at + index * 4, value, true);
  };

  for (const { at, bytes } of strings) place(ram, bytes, base + at);
  map.forEach(({ start, end, type }, index) => {
    put(offsets.map + index * 24, 20, start, 0, end - start, 0, type); // the size does not count itself
  });
  modules.forEach(({ start, end }, index) => {
    put(offsets.modules + index * 16, start, end, base + strings[index + 2]!.at, 0);
  });
  let flags = infoFlags.memory | infoFlags.commandLine | infoFlags.memoryMap | infoFlags.loaderName;
  if (modules.length > 0) flags |= infoFlags.modules;
  const upper = Math.max(0, ram.bytes.length - 0x10_0000);
  put(0, flags, Math.min(ram.bytes.length, lowMemoryEnd) >>> 10, Math.floor(upper / 1024));
  put(16, base + strings[0]!.at);
  put(20, modules.length, modules.length > 0 ? base + offsets.modules : 0);
  put(44, map.length * 24, base + offsets.map);
  put(64, base + strings[1]!.at);
  return base;
}

/**
 * Loads a multiboot kernel with its modules.
 *
 * @throws LoaderError if the image is damaged, asks for what cannot be given, or does not fit the RAM
 */
export function loadMultiboot(
  file: Uint8Array,
  header: MultibootHeader,
  ram: GuestRam,
  options: BootOptions,
): InitialState {
  const unknown = header.flags & requiredFlags & ~knownRequiredFlags;
  if (unknown !== 0) {
    throw new LoaderError(
      'unsupported-multiboot-flags',
      `the multiboot header requires flags ${hex(unknown)}, which jit86 does not know`,
    );
  }
  const placed = placeKernel(file, header, ram);
  const modules = placeModules(options.modules, placed, ram);
  const information = writeInformation(ram, placed, modules, options);
  return {
    mode: 'protected',
    rip: placed.entry,
    gpr: registers({ [gpr.rax]: bootMagic, [gpr.rbx]: information }),
    codeSelector: 0x08,
    dataSelector: 0x10,
    a20: true,
    pageTables: null,
    gdt: null,
  };
}
