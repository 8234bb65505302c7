/**
 * Flat binaries: bytes without a header, loaded at one address and entered at its first byte. A boot sector is one, at
 * 0x7C00 in real mode.
 */
import { LoaderError } from '../errors.ts';
import { flatEntry } from './flat-entry.ts';
import { type GuestRam, gpr, type InitialMode, type InitialState, place, registers } from './initial-state.ts';

/** Where a PC's firmware puts a boot sector. */
export const bootSectorAddress = 0x7c00;
/** The drive that firmware tells a boot sector it came from: the first hard disk. */
const firstHardDisk = 0x80;

const hex = (value: number) => `0x${value.toString(16)}`;

/** Where a file without a format goes, and in which mode it is entered. */
export interface FlatBinaryOptions {
  /** Guest-physical address of the first byte. */
  readonly address: number;
  /** The mode of the processor at its first byte. */
  readonly mode: InitialMode;
}

/** Whether the file begins with a sector that firmware would boot: 512 bytes that end in 55 AA. */
export function isBootSector(file: Uint8Array): boolean {
  return file.length >= 512 && file[510] === 0x55 && file[511] === 0xaa;
}

/**
 * Loads a flat binary and enters it at its first byte. In real mode below 64 KiB CS is 0, as from firmware; above, CS is
 * the address divided by 16. SS is 0 with SP at the load address or, if that is not below 64 KiB, at 0x7C00.
 *
 * @throws LoaderError `outside-ram`, or `bad-address` for one that real mode cannot reach
 */
export function loadFlatBinary(file: Uint8Array, ram: GuestRam, options: FlatBinaryOptions): InitialState {
  const { address, mode } = options;
  if (!Number.isSafeInteger(address) || address < 0) {
    throw new LoaderError('bad-address', `a binary cannot be loaded at address ${address}`);
  }
  if (file.length === 0) throw new LoaderError('empty-file', 'the file is empty');
  const end = address + file.length;
  if (end > ram.bytes.length) {
    throw new LoaderError(
      'outside-ram',
      `the binary at ${hex(address)}-${hex(end)} lies outside of the RAM of ${hex(ram.bytes.length)} bytes`,
    );
  }
  if (mode === 'real' && address >= 0x10_0000) {
    throw new LoaderError('bad-address', `real mode cannot enter a binary at ${hex(address)}, above 1 MiB`);
  }
  place(ram, file, address);
  if (mode !== 'real') return flatEntry(ram, [{ start: address, end }], mode, address);
  const low = address < 0x1_0000;
  return {
    mode,
    rip: low ? address : address & 0xf,
    gpr: registers({ [gpr.rsp]: low && address > 0 ? address & ~1 : bootSectorAddress, [gpr.rdx]: firstHardDisk }),
    codeSelector: low ? 0 : address >>> 4,
    dataSelector: 0,
    a20: true,
    pageTables: null,
    gdt: null,
  };
}
