/**
 * Decodes the records of a section: draws the initial state again, applies what the oracle changed in it for the
 * instruction's sake, then what the instruction changed. README.md describes the bytes; `oracle/main.c` writes them.
 */
import { drawState, RawState, STATE } from './initial-state.ts';
import type { Outcome, Section, State, Vector, VectorFile } from './vectors.ts';
import { applyVendor } from './vendor.ts';

interface Patched {
  rip: number | undefined;
  exception: number;
  errorCode: number;
  cr2: bigint;
  undefinedFlags: number;
  fswUndefined: number;
  chosen: number;
}

/** The items of a patch, as `oracle/main.c` writes them; items below 0x80 are general registers. */
const ITEM = {
  flags: 0x80,
  window: 0x81,
  fcw: 0x82,
  fsw: 0x83,
  ftw: 0x84,
  mxcsr: 0x85,
  exception: 0x86,
  cr2: 0x87,
  rip: 0x88,
  undefined: 0x89,
  fswUndefined: 0x8a,
  x87: 0x90,
  xmm: 0xa0,
  ymmHigh: 0xb0,
  xmm4: 0xc0,
  xmm8: 0xd0,
  end: 0xff,
} as const;

/** Decodes the records of a section in order. */
export class SectionReader {
  readonly #file: VectorFile;
  readonly #section: Section;
  readonly #view: DataView;
  readonly #state = new RawState();
  #at = 0;
  #draw = 0;

  constructor(file: VectorFile, section: Section) {
    this.#file = file;
    this.#section = section;
    this.#view = new DataView(section.records.buffer, section.records.byteOffset, section.records.byteLength);
  }

  /** The bytes of the next record: number of draws left out, instruction and inputs, outcome. */
  skip(): { skipped: number; inputs: Uint8Array; outcome: Uint8Array } {
    const { records } = this.#section;
    const start = this.#at;
    const skipped = records[start + 1]!;
    this.#at += 2 + (records[start]! & 15);
    this.#pass();
    const middle = this.#at;
    this.#pass();
    this.#draw += skipped + 1;
    return { skipped, inputs: records.subarray(start, middle), outcome: records.subarray(middle, this.#at) };
  }

  read(id: number): Vector {
    const { form, mode, records } = this.#section;
    const head = records[this.#at]!;
    const length = head & 15;
    const high = (head & 16) !== 0;
    this.#draw += records[this.#at + 1]!;
    const bytes = records.slice(this.#at + 2, this.#at + 2 + length);
    this.#at += 2 + length;
    const code = mode !== 64 ? 0x20000000 : high ? 0x1234500000 : 0x34500000;
    const data = dataPage(mode, high);
    const window = (mode === 16 ? 0 : data) + 0xf00;
    const ip = (mode === 16 ? 0 : code) + 0x800;
    const state = this.#state;
    drawState(state, this.#file.seed, form, mode, this.#draw++, window);
    const { chosen } = this.#patch(window);
    const memory = new ArrayBuffer(2 * STATE.size);
    const before = takeState(state, memory, 0);
    const patched = this.#patch(window);
    const completed = patched.exception < 0;
    const after: Outcome = {
      ...takeState(state, memory, STATE.size),
      rip: BigInt(ip + (patched.rip ?? (completed ? length : 0))),
      exception: completed ? undefined : { vector: patched.exception, errorCode: patched.errorCode, cr2: patched.cr2 },
    };
    return applyVendor(this.#file.cpu.vendor, {
      id,
      mode,
      cls: form.cls,
      name: form.name,
      encoding: form.encoding,
      bytes,
      code,
      data,
      ip: BigInt(ip),
      fp: form.fp,
      in: before,
      out: after,
      chosen,
      undefinedFlags: patched.undefinedFlags,
      fswUndefined: patched.fswUndefined,
      approximate: form.approximate,
      vendor: undefined,
    });
  }

  /** Folds the states before and after of the next record into a checksum. */
  fold(hash: number): number {
    const { form, mode, records } = this.#section;
    const head = records[this.#at]!;
    this.#draw += records[this.#at + 1]!;
    this.#at += 2 + (head & 15);
    const window = mode === 16 ? 0xf00 : dataPage(mode, (head & 16) !== 0) + 0xf00;
    drawState(this.#state, this.#file.seed, form, mode, this.#draw++, window);
    for (let i = 0; i < 2; i++) {
      this.#patch(window);
      const { words, flags, fcw, fsw, ftw, mxcsr } = this.#state;
      for (const word of words) hash = mix(hash, word);
      for (const word of [flags, fcw, fsw, ftw, mxcsr]) hash = mix(hash, word);
    }
    return hash >>> 0;
  }

  /** Steps over one patch. */
  #pass(): void {
    const { records } = this.#section;
    for (;;) {
      const item = records[this.#at++]!;
      if (item === ITEM.end) return;
      this.#at += item === ITEM.window ? records[this.#at + 1]! + 3 : ITEM_SIZES[item]!;
    }
  }

  /** Applies one patch to the state. */
  #patch(window: number): Patched {
    const state = this.#state;
    const { records } = this.#section;
    const view = this.#view;
    const result: Patched = {
      rip: undefined,
      exception: -1,
      errorCode: 0,
      cr2: 0n,
      undefinedFlags: 0,
      fswUndefined: 0,
      chosen: 0,
    };
    for (;;) {
      const item = records[this.#at++]!;
      const at = this.#at;
      if (item < 0x80) {
        result.chosen |= 1 << (item & 15);
        this.#gpr(item, window);
        continue;
      }
      if (item === ITEM.end) return result;
      if (item === ITEM.window) {
        const length = records[at + 1]! + 1;
        state.bytes.set(records.subarray(at + 2, at + 2 + length), STATE.window + records[at]!);
        this.#at += 2 + length;
        continue;
      }
      const size = ITEM_SIZES[item]!;
      this.#at += size;
      if (item >= ITEM.x87) {
        const i = item & 15;
        const base =
          item < ITEM.xmm
            ? STATE.x87 + 10 * i
            : (item & 0xf0) === ITEM.ymmHigh
              ? STATE.ymmHigh + 16 * i
              : STATE.xmm + 16 * i;
        state.bytes.set(records.subarray(at, at + size), base);
      } else if (item === ITEM.flags) state.flags = view.getUint16(at, true);
      else if (item === ITEM.fcw) state.fcw = view.getUint16(at, true);
      else if (item === ITEM.fsw) state.fsw = view.getUint16(at, true);
      else if (item === ITEM.ftw) state.ftw = view.getUint8(at);
      else if (item === ITEM.mxcsr) state.mxcsr = view.getUint32(at, true);
      else if (item === ITEM.exception) {
        result.exception = view.getUint8(at);
        result.errorCode = view.getUint16(at + 1, true);
      } else if (item === ITEM.cr2) result.cr2 = view.getBigUint64(at, true);
      else if (item === ITEM.rip) result.rip = view.getInt32(at, true);
      else if (item === ITEM.undefined) result.undefinedFlags = view.getUint16(at, true);
      else result.fswUndefined = view.getUint16(at, true);
    }
  }

  /** A general register: relative to its old value or to the window, in part, or whole. */
  #gpr(item: number, window: number): void {
    const { words } = this.#state;
    const view = this.#view;
    const at = this.#at;
    const i = 2 * (item & 15);
    this.#at += ITEM_SIZES[item]!;
    const relative = (base: number, step: number): void => {
      const sum = (base % 0x1_0000_0000) + step;
      words[i] = sum;
      words[i + 1] = Math.floor(base / 0x1_0000_0000) + Math.floor(sum / 0x1_0000_0000);
    };
    switch (item >> 4) {
      case 0: {
        const sum = words[i]! + view.getInt8(at);
        words[i] = sum;
        words[i + 1] = words[i + 1]! + Math.floor(sum / 0x1_0000_0000);
        break;
      }
      case 1:
        relative(window, view.getInt16(at, true));
        break;
      case 2:
        words[i] = (words[i]! & 0xffff0000) | view.getUint16(at, true);
        break;
      case 3:
        words[i] = view.getUint32(at, true);
        words[i + 1] = 0;
        break;
      case 4:
        relative(window, view.getInt32(at, true));
        break;
      case 5:
        words[i] = view.getUint32(at, true);
        words[i + 1] = -1;
        break;
      default:
        words[i] = view.getUint32(at, true);
        words[i + 1] = view.getUint32(at + 4, true);
    }
  }
}

function dataPage(mode: number, high: boolean): number {
  if (mode !== 64) return 0x30000000;
  return high ? 0x1234567000 : 0x34567000;
}

/** One step of the checksum; the rotation keeps two differences in a top bit from cancelling out. */
function mix(hash: number, word: number): number {
  return Math.imul(((hash << 5) | (hash >>> 27)) ^ word, 0x01000193);
}

/** The checksum of a section as decoded here; equal to `section.checksum` if the oracle had the same states. */
export function sectionChecksum(file: VectorFile, section: Section): number {
  const reader = new SectionReader(file, section);
  let hash = 0;
  for (let i = 0; i < section.count; i++) hash = reader.fold(hash);
  return hash;
}

/** Payload of each item in bytes; the window's is not fixed. */
const ITEM_SIZES: readonly number[] = Array.from({ length: 256 }, (_, item) => {
  if (item < 0x80) return [1, 2, 2, 4, 4, 4, 8, 0][item >> 4]!;
  if (item < 0x90) return [2, 0, 2, 2, 1, 4, 3, 8, 4, 2, 2, 0, 0, 0, 0, 0][item & 15]!;
  return { 9: 10, 10: 16, 11: 16, 12: 4, 13: 8 }[item >> 4] ?? 0;
});

/** Copies a raw state to `memory` at `offset`, the x87 registers in the order of the stack. */
function takeState(state: RawState, memory: ArrayBuffer, offset: number): State {
  const { bytes, flags, fcw, fsw, ftw, mxcsr } = state;
  const all = new Uint8Array(memory, offset, STATE.size);
  all.set(bytes);
  const top = (fsw >> 11) & 7;
  const st = new Uint8Array(memory, offset + STATE.x87, 80);
  if (top !== 0) {
    const split = STATE.x87 + 10 * top;
    st.set(bytes.subarray(split, STATE.xmm));
    st.set(bytes.subarray(STATE.x87, split), 80 - 10 * top);
  }
  return {
    gpr: new BigUint64Array(memory, offset, 16),
    flags,
    window: new Uint8Array(memory, offset + STATE.window, 256),
    fcw,
    fsw,
    ftw,
    st,
    mxcsr,
    xmm: new Uint8Array(memory, offset + STATE.xmm, 256),
    ymmHigh: new Uint8Array(memory, offset + STATE.ymmHigh, 256),
  };
}
