/**
 * Linux kernels as they are packaged (bzImage), by the boot protocol of the kernel's documentation
 * (Documentation/x86/boot.rst): a 64-bit kernel is entered in long mode at its 64-bit entry, others in protected mode.
 * The real-mode part of the image is only read for its header.
 *
 *   below 640 KiB  boot parameters, command line, GDT, page tables (64-bit only), a page of stack
 *   0x100000       the protected-mode kernel
 *   high           the initial RAM disk, as high as the kernel says it may lie
 */
import { LoaderError } from '../errors.ts';
import { clear, type GuestRam, gpr, type InitialState, place, registers } from './initial-state.ts';
import { findLowMemory, lowMemoryEnd } from './low-memory.ts';
import type { BootOptions } from './multiboot.ts';

const pageSize = 0x1000;
const header = {
  start: 0x1f1,
  setupSectors: 0x1f1,
  bootFlag: 0x1fe,
  jump: 0x200,
  magic: 0x202,
  version: 0x206,
  loaderType: 0x210,
  loadFlags: 0x211,
  code32Start: 0x214,
  ramdisk: 0x218,
  ramdiskSize: 0x21c,
  commandLine: 0x228,
  ramdiskMaximum: 0x22c,
  xLoadFlags: 0x236,
  commandLineSize: 0x238,
  preferredAddress: 0x258,
  initSize: 0x260,
} as const;
/** Fields of the boot parameters outside of the header. */
const parameters = { mapEntries: 0x1e8, map: 0x2d0 } as const;
const headerMagic = 0x5372_6448; // HdrS
const loadedHigh = 1;
const hasEntry64 = 1;
/** "No assigned number". */
const unnamedLoader = 0xff;
const kernelAddress = 0x10_0000;
/** Selectors that the protocol prescribes. */
const selectors = { code: 0x10, data: 0x18 } as const;
const directories = 4;

const hex = (value: number) => `0x${value.toString(16)}`;
const viewOf = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.length);

/** Whether the file has the header of a Linux kernel. */
export function isBzImage(file: Uint8Array): boolean {
  if (file.length < 0x268) return false;
  const view = viewOf(file);
  return view.getUint16(header.bootFlag, true) === 0xaa55 && view.getUint32(header.magic, true) === headerMagic;
}

interface KernelHeader {
  readonly bytes: Uint8Array;
  readonly kernel: Uint8Array;
  readonly entry64: boolean;
  readonly ramdiskMaximum: number;
  readonly commandLineSize: number;
  /** End of what the kernel needs before it knows its memory. */
  readonly memoryEnd: number;
}

function readHeader(file: Uint8Array): KernelHeader {
  const view = viewOf(file);
  const version = view.getUint16(header.version, true);
  if (version < 0x206) {
    const text = `${version >> 8}.${(version & 0xff).toString().padStart(2, '0')}`;
    throw new LoaderError('unsupported-boot-protocol', `the kernel's boot protocol is ${text}; 2.06 is needed`);
  }
  if ((file[header.loadFlags]! & loadedHigh) === 0)
    throw new LoaderError('unsupported-boot-protocol', 'the kernel is a zImage, which loads below 640 KiB');
  const setup = ((file[header.setupSectors]! || 4) + 1) * 512;
  if (setup >= file.length)
    throw new LoaderError('truncated', `the kernel begins at ${hex(setup)} of a file of ${file.length} bytes`);
  const end = header.magic + file[header.jump + 1]!;
  const bytes = file.slice(header.start, Math.min(end, 0x290));
  const later = version >= 0x20a;
  const preferred = later ? Number(view.getBigUint64(header.preferredAddress, true)) : 0;
  const kernel = file.subarray(setup);
  return {
    bytes,
    kernel,
    entry64: version >= 0x20c && (view.getUint16(header.xLoadFlags, true) & hasEntry64) !== 0,
    ramdiskMaximum: view.getUint32(header.ramdiskMaximum, true),
    commandLineSize: view.getUint32(header.commandLineSize, true),
    memoryEnd: later ? Math.max(preferred, kernelAddress) + view.getUint32(header.initSize, true) : 0,
  };
}

/** Places initrds one after the other, each at four bytes: the kernel takes them as one. */
function placeRamdisk(ram: GuestRam, kernel: KernelHeader, options: BootOptions): { start: number; length: number } {
  const parts = options.modules.map(({ bytes }) => bytes);
  const length = parts.reduce((sum, bytes) => sum + ((bytes.length + 3) & ~3), 0);
  if (length === 0) return { start: 0, length: 0 };
  const top = Math.min(ram.bytes.length, kernel.ramdiskMaximum + 1);
  const start = Math.floor((top - length) / pageSize) * pageSize;
  const lowest = Math.max(kernelAddress + kernel.kernel.length, kernel.memoryEnd);
  if (start < lowest) {
    throw new LoaderError(
      'outside-ram',
      `the initrd of ${length} bytes does not fit between the kernel's end ${hex(lowest)} and ${hex(top)}`,
    );
  }
  let at = start;
  for (const bytes of parts) {
    place(ram, bytes, at);
    at += (bytes.length + 3) & ~3;
  }
  return { start, length };
}

/** The map that BIOS call E820 would give: types 1 usable, 2 reserved. */
function writeMemoryMap(view: DataView, at: number, ramSize: number): void {
  const map: [number, number, number][] = [
    [0, lowMemoryEnd, 1],
    [lowMemoryEnd, 0x10_0000, 2],
    [0x10_0000, ramSize, 1],
  ];
  view.setUint8(at + parameters.mapEntries, map.length);
  for (const [index, [start, end, type]] of map.entries()) {
    const entry = at + parameters.map + index * 20;
    view.setBigUint64(entry, BigInt(start), true);
    view.setBigUint64(entry + 8, BigInt(end - start), true);
    view.setUint32(entry + 16, type, true);
  }
}

/** Descriptors of the flat segments, and for 64 bits an identity map of the first 4 GiB. */
function writeTables(view: DataView, gdt: number, pageTables: number | null): void {
  const code = pageTables === null ? 0x00cf_9b00 : 0x00af_9b00;
  for (const [selector, high] of [
    [selectors.code, code],
    [selectors.data, 0x00cf_9300],
  ] as const) {
    view.setUint32(gdt + selector, 0x0000_ffff, true);
    view.setUint32(gdt + selector + 4, high, true);
  }
  if (pageTables === null) return;
  const pointers = pageTables + pageSize;
  view.setUint32(pageTables, pointers | 3, true);
  for (let directory = 0; directory < directories; directory++) {
    const at = pointers + (directory + 1) * pageSize;
    view.setUint32(pointers + directory * 8, at | 3, true);
    for (let page = 0; page < 512; page++)
      view.setUint32(at + page * 8, ((directory * 512 + page) * 0x20_0000 + 0x83) >>> 0, true);
  }
}

/**
 * Loads a kernel with its initrd and command line.
 *
 * @throws LoaderError if the image is damaged or too old, or does not fit the RAM
 */
export function loadBzImage(file: Uint8Array, ram: GuestRam, options: BootOptions): InitialState {
  const kernel = readHeader(file);
  const commandLine = new TextEncoder().encode(options.commandLine);
  if (commandLine.length > kernel.commandLineSize) {
    throw new LoaderError(
      'bad-boot-header',
      `the command line has ${commandLine.length} bytes; the kernel takes ${kernel.commandLineSize}`,
    );
  }
  const end = Math.max(kernelAddress + kernel.kernel.length, kernel.memoryEnd);
  if (end > ram.bytes.length) {
    throw new LoaderError(
      'outside-ram',
      `the kernel needs memory up to ${hex(end)}, beyond the RAM of ${hex(ram.bytes.length)} bytes`,
    );
  }
  place(ram, kernel.kernel, kernelAddress);
  const ramdisk = placeRamdisk(ram, kernel, options);

  const commandPages = Math.ceil((commandLine.length + 1) / pageSize);
  const tablePages = kernel.entry64 ? 2 + directories : 0;
  const pages = 3 + commandPages + tablePages;
  const base = findLowMemory(ram.bytes.length, [], pages * pageSize, 'the boot parameters');
  clear(ram, base, base + pages * pageSize);
  const [zeroPage, gdt, stack] = [base, base + pageSize, base + 3 * pageSize];
  const commandAt = stack;
  const pageTables = kernel.entry64 ? commandAt + commandPages * pageSize : null;
  const view = viewOf(ram.bytes);

  place(ram, kernel.bytes, zeroPage + header.start);
  place(ram, commandLine, commandAt);
  view.setUint8(zeroPage + header.loaderType, unnamedLoader);
  view.setUint32(zeroPage + header.code32Start, kernelAddress, true);
  view.setUint32(zeroPage + header.ramdisk, ramdisk.start, true);
  view.setUint32(zeroPage + header.ramdiskSize, ramdisk.length, true);
  view.setUint32(zeroPage + header.commandLine, commandAt, true);
  writeMemoryMap(view, zeroPage, ram.bytes.length);
  writeTables(view, gdt, pageTables);

  return {
    mode: kernel.entry64 ? 'long' : 'protected',
    rip: kernel.entry64 ? kernelAddress + 0x200 : kernelAddress,
    gpr: registers({ [gpr.rsi]: zeroPage, [gpr.rsp]: stack }),
    codeSelector: selectors.code,
    dataSelector: selectors.data,
    a20: true,
    pageTables,
    gdt: { base: gdt, limit: 0x1f },
  };
}
