/**
 * Reads recorded hardware vectors: one instruction each, the state before it and what a real CPU made of it. The files hold
 * differences only (README.md, "The file"); the state before is drawn again by `initial-state.ts`.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { brotliDecompressSync } from 'node:zlib';
import { formHash, type StateKind } from './initial-state.ts';
import { SectionReader } from './section-reader.ts';

/** Operating mode of the instruction: 64-bit, 32-bit protected or 16-bit protected. */
export type Mode = 16 | 32 | 64;

/** Registers and memory, as arrays that can be copied into a little-endian register file. */
export interface State {
  /** RAX RCX RDX RBX RSP RBP RSI RDI R8..R15; the upper eight are 0 in modes 32 and 16 */
  readonly gpr: BigUint64Array;
  /** CF PF AF ZF SF DF OF only (0xCD5); the machine adds IF and bit 1 */
  flags: number;
  /** the last 256 bytes of the data page; the rest of the page is zero */
  readonly window: Uint8Array;
  fcw: number;
  fsw: number;
  /** abridged tag word as FXSAVE stores it: bit i is 1 when R(i) is in use */
  ftw: number;
  /** ST(0)..ST(7), 10 bytes each */
  readonly st: Uint8Array;
  mxcsr: number;
  /** XMM0..XMM15, 16 bytes each */
  readonly xmm: Uint8Array;
  /** the upper halves of YMM0..YMM15, 16 bytes each */
  readonly ymmHigh: Uint8Array;
}

/** An exception as the guest's handler sees it. */
export interface Exception {
  vector: number;
  /** 0 for vectors that push none */
  errorCode: number;
  /** #PF only, else 0 */
  cr2: bigint;
}

/** The state afterwards. */
export interface Outcome extends State {
  /**
   * Without an exception the address of the next instruction (where a 0xCC stands), with one the address that the frame
   * holds; relative to CS in mode 16.
   */
  rip: bigint;
  exception: Exception | undefined;
}

/** One recorded vector. */
export interface Vector {
  /** its place in the file */
  readonly id: number;
  readonly mode: Mode;
  readonly cls: string;
  readonly name: string;
  /** the form in the notation of `oracle/table.h`, for example `C1 /4 ib v wt2` */
  readonly encoding: string;
  readonly bytes: Uint8Array;
  /** linear address of the code page (mode 16: base of CS); the instruction stands at `code + 0x800` */
  readonly code: number;
  /** linear address of the data page (mode 16: base of DS, ES and SS) */
  readonly data: number;
  /** RIP before the instruction: `code + 0x800`, in mode 16 0x800 */
  readonly ip: bigint;
  readonly fp: 'none' | 'x87' | 'sse' | 'avx';
  readonly in: State;
  readonly out: Outcome;
  /** bit i: register i was set for this instruction's sake (an address, a count), not merely drawn */
  readonly chosen: number;
  /** flags whose result is architecturally undefined */
  readonly undefinedFlags: number;
  /** the same for the condition bits of FSW */
  readonly fswUndefined: number;
  /** the precision of the result is implementation-defined */
  readonly approximate: boolean;
  /** why makers differ here; `out` is what Intel documents, or the recorded outcome where it documents nothing */
  readonly vendor: string | undefined;
}

/** Processor that recorded a file, as CPUID names it. */
export interface Cpu {
  readonly vendor: string;
  readonly name: string;
  readonly family: number;
  readonly model: number;
  readonly stepping: number;
}
/** A row of the instruction table. */
export interface Form extends StateKind {
  readonly name: string;
  readonly encoding: string;
  readonly approximate: boolean;
}
/** The vectors of one form in one mode, not yet decoded. */
export interface Section {
  readonly form: Form;
  readonly mode: Mode;
  readonly count: number;
  readonly records: Uint8Array;
  /** over the states before and after of all of them, see `sectionChecksum` */
  readonly checksum: number;
}
/** A file, not yet decoded. */
export interface VectorFile {
  readonly seed: number;
  readonly perForm: number;
  readonly cpu: Cpu;
  readonly forms: readonly Form[];
  readonly sections: readonly Section[];
}
interface Header {
  seed: number;
  perForm: number;
  cpu: Cpu;
  forms: Omit<Form, 'hash'>[];
}

const MAGIC = 0x5636384a;
const DIRECTORY = new URL('vectors/', import.meta.url);

/** The recorded files, one per class: class name to location. */
export function vectorFiles(): Map<string, URL> {
  const names = readdirSync(DIRECTORY).filter((name) => name.endsWith('.bin.br'));
  return new Map(names.sort().map((name) => [name.slice(0, -'.bin.br'.length), new URL(name, DIRECTORY)]));
}

/** Opens a recorded file; bytes are taken as already decompressed. */
export function openVectors(source: string | URL | Uint8Array): VectorFile {
  const bytes = source instanceof Uint8Array ? source : brotliDecompressSync(readFileSync(source));
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 8 || view.getUint32(0, true) !== MAGIC) throw new Error(`not a vector file: ${String(source)}`);
  let at = 8 + view.getUint32(4, true);
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, at))) as Header;
  const forms = header.forms.map((form) => ({ ...form, hash: formHash(form.cls, form.name, form.encoding) }));
  const sections: Section[] = [];
  while (at < bytes.length) {
    const length = view.getUint32(at + 8, true);
    sections.push({
      form: forms[view.getUint16(at, true)]!,
      mode: view.getUint8(at + 2) as Mode,
      count: view.getUint32(at + 4, true),
      records: bytes.subarray(at + 16, at + 16 + length),
      checksum: view.getUint32(at + 12, true),
    });
    at += 16 + length;
  }
  return { seed: header.seed, perForm: header.perForm, cpu: header.cpu, forms, sections };
}

/** Which vectors of a file to decode. */
export interface Selection {
  readonly modes?: readonly Mode[];
  /** only every n-th vector of each form and mode */
  readonly every?: number;
}

/** Decodes the vectors of a file (a path, or its decompressed bytes) one after the other. */
export function* readVectors(
  source: string | URL | Uint8Array | VectorFile,
  selection: Selection = {},
): Iterable<Vector> {
  const file = typeof source === 'object' && 'sections' in source ? source : openVectors(source);
  const every = selection.every ?? 1;
  let id = 0;
  for (const section of file.sections) {
    const wanted = !selection.modes || selection.modes.includes(section.mode);
    const reader = new SectionReader(file, section);
    for (let i = 0; i < section.count; i++, id++) {
      if (wanted && i % every === 0) yield reader.read(id);
      else if (wanted) reader.skip();
    }
  }
}
