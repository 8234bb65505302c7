/**
 * The initial state of a recorded vector: `oracle/state.c` in TypeScript, draw for draw, so that a record need only hold
 * what the oracle changed in it. The same 32-bit arithmetic in the same order; `vectors.test.ts` notices any difference.
 */

/** Byte offsets in the block that holds one state: GPRs, memory window, x87 registers, XMM registers, upper YMM halves. */
export const STATE = { gpr: 0, window: 128, x87: 384, xmm: 464, ymmHigh: 720, size: 976 } as const;

/** What the drawn state depends on besides the seed. */
export interface StateKind {
  readonly cls: string;
  readonly fp: 'none' | 'x87' | 'sse' | 'avx';
  /** 0 none, 1 REP, 2 REPE/REPNE */
  readonly rep: number;
  /** FNV-1a of "class name encoding" */
  readonly hash: number;
}

/** One state in one block of memory; the x87 registers are R0-R7, not yet ST(i). */
export class RawState {
  readonly bytes = new Uint8Array(STATE.size);
  readonly words: Uint32Array = new Uint32Array(this.bytes.buffer);
  flags = 0;
  fcw = 0x37f;
  fsw = 0;
  ftw = 0;
  mxcsr = 0x1f80;
}

const u64Pairs = (hex: string): Uint32Array => {
  const all = hex.split(' ').map((one) => BigInt(`0x${one}`));
  return new Uint32Array(new BigUint64Array(all).buffer);
};
const INTEGERS = u64Pairs(
  '0 1 2 3 7f 80 ff 100 7fff 8000 ffff 10000 7fffffff 80000000 ffffffff 100000000 7fffffffffffffff 8000000000000000 ' +
    'ffffffffffffffff fffffffffffffffe aaaaaaaaaaaaaaaa 5555555555555555',
);
const SINGLES = u64Pairs(
  '0 80000000 3f800000 bf800000 7f800000 ff800000 7fc00000 ffc00000 7fa00001 1 80000001 7fffff 800000 7f7fffff ff7fffff ' +
    '4f000000 cf000000 5f000000 3f000000 40200000',
);
const DOUBLES = u64Pairs(
  '0 8000000000000000 3ff0000000000000 bff0000000000000 7ff0000000000000 fff0000000000000 7ff8000000000000 fff8000000000000 ' +
    '7ff4000000000001 1 800fffffffffffff 10000000000000 7fefffffffffffff 41dfffffffc00000 41e0000000000000 c1e0000000000000 ' +
    '43e0000000000000 3fe0000000000000 47efffffe0000000 36a0000000000000',
);
const EXTENDED_EXPONENTS = [0, 0x8000, 0x7fff, 0xffff, 0x7fff, 0xffff, 0x3fff, 0xbfff, 0, 0x7ffe, 0x7fff, 0x8000];
const EXTENDED_SIGNIFICANDS = u64Pairs(
  '0 0 8000000000000000 8000000000000000 c000000000000000 c000000000000000 8000000000000000 8000000000000000 1 ' +
    'ffffffffffffffff a000000000000001 7fffffffffffffff',
);

// The generator (sfc32) and the 64-bit result of the last draw live in module variables: a state takes some 200 draws.
let a = 0;
let b = 0;
let c = 0;
let counter = 0;
let low = 0;
let high = 0;
const floatView = new DataView(new ArrayBuffer(8));

function next(): number {
  const t = (a + b + counter) | 0;
  counter = (counter + 1) | 0;
  a = b ^ (b >>> 9);
  b = (c + (c << 3)) | 0;
  c = (((c << 21) | (c >>> 11)) + t) | 0;
  return t >>> 0;
}
function seed(x: number, y: number, z: number): void {
  a = x | 0;
  b = y | 0;
  c = z | 0;
  counter = 1;
  for (let i = 0; i < 12; i++) next();
}
function below(n: number): number {
  return Math.floor((next() * n) / 0x1_0000_0000);
}
function percent(p: number): boolean {
  return below(100) < p;
}
function set(lowHalf: number, highHalf: number): void {
  low = lowHalf >>> 0;
  high = highHalf >>> 0;
}
function wide(): void {
  low = next();
  high = next();
}
/** high:low >> n (0-63), logical */
function shiftRight(n: number): void {
  if (n >= 32) set(high >>> (n - 32), 0);
  else if (n > 0) set((low >>> n) | (high << (32 - n)), high >>> n);
}
function integer(): void {
  switch (below(6)) {
    case 0: {
      const i = below(22);
      set(INTEGERS[2 * i]!, INTEGERS[2 * i + 1]!);
      break;
    }
    case 1:
      set(below(256), 0);
      break;
    case 2: {
      const x = below(256);
      set(-x, x === 0 ? 0 : -1);
      break;
    }
    case 3:
      wide();
      shiftRight(below(64));
      break;
    case 4:
      set(next(), 0);
      break;
    default:
      wide();
  }
}
function single(): number {
  switch (below(4)) {
    case 0:
      return SINGLES[2 * below(20)]!;
    case 1:
      floatView.setFloat32(0, below(2000) / 8 - 100, true);
      return floatView.getUint32(0, true);
    case 2: {
      const sign = below(2) << 31;
      const exponent = (127 - 24 + below(48)) << 23;
      return sign | exponent | (next() >>> 9);
    }
    default:
      return next();
  }
}
function double(): void {
  switch (below(4)) {
    case 0: {
      const i = below(20);
      set(DOUBLES[2 * i]!, DOUBLES[2 * i + 1]!);
      break;
    }
    case 1:
      floatView.setFloat64(0, below(2000) / 8 - 100, true);
      set(floatView.getUint32(0, true), floatView.getUint32(4, true));
      break;
    case 2: {
      const sign = below(2) << 31;
      const exponent = (1023 - 50 + below(100)) << 20;
      wide();
      set(low, sign | exponent | (high & 0xfffff));
      break;
    }
    default:
      wide();
  }
}
/** Sets high:low to the significand of the signed high:low / 2^scale and returns sign and exponent. */
function scaled(scale: number): number {
  const negative = high >>> 31 === 1;
  if (negative) set(-low, ~high + (low === 0 ? 1 : 0));
  if (low === 0 && high === 0) return 0;
  let zeros = 0;
  while (high >>> 31 === 0) {
    set(low << 1, (high << 1) | (low >>> 31));
    zeros++;
  }
  return (negative ? 0x8000 : 0) | (16383 + 63 - zeros - scale);
}
function extended(view: DataView, at: number): void {
  wide();
  set(low, high | 0x8000_0000);
  const magnitude = below(140);
  const sign = below(2) << 15;
  let exponent = (16383 - 70 + magnitude) | sign;
  const drawnLow = low;
  const drawnHigh = high;
  switch (below(8)) {
    case 0: {
      const i = below(12);
      exponent = EXTENDED_EXPONENTS[i]!;
      set(EXTENDED_SIGNIFICANDS[2 * i]!, EXTENDED_SIGNIFICANDS[2 * i + 1]!);
      break;
    }
    case 1:
    case 2: {
      integer();
      const shift = below(40);
      if (shift >= 32) set((high | 0) >> (shift - 32), (high | 0) >> 31);
      else if (shift > 0) set((low >>> shift) | (high << (32 - shift)), (high | 0) >> shift);
      exponent = scaled(0);
      break;
    }
    case 3: {
      const n = below(4000) - 1920;
      set(n, n < 0 ? -1 : 0);
      exponent = scaled(4);
      break;
    }
    case 4:
      exponent = next() & 0xffff;
      if (percent(5)) wide();
      break;
    default:
      if (percent(40)) {
        const n = 11 + below(50);
        set(n >= 32 ? 0 : drawnLow & (-1 << n), (n >= 32 ? drawnHigh & (-1 << (n - 32)) : drawnHigh) | 0x8000_0000);
      }
  }
  view.setUint32(at, low, true);
  view.setUint32(at + 4, high, true);
  view.setUint16(at + 8, exponent, true);
}
/** 16 bytes of one flavour at word index `at` */
function lane(state: RawState, at: number): void {
  const words = state.words;
  const flavour = below(10);
  if (flavour >= 3 && flavour < 6) {
    for (let i = 0; i < 4; i += 2) {
      double();
      words[at + i] = low;
      words[at + i + 1] = high;
    }
    return;
  }
  for (let i = 0; i < 4; i++) {
    if (flavour < 3) words[at + i] = single();
    else if (flavour < 8) {
      integer();
      words[at + i] = low;
    } else words[at + i] = next();
  }
  if (flavour === 9) for (let i = 0; i < 16; i++) if (percent(20)) state.bytes[at * 4 + i] = below(4);
}
/** From this seed on what is rare otherwise is drawn often: faults, unmasked exceptions, unusual control words. */
export const RARE = 2 ** 31;
let rare = false;

function drawX87(state: RawState): void {
  const precision = below(6);
  const rounding = percent(50) ? below(4) : 0;
  const stale = percent(15);
  state.fcw = 0x7f | ((precision === 0 ? 0 : precision === 1 ? 2 : 3) << 8) | (rounding << 10);
  if (percent(rare ? 50 : 2)) state.fcw &= ~(rare ? below(64) : 1 << below(6));
  state.fsw = below(8) << 11;
  if (stale) state.fsw |= next() & 0x473f;
  if (state.fsw & 0x3f & ~state.fcw) state.fsw |= 0x8080;
  const depth = percent(15) ? 8 : percent(50) ? 7 : below(6);
  state.ftw = 0;
  if (depth === 8) state.ftw = below(256);
  else if (depth === 7) state.ftw = 0xff;
  else for (let i = 0; i <= depth; i++) state.ftw |= 1 << (((state.fsw >> 11) + i) & 7);
  const view = new DataView(state.bytes.buffer);
  for (let i = 0; i < 8; i++) extended(view, STATE.x87 + 10 * i);
}
function drawMmx(state: RawState): void {
  const left = percent(30); // by x87 instructions
  state.ftw = 0xff;
  if (left) {
    state.fsw = below(8) << 11;
    state.fsw |= next() & 0x473f;
    if (percent(rare ? 50 : 20)) state.fcw &= ~(rare ? below(64) : 1 << below(6));
    if (state.fsw & 0x3f & ~state.fcw) state.fsw |= 0x8080;
    state.ftw = below(256);
  }
  const view = new DataView(state.bytes.buffer);
  for (let i = 0; i < 8; i++) {
    const exponent = left ? next() & 0xffff : 0xffff;
    lane(state, STATE.xmm / 4); // a place to draw into: the XMM registers are drawn afterwards
    state.bytes.copyWithin(STATE.x87 + 10 * i, STATE.xmm, STATE.xmm + 8);
    view.setUint16(STATE.x87 + 10 * i + 8, exponent, true);
  }
}
function drawSse(state: RawState, registers: number, avx: boolean): void {
  if (percent(40)) state.mxcsr |= below(4) << 13;
  if (percent(rare ? 40 : 10)) state.mxcsr |= 0x8000;
  if (percent(rare ? 40 : 10)) state.mxcsr |= 0x40;
  if (percent(20)) state.mxcsr |= below(64);
  if (percent(rare ? 50 : 3)) state.mxcsr &= ~(rare ? below(64) << 7 : 0x80 << below(6));
  for (let i = 0; i < registers; i++) lane(state, STATE.xmm / 4 + 4 * i);
  if (avx) for (let i = 0; i < registers; i++) lane(state, STATE.ymmHigh / 4 + 4 * i);
}

/** Draws the initial state of vector (`runSeed`, `kind`, `mode`, `draw`) into `state`; `window` is the window's address. */
export function drawState(
  state: RawState,
  runSeed: number,
  kind: StateKind,
  mode: number,
  draw: number,
  window: number,
): void {
  const { words } = state;
  const registers = mode === 64 ? 16 : 8;
  const mmx = kind.cls === 'mmx';
  state.bytes.fill(0);
  state.fcw = 0x37f;
  state.fsw = state.ftw = 0;
  state.mxcsr = 0x1f80;
  rare = runSeed >= RARE;
  seed(runSeed, kind.hash, draw * 4 + (mode >> 5));
  for (let i = 0; i < registers; i++) {
    integer();
    words[2 * i] = low;
    words[2 * i + 1] = mode === 64 ? high : 0;
  }
  let stack = window + 64 + below(128);
  if (percent(90)) stack -= stack % 8;
  if (kind.cls === 'stack' && percent(rare ? 25 : 3)) stack = window + 256 - below(8);
  words[8] = stack;
  words[9] = stack / 0x1_0000_0000;
  state.flags = next() & 0xcd5;
  if (!kind.rep && percent(80)) state.flags &= ~0x400;
  for (let i = 0; i < 16; i++) lane(state, STATE.window / 4 + 4 * i);
  if (percent(30)) {
    for (let i = 0; i < 64; i += 2) {
      integer();
      words[STATE.window / 4 + i] = low;
      words[STATE.window / 4 + i + 1] = high;
    }
  }
  if (kind.rep === 2 && percent(60)) {
    for (let i = 0; i < 256; i++) state.bytes[STATE.window + i] = percent(90) ? 0x41 : 0x42;
  }
  if (kind.fp === 'x87' && !mmx) drawX87(state);
  if (mmx) drawMmx(state);
  if (kind.fp === 'sse' || kind.fp === 'avx' || mmx) drawSse(state, registers, kind.fp === 'avx');
}

/** FNV-1a, as the oracle hashes a form. */
export function formHash(cls: string, name: string, encoding: string): number {
  let hash = 0x811c9dc5;
  for (const character of `${cls} ${name} ${encoding}`) {
    hash = Math.imul(hash ^ character.charCodeAt(0), 0x01000193);
  }
  return hash >>> 0;
}
