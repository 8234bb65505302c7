/** What `import … from 'jit86/loaders'` gives: guest images into RAM, and eBPF programs out of object files. */
export { loadBpfObject } from './bpf-object.ts';
export { isBzImage, loadBzImage } from './bzimage.ts';
export { loadElf } from './elf.ts';
export { bootSectorAddress, type FlatBinaryOptions, isBootSector, loadFlatBinary } from './flat-binary.ts';
export { type GuestRam, gpr, type InitialMode, type InitialState } from './initial-state.ts';
export { type GuestFormat, guestFormat, type LoadedGuest, type LoadOptions, loadGuest } from './load.ts';
export type { BootModule, BootOptions } from './multiboot.ts';
