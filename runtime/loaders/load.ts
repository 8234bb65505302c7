/**
 * Picks the loader by the file's content: Linux's header first, since its image may be taken for a boot sector, then
 * multiboot's and PVH's, since such kernels are ELFs too, then ELF, then a boot sector. Anything else is loaded only if the caller says where and in which mode.
 */
import { LoaderError } from '../errors.ts';
import { isBzImage, loadBzImage } from './bzimage.ts';
import { isElf, loadElf } from './elf.ts';
import { bootSectorAddress, type FlatBinaryOptions, isBootSector, loadFlatBinary } from './flat-binary.ts';
import type { GuestRam, InitialState } from './initial-state.ts';
import { type BootOptions, findMultibootHeader, loadMultiboot } from './multiboot.ts';
import { findPvhEntry, loadPvh } from './pvh.ts';

/** The kinds of files that are guests. */
export type GuestFormat = 'bzimage' | 'multiboot' | 'pvh' | 'elf' | 'boot-sector' | 'flat-binary';

/** What the guest is told, and how its file is to be read. */
export interface LoadOptions extends BootOptions {
  /** Take the file as a flat binary, whatever it looks like. */
  readonly flat?: FlatBinaryOptions;
}

/** What has become of a file. */
export interface LoadedGuest {
  readonly format: GuestFormat;
  /** What `start` of a machine or VM takes. */
  readonly state: InitialState;
}

/** What the file is; undefined if nothing that jit86 knows. */
export function guestFormat(file: Uint8Array): Exclude<GuestFormat, 'flat-binary'> | undefined {
  if (isBzImage(file)) return 'bzimage';
  if (findMultibootHeader(file) !== undefined) return 'multiboot';
  if (findPvhEntry(file) !== undefined) return 'pvh';
  if (isElf(file)) return 'elf';
  if (isBootSector(file)) return 'boot-sector';
  return undefined;
}

/**
 * Loads a guest into RAM.
 *
 * @throws LoaderError whose message names what is wrong, whatever the bytes are
 */
export function loadGuest(file: Uint8Array, ram: GuestRam, options: LoadOptions): LoadedGuest {
  if (options.flat !== undefined) return { format: 'flat-binary', state: loadFlatBinary(file, ram, options.flat) };
  if (file.length === 0) throw new LoaderError('empty-file', 'the file is empty');
  if (isBzImage(file)) return { format: 'bzimage', state: loadBzImage(file, ram, options) };
  const header = findMultibootHeader(file);
  if (header !== undefined) return { format: 'multiboot', state: loadMultiboot(file, header, ram, options) };
  const pvhEntry = findPvhEntry(file);
  if (pvhEntry !== undefined) return { format: 'pvh', state: loadPvh(file, pvhEntry, ram, options) };
  if (options.modules.length > 0) {
    throw new LoaderError(
      'unknown-format',
      'modules are for multiboot and PVH kernels and Linux, and the file has no multiboot header and no PVH note',
    );
  }
  if (isElf(file)) return { format: 'elf', state: loadElf(file, ram) };
  if (isBootSector(file)) {
    return { format: 'boot-sector', state: loadFlatBinary(file, ram, { address: bootSectorAddress, mode: 'real' }) };
  }
  const start = [...file.subarray(0, 4)].map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
  throw new LoaderError(
    'unknown-format',
    `a file that begins with ${start} is no ELF, Linux or multiboot kernel or boot sector`,
  );
}
