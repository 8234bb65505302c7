/** Builds guest images byte by byte for the loader tests. */

export interface Segment {
  readonly type?: number;
  readonly virtual: number | bigint;
  readonly physical: number | bigint;
  readonly data: readonly number[];
  readonly memorySize?: number | bigint;
}

export interface ElfOptions {
  readonly bits: 32 | 64;
  readonly entry: number | bigint;
  readonly segments: readonly Segment[];
  readonly machine?: number;
  readonly type?: number;
}

/** An ELF with its program headers after the header, and the segments' bytes after those. */
export function elf({ bits, entry, segments, machine, type = 2 }: ElfOptions): Uint8Array {
  const [header, ph] = bits === 32 ? [52, 32] : [64, 56];
  const data = header + ph * segments.length;
  const file = new Uint8Array(data + segments.reduce((sum, segment) => sum + segment.data.length, 0));
  const view = new DataView(file.buffer);
  const word = (at: number, value: number | bigint) => {
    if (bits === 32) view.setUint32(at, Number(value), true);
    else view.setBigUint64(at, BigInt(value), true);
  };
  file.set([0x7f, 0x45, 0x4c, 0x46, bits / 32, 1, 1]);
  view.setUint16(16, type, true);
  view.setUint16(18, machine ?? (bits === 32 ? 3 : 62), true);
  view.setUint32(20, 1, true);
  word(24, entry);
  word(bits === 32 ? 28 : 32, header);
  const sizes = bits === 32 ? 40 : 52;
  view.setUint16(sizes, header, true);
  view.setUint16(sizes + 2, ph, true);
  view.setUint16(sizes + 4, segments.length, true);
  let offset = data;
  segments.forEach((segment, index) => {
    const at = header + index * ph;
    const memorySize = segment.memorySize ?? segment.data.length;
    view.setUint32(at, segment.type ?? 1, true);
    const fields = [offset, segment.virtual, segment.physical, segment.data.length, memorySize];
    for (const [field, value] of fields.entries()) word(at + (bits === 32 ? 4 + field * 4 : 8 + field * 8), value);
    file.set(segment.data, offset);
    offset += segment.data.length;
  });
  return file;
}

/** The bytes of a multiboot header, with the address fields if given: header, load, load end, bss end, entry. */
export function multibootHeader(flags: number, addresses: readonly number[] = []): number[] {
  const words = [0x1bad_b002, flags, -(0x1bad_b002 + flags), ...addresses];
  return words.flatMap((word) => [0, 8, 16, 24].map((shift) => (word >>> shift) & 0xff));
}

/** A generator of 32-bit numbers that gives the same ones each run (xorshift32). */
export function randomNumbers(seed: number): () => number {
  let state = seed;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}

const kernelBytes = 0x3000;

export interface LinuxHeader {
  readonly version?: number;
  readonly entry64?: boolean;
  readonly high?: boolean;
  readonly initSize?: number;
  readonly ramdiskMaximum?: number;
}

/** Four sectors of setup with the header of boot protocol 2.15, then a kernel of 5AH bytes. */
export function bzImage(header: LinuxHeader = {}): Uint8Array {
  const file = new Uint8Array(5 * 512 + kernelBytes).fill(0x5a, 5 * 512);
  const view = new DataView(file.buffer);
  file[0x1f1] = 4;
  view.setUint16(0x1fe, 0xaa55, true);
  file.set([0xeb, 0x6a], 0x200);
  view.setUint32(0x202, 0x5372_6448, true);
  view.setUint16(0x206, header.version ?? 0x20f, true);
  file[0x211] = header.high === false ? 0 : 1;
  view.setUint32(0x22c, header.ramdiskMaximum ?? 0x7fff_ffff, true);
  view.setUint16(0x236, header.entry64 === true ? 3 : 0, true);
  view.setUint32(0x238, 2047, true);
  view.setUint32(0x258, 0x100_0000, true);
  view.setUint32(0x260, header.initSize ?? 0x10_0000, true);
  return file;
}
