/**
 * PVH, the boot protocol of Xen's direct boot ABI ("x86/HVM direct boot ABI" of Xen's documentation, and of QEMU's `-kernel`
 * for 64-bit ELFs): a note in the ELF names the address at which it is entered in flat 32-bit mode, and EBX points to a
 * structure with the command line, modules and the memory map.
 */
import { LoaderError } from '../errors.ts';
import { elfLayouts, isElf, parseElf, placeElf } from './elf.ts';
import { clear, type GuestRam, gpr, type InitialState, place, registers } from './initial-state.ts';
import { findLowMemory } from './low-memory.ts';
import { type BootOptions, memoryMap, placeModules } from './multiboot.ts';

const noteHeader = 4; // PT_NOTE
/** Of a note: the vendor's name, and the type of the physical address of the 32-bit entry. */
const vendor = 'Xen\0';
const physicalEntry = 18;
const startMagic = 0x336e_c578;
const startVersion = 1;
const aligned = (length: number) => Math.ceil(length / 4) * 4;

/** The entry that a note of an ELF names; undefined if there is none, whatever the bytes are. */
export function findPvhEntry(file: Uint8Array): number | undefined {
  const bits = file[4] === 1 ? 32 : 64;
  const layout = elfLayouts[bits];
  if (!isElf(file) || file.length < layout.header || file[5] !== 1) return undefined;
  const view = new DataView(file.buffer, file.byteOffset, file.length);
  const word = (at: number) => (bits === 32 ? view.getUint32(at, true) : Number(view.getBigUint64(at, true)));
  const table = word(layout.phoff);
  const stride = view.getUint16(layout.phentsize, true);
  for (let index = 0; index < view.getUint16(layout.phnum, true); index++) {
    const at = table + index * stride;
    if (at + layout.ph > file.length) return undefined;
    if (view.getUint32(at, true) !== noteHeader) continue;
    const start = word(at + (bits === 32 ? 4 : 8));
    const end = Math.min(file.length, start + word(at + (bits === 32 ? 16 : 32)));
    for (let note = start; note + 12 <= end; ) {
      const [nameLength, length, type] = [0, 4, 8].map((field) => view.getUint32(note + field, true));
      const name = note + 12;
      const value = name + aligned(nameLength!);
      if (value + length! > end) break;
      const isVendors = String.fromCharCode(...file.subarray(name, name + Math.min(nameLength!, 8))) === vendor;
      if (isVendors && type === physicalEntry && length! >= 4) return view.getUint32(value, true);
      note = value + aligned(length!);
    }
  }
  return undefined;
}

/**
 * Loads an ELF with such a note, with its modules.
 *
 * @throws LoaderError if the image is damaged or does not fit the RAM
 */
export function loadPvh(file: Uint8Array, entry: number, ram: GuestRam, options: BootOptions): InitialState {
  const elf = parseElf(file, ram.bytes.length);
  const inside = elf.segments.some((s) => entry >= s.physical && entry < s.physical + s.memorySize);
  if (!inside) throw new LoaderError('entry-outside', `the PVH entry 0x${entry.toString(16)} lies in no segment`);
  const placed = { entry, ranges: placeElf(file, elf, ram) };
  const modules = placeModules(options.modules, placed, ram);
  return {
    mode: 'protected',
    rip: entry,
    gpr: registers({ [gpr.rbx]: writeStart(ram, placed.ranges, modules, options) }),
    codeSelector: 0x08,
    dataSelector: 0x10,
    a20: true,
    pageTables: null,
    gdt: null,
  };
}

/** Writes hvm_start_info and what it points to; answers its address. The guest finds ACPI's tables itself. */
function writeStart(
  ram: GuestRam,
  taken: Parameters<typeof findLowMemory>[1],
  modules: ReturnType<typeof placeModules>,
  { commandLine }: BootOptions,
): number {
  const encoder = new TextEncoder();
  const map = memoryMap(ram.bytes.length);
  const offsets = { start: 0, map: 64, modules: 64 + map.length * 24 };
  let length = offsets.modules + modules.length * 32;
  const strings = [commandLine, ...modules.map(({ string }) => string)].map((text) => {
    const bytes = encoder.encode(`${text}\0`);
    const at = length;
    length += bytes.length;
    return { at, bytes };
  });
  const base = findLowMemory(ram.bytes.length, taken, length, "PVH's start information");
  clear(ram, base, base + length);
  for (const { at, bytes } of strings) place(ram, bytes, base + at);
  const view = new DataView(ram.bytes.buffer, ram.bytes.byteOffset + base, length);
  const put = (at: number, ...values: number[]) => {
    for (const [index, value] of values.entries()) view.setUint32(at + index * 4, value, true);
  };
  map.forEach(({ start, end, type }, index) => {
    put(offsets.map + index * 24, start, 0, end - start, 0, type);
  });
  modules.forEach(({ start, end }, index) => {
    put(offsets.modules + index * 32, start, 0, end - start, 0, base + strings[index + 1]!.at);
  });
  put(0, startMagic, startVersion, 0, modules.length, modules.length > 0 ? base + offsets.modules : 0);
  put(24, base + strings[0]!.at);
  put(40, base + offsets.map, 0, map.length);
  return base;
}
