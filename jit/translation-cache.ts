/**
 * Translations that outlive a run, in one file. A translation is found by execution context and instruction pointer, and
 * taken only if the guest's memory holds the very code bytes that it was made from; the file belongs to one build of the
 * translator and one way of translating, and every entry carries a hash. Whatever does not fit is ignored.
 *
 *   file    "jit86tc" format, then a string (u16 length): the identity of what wrote it; then the entries
 *   entry   u32 bytes that follow the hash, u32 bytes of machine code with its hash, or 0; 16 bytes hash of them; u32 context, i64 rip, u32 instructions,
 *           u32 number of parts, u32 number of indirect jumps, u32 number of instructions apart, u32 state of the inexact
 *           flag; parts: i64 page, u16 offset, u16 length, the code bytes; jumps: i64 instruction pointer, u32 number of
 *           targets, i64 targets; i64 instructions apart; then WebAssembly to the end; then machine code: 16 bytes hash of
 *           it and of the entry's hash, which is as good as of the WebAssembly; the code
 *
 * All numbers are little endian.
 */
import { addressOfBig } from '../src/mmu/linear.ts';
import type { IndirectJump } from './compiler-protocol.ts';
import { hashBytes, sameBytes } from './hash.ts';
import type { MachineCode } from './machine-code.ts';
import type { InexactFlag } from './mxcsr.ts';

/** Code within one page, as it was translated. */
export interface CachedPart {
  readonly page: bigint;
  readonly offset: number;
  readonly code: Uint8Array;
}

export interface CachedRegion {
  readonly context: number;
  readonly rip: bigint;
  readonly instructions: number;
  readonly parts: readonly CachedPart[];
  readonly indirect: readonly IndirectJump[];
  /** Instructions in it whose accesses are looked up one by one. */
  readonly apart: readonly bigint[];
  readonly inexact: InexactFlag;
  readonly wasm: Uint8Array;
}

const magic = new TextEncoder().encode('jit86tc\x02');
const headLength = 8;
const hashLength = 16;
const inexactFlags: readonly InexactFlag[] = ['clear', 'set', 'either'];
const fixedLength = 32;
/** Bytes of entries that a run keeps: more than a file may have, since the file has what was used. */
const mostKept = 64 * 2 ** 20;
const partLength = 12;
const jumpLength = 12;

/** An entry as it stands in the file. */
interface Entry {
  /** From the hash to the end of the entry. */
  readonly bytes: Uint8Array;
  readonly place: string;
  used: boolean;
  /** With its hash. */
  machineCode: Uint8Array | null;
  /** What this run executes, as long as it does. */
  module: WeakRef<WebAssembly.Module> | null;
  main: WeakRef<WebAssembly.ExportValue & object> | null;
}

/** Of what a file may hold, the most that is machine code: it is several times the WebAssembly, and only saves time. */
const machineCodeShare = 0.5;

export class TranslationCache {
  private readonly identity: Uint8Array;
  private readonly keptBytes: number;
  private readonly engine: MachineCode | null;
  /** The oldest first. */
  private readonly entries = new Set<Entry>();
  private totalBytes = 0;
  private readonly places = new Map<string, { entry: Entry; region: CachedRegion | null }[]>();
  /** Instruction pointers of all entries that there were, by context. */
  private readonly keys = new Map<number, Set<number>>();
  private readonly entryOf = new WeakMap<CachedRegion, Entry>();
  /** Something was added since the file was read. */
  changed = false;

  /**
   * @param identity names the translator's build and its way of translating: other files are foreign
   * @param keptBytes of entries, beyond which the oldest go
   * @param engine gives and takes machine code; null: there is none, or this place is not for it
   */
  constructor(identity: string, keptBytes = mostKept, engine: MachineCode | null = null) {
    this.identity = new TextEncoder().encode(identity);
    this.keptBytes = keptBytes;
    this.engine = engine;
  }

  /** Takes the entries of a file. What is foreign is left out, and so is what comes after a damaged length. */
  read(file: Uint8Array): void {
    const start = magic.length + 2 + this.identity.length;
    if (file.length < start) return;
    const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
    if (!sameBytes(file.subarray(0, magic.length), magic)) return;
    if (view.getUint16(magic.length, true) !== this.identity.length) return;
    if (!sameBytes(file.subarray(start - this.identity.length, start), this.identity)) return;
    for (let at = start; at + headLength + hashLength + fixedLength <= file.length; ) {
      const length = view.getUint32(at, true);
      const codeLength = view.getUint32(at + 4, true);
      const fields = at + headLength + hashLength;
      const end = fields + length;
      if (length < fixedLength || end + codeLength > file.length) return;
      const place = placeOf(view.getUint32(fields, true), view.getBigInt64(fields + 4, true));
      const machineCode = codeLength <= hashLength ? null : file.subarray(end, end + codeLength);
      const bytes = file.subarray(at + headLength, end);
      this.insert({ bytes, place, used: false, machineCode, module: null, main: null }, null);
      at = end + codeLength;
    }
  }

  get size(): number {
    return this.entries.size;
  }

  /** There may be translations made for an instruction pointer. */
  knows(context: number, key: number): boolean {
    return this.keys.get(context)?.has(key) === true;
  }
  /** Translations made for an instruction pointer, the newest first; whether their code is there is for the caller to see. */
  candidates(context: number, rip: bigint): CachedRegion[] {
    const list = this.places.get(placeOf(context, rip));
    if (list === undefined) return [];
    const regions: CachedRegion[] = [];
    for (const known of [...list]) {
      // The hash is looked at when an entry is first needed.
      const region = known.region ?? parse(known.entry.bytes);
      if (region === null || region.context !== context || region.rip !== rip) {
        this.forget(known.entry);
        continue;
      }
      known.region = region;
      this.entryOf.set(region, known.entry);
      regions.unshift(region);
    }
    return regions;
  }
  /** The module of a candidate that is going to be used; null if this host does not take it. */
  moduleOf(region: CachedRegion): { wasm: Uint8Array; module: WebAssembly.Module } | null {
    const entry = this.entryOf.get(region);
    try {
      const module = this.optimised(region, entry) ?? new WebAssembly.Module(region.wasm as BufferSource);
      if (entry !== undefined) entry.used = true;
      return { wasm: region.wasm, module };
    } catch {
      if (entry !== undefined) this.forget(entry);
      return null;
    }
  }

  /** From the machine code of an earlier run. */
  private optimised({ wasm }: CachedRegion, entry: Entry | undefined): WebAssembly.Module | null {
    const { engine } = this;
    if (engine === null || entry === undefined || entry.machineCode === null) return null;
    const code = entry.machineCode.subarray(hashLength);
    const isWhole = sameBytes(machineCodeHash(code, entry), entry.machineCode.subarray(0, hashLength));
    const module = isWhole ? engine.module(code, wasm) : null;
    if (module === null) entry.machineCode = null;
    return module;
  }
  /** Takes the machine code of what this run has used, as far as the engine has optimised it by now. */
  takeMachineCode(): void {
    for (const entry of this.engine === null ? [] : this.entries) {
      const [module, main] = [entry.module?.deref(), entry.main?.deref()];
      const code = module === undefined || main === undefined ? null : this.engine!.of(module, main);
      if (code === null || hashLength + code.length <= (entry.machineCode?.length ?? 0)) continue;
      entry.machineCode = new Uint8Array(hashLength + code.length);
      entry.machineCode.set(machineCodeHash(code, entry));
      entry.machineCode.set(code, hashLength);
      this.changed = true;
    }
  }

  /** This is what is executed of a region: its machine code is worth keeping. */
  executes(region: CachedRegion, module: WebAssembly.Module, main: WebAssembly.ExportValue & object): void {
    const entry = this.engine === null ? undefined : this.entryOf.get(region);
    if (entry === undefined) return;
    entry.module = new WeakRef(module);
    entry.main = new WeakRef(main);
  }

  add(region: CachedRegion): void {
    const place = placeOf(region.context, region.rip);
    for (const known of [...(this.places.get(place) ?? [])]) {
      // What was translated earlier in this run from the code at this place is superseded.
      const old = known.region;
      if (old === null || !known.entry.used || old.inexact !== region.inexact) continue;
      if (!old.parts.some((part) => isWithin(part, region.parts))) continue;
      this.forget(known.entry);
    }
    const entry = { bytes: format(region), place, used: true, machineCode: null, module: null, main: null };
    this.insert(entry, region);
    this.entryOf.set(region, entry);
    this.changed = true;
  }

  /** The file. If it would be longer than allowed, what this run has not used is left out first, then what is oldest. */
  write(maximumBytes: number): Uint8Array {
    const start = magic.length + 2 + this.identity.length;
    const all = [...this.entries];
    const wanted = [...all.filter(({ used }) => used).reverse(), ...all.filter(({ used }) => !used).reverse()];
    const kept: Entry[] = [];
    let length = start;
    for (const entry of wanted) {
      if (length + headLength + entry.bytes.length > maximumBytes) continue;
      kept.push(entry);
      length += headLength + entry.bytes.length;
    }
    const withCode = new Set<Entry>();
    let codeLeft = Math.min(maximumBytes * machineCodeShare, maximumBytes - length);
    for (const entry of kept) {
      const codeLength = entry.machineCode?.length ?? 0;
      if (codeLength === 0 || codeLength > codeLeft) continue;
      withCode.add(entry);
      codeLeft -= codeLength;
      length += codeLength;
    }
    const file = new Uint8Array(length);
    const view = new DataView(file.buffer);
    file.set(magic);
    view.setUint16(magic.length, this.identity.length, true);
    file.set(this.identity, magic.length + 2);
    let at = start;
    for (const entry of kept.reverse()) {
      const { bytes } = entry;
      const machineCode = withCode.has(entry) ? entry.machineCode! : new Uint8Array();
      view.setUint32(at, bytes.length - hashLength, true);
      view.setUint32(at + 4, machineCode.length, true);
      file.set(bytes, at + headLength);
      file.set(machineCode, at + headLength + bytes.length);
      at += headLength + bytes.length + machineCode.length;
    }
    return file;
  }

  private insert(entry: Entry, region: CachedRegion | null): void {
    const list = this.places.get(entry.place);
    const [context, rip] = entry.place.split(',') as [string, string];
    const key = addressOfBig(BigInt(rip));
    const keys = this.keys.get(Number(context));
    if (keys === undefined) this.keys.set(Number(context), new Set([key]));
    else keys.add(key);
    if (list === undefined) this.places.set(entry.place, [{ entry, region }]);
    else list.push({ entry, region });
    this.entries.add(entry);
    this.totalBytes += entry.bytes.length;
    for (const oldest of this.entries) {
      if (this.totalBytes <= this.keptBytes) break;
      this.forget(oldest);
    }
  }
  private forget(entry: Entry): void {
    if (!this.entries.delete(entry)) return;
    this.totalBytes -= entry.bytes.length;
    const list = this.places.get(entry.place)!.filter((known) => known.entry !== entry);
    if (list.length === 0) this.places.delete(entry.place);
    else this.places.set(entry.place, list);
  }
}

const placeOf = (context: number, rip: bigint): string => `${context},${rip}`;

/** Of machine code, and of what it is the machine code of. */
function machineCodeHash(code: Uint8Array, { bytes }: Entry): Uint8Array {
  return hashBytes(code, new DataView(bytes.buffer, bytes.byteOffset).getInt32(0, true));
}

/** The code of a part is also code of other parts. */
const isWithin = (part: CachedPart, others: readonly CachedPart[]): boolean =>
  others.some(({ page, offset, code }) => {
    const from = part.offset - offset;
    const inside = page === part.page && from >= 0 && from + part.code.length <= code.length;
    return inside && sameBytes(code.subarray(from, from + part.code.length), part.code);
  });

/** An entry from its hash on. */
function format({ context, rip, instructions, parts, indirect, apart, inexact, wasm }: CachedRegion): Uint8Array {
  const code = parts.reduce((sum, part) => sum + partLength + part.code.length, 0);
  const jumps = indirect.reduce((sum, { targets }) => sum + jumpLength + 8 * targets.length, 0);
  const bytes = new Uint8Array(hashLength + fixedLength + code + jumps + 8 * apart.length + wasm.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(hashLength, context, true);
  view.setBigInt64(hashLength + 4, rip, true);
  view.setUint32(hashLength + 12, instructions, true);
  view.setUint32(hashLength + 16, parts.length, true);
  view.setUint32(hashLength + 20, indirect.length, true);
  view.setUint32(hashLength + 24, apart.length, true);
  view.setUint32(hashLength + 28, inexactFlags.indexOf(inexact), true);
  let at = hashLength + fixedLength;
  for (const part of parts) {
    view.setBigInt64(at, part.page, true);
    view.setUint16(at + 8, part.offset, true);
    view.setUint16(at + 10, part.code.length, true);
    bytes.set(part.code, at + partLength);
    at += partLength + part.code.length;
  }
  for (const { site, targets } of indirect) {
    view.setBigInt64(at, site, true);
    view.setUint32(at + 8, targets.length, true);
    targets.forEach((target, i) => view.setBigInt64(at + jumpLength + 8 * i, target, true));
    at += jumpLength + 8 * targets.length;
  }
  for (const rip of apart) {
    view.setBigInt64(at, rip, true);
    at += 8;
  }
  bytes.set(wasm, at);
  bytes.set(hashBytes(bytes.subarray(hashLength)));
  return bytes;
}

/** The region of an entry; null if the entry is not as it was written. */
function parse(bytes: Uint8Array): CachedRegion | null {
  if (!sameBytes(hashBytes(bytes.subarray(hashLength)), bytes.subarray(0, hashLength))) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const parts: CachedPart[] = [];
  let at = hashLength + fixedLength;
  for (let left = view.getUint32(hashLength + 16, true); left > 0; left--) {
    if (at + partLength > bytes.length) return null;
    const length = view.getUint16(at + 10, true);
    const offset = view.getUint16(at + 8, true);
    if (offset + length > 4096 || at + partLength + length > bytes.length) return null;
    const code = bytes.subarray(at + partLength, at + partLength + length);
    parts.push({ page: view.getBigInt64(at, true), offset, code });
    at += partLength + length;
  }
  const indirect: IndirectJump[] = [];
  for (let left = view.getUint32(hashLength + 20, true); left > 0; left--) {
    if (at + jumpLength > bytes.length) return null;
    const site = view.getBigInt64(at, true);
    const count = view.getUint32(at + 8, true);
    at += jumpLength;
    if (count > (bytes.length - at) / 8) return null;
    indirect.push({ site, targets: Array.from({ length: count }, (_, i) => view.getBigInt64(at + 8 * i, true)) });
    at += 8 * count;
  }
  const count = view.getUint32(hashLength + 24, true);
  const inexact = inexactFlags[view.getUint32(hashLength + 28, true)];
  if (inexact === undefined || count > (bytes.length - at) / 8) return null;
  const apart = Array.from({ length: count }, (_, i) => view.getBigInt64(at + 8 * i, true));
  at += 8 * count;
  return {
    context: view.getUint32(hashLength, true),
    rip: view.getBigInt64(hashLength + 4, true),
    instructions: view.getUint32(hashLength + 12, true),
    parts,
    indirect,
    apart,
    inexact,
    wasm: bytes.subarray(at),
  };
}
