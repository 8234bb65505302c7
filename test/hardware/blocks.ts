/**
 * Random blocks of several instructions, made of the recorded vectors' own bytes: for running one engine against another, as
 * no CPU recorded them. A block's initial state is its first vector's, with the registers that each further instruction needs
 * (addresses, counts) set as far as nothing before it writes them; what faults nevertheless is a test as well.
 */
import type { Mode, State, Vector } from './vectors.ts';

/** A block to run: `bytes` at `ip` in a page of 0xCC, as a vector's instruction. */
export interface Block {
  readonly mode: Mode;
  readonly bytes: Uint8Array;
  readonly code: number;
  readonly data: number;
  readonly ip: bigint;
  readonly in: State;
  /** the instructions' vectors, in order */
  readonly parts: readonly Vector[];
}

const RSP = 4;

/** Whether a vector's instruction may stand in a block: it completes, falls through and leaves the stack pointer alone. */
export function isBlockPart({ in: before, out, ip, bytes, cls }: Vector): boolean {
  return (
    out.exception === undefined &&
    out.rip === ip + BigInt(bytes.length) &&
    before.gpr[RSP] === out.gpr[RSP] &&
    cls !== 'branch' &&
    cls !== 'fault'
  );
}

/** Makes blocks out of `vectors`, which it holds sorted by mode and code page. The same seed gives the same blocks. */
export class BlockMaker {
  readonly #pools: Vector[][];
  #random: number;

  constructor(vectors: Iterable<Vector>, seed: number) {
    const pools = new Map<string, Vector[]>();
    for (const vector of vectors) {
      if (!isBlockPart(vector)) continue;
      const key = `${vector.mode} ${vector.code}`;
      const pool = pools.get(key);
      if (pool) pool.push(vector);
      else pools.set(key, [vector]);
    }
    this.#pools = [...pools.values()];
    if (this.#pools.length === 0) throw new Error('blocks: no vector can stand in a block');
    this.#random = seed | 0;
  }

  /** A block of up to `length` instructions. */
  next(length = 8): Block {
    const pool = this.#pools[this.#below(this.#pools.length)]!;
    const first = this.#pick(pool);
    const initial = copyState(first.in);
    const parts = [first];
    let settled = first.chosen; // registers whose initial value some part depends on
    let written = writtenBy(first);
    for (let tries = 0; parts.length < length && tries < 4 * length; tries++) {
      const vector = this.#pick(pool);
      if (vector.chosen & (settled | written)) continue;
      for (let i = 0; i < 16; i++) if ((vector.chosen >> i) & 1) initial.gpr[i] = vector.in.gpr[i]!;
      settled |= vector.chosen;
      written |= writtenBy(vector);
      takeRegisters(initial, vector);
      parts.push(vector);
    }
    const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.bytes.length, 0));
    let at = 0;
    for (const part of parts) {
      bytes.set(part.bytes, at);
      at += part.bytes.length;
    }
    const { mode, code, data, ip } = first;
    return { mode, bytes, code, data, ip, in: initial, parts };
  }

  #pick(pool: readonly Vector[]): Vector {
    return pool[this.#below(pool.length)]!;
  }

  /** mulberry32 */
  #below(n: number): number {
    this.#random = (this.#random + 0x6d2b79f5) | 0;
    let t = Math.imul(this.#random ^ (this.#random >>> 15), this.#random | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return Math.floor((((t ^ (t >>> 14)) >>> 0) * n) / 0x1_0000_0000);
  }
}

function writtenBy({ in: before, out }: Vector): number {
  let mask = 0;
  for (let i = 0; i < 16; i++) if (before.gpr[i] !== out.gpr[i]) mask |= 1 << i;
  return mask;
}

/** A part that is the first to use the x87 or SSE registers brings them along. */
function takeRegisters(state: State, { fp, in: from }: Vector): void {
  const blank = (bytes: Uint8Array): boolean => bytes.every((byte) => byte === 0);
  if (fp === 'x87' && blank(state.st)) {
    state.st.set(from.st);
    state.fcw = from.fcw;
    state.fsw = from.fsw;
    state.ftw = from.ftw;
  }
  if ((fp === 'sse' || fp === 'avx') && blank(state.xmm)) {
    state.xmm.set(from.xmm);
    state.ymmHigh.set(from.ymmHigh);
    state.mxcsr = from.mxcsr;
  }
}

function copyState(state: State): State {
  return {
    ...state,
    gpr: state.gpr.slice(),
    window: state.window.slice(),
    st: state.st.slice(),
    xmm: state.xmm.slice(),
    ymmHigh: state.ymmHigh.slice(),
  };
}
