/**
 * Which registers and stack slots still matter at each instruction: `live` ones are read later, `exact` ones may decide a
 * branch, an address, a size or the result, so that their bounds matter and not only what kind of value they hold. The
 * verifier compares states by these alone, which is what keeps the number of states small.
 *
 * Flows backwards through the whole program. A frame's slots are told apart as long as the frame's address is only used by
 * loads and stores; once it is copied, whatever goes through another register may mean any slot.
 */
import { type ControlFlow, successors } from './control-flow.ts';
import type { BpfEnvironment } from './environment.ts';
import {
  type BpfCodeList,
  type BpfInstruction,
  framePointer,
  immediateSource,
  registersRead,
  registerWritten,
} from './instructions.ts';
import { anyWide } from './scalar.ts';

/** Registers by number, slots of eight bytes by number from the frame's upper end. */
export interface Relevance {
  readonly live: number;
  readonly exact: number;
  readonly liveSlots: bigint;
  readonly exactSlots: bigint;
}

export const stackBytes = 512;
export const slotCount = stackBytes / 8;
const allSlots = (1n << BigInt(slotCount)) - 1n;
const nothing: Relevance = { live: 0, exact: 0, liveSlots: 0n, exactSlots: 0n };
const argumentRegisters = 0b111110;
const callerSaved = 0b111111;

/** The slot of a byte at this offset from the frame's upper end. */
export const slotOf = (offset: number): number => (stackBytes + offset) >> 3;

const union = (a: Relevance, b: Relevance): Relevance => ({
  live: a.live | b.live,
  exact: a.exact | b.exact,
  liveSlots: a.liveSlots | b.liveSlots,
  exactSlots: a.exactSlots | b.exactSlots,
});
const same = (a: Relevance, b: Relevance): boolean =>
  a.live === b.live && a.exact === b.exact && a.liveSlots === b.liveSlots && a.exactSlots === b.exactSlots;

/** Slots of an access through the frame pointer. */
function slotsOf(offset: number, size: number): bigint {
  const first = slotOf(offset);
  const last = slotOf(offset + size - 1);
  if (first < 0 || last >= slotCount) return 0n; // refused later
  return first === last ? 1n << BigInt(first) : (1n << BigInt(first)) | (1n << BigInt(last));
}

/** The frame's address goes somewhere else than into the address of a load or store. */
function copiesFramePointer(i: BpfInstruction): boolean {
  if (i.kind === 'load') return false;
  if (i.kind === 'store' || i.kind === 'atomic') return i.source === framePointer;
  return registersRead(i).includes(framePointer);
}

export class RelevanceAnalysis {
  private readonly before: Relevance[];
  private readonly environment: BpfEnvironment;
  private readonly copied: boolean;
  /** What matters of r0 when a function ends, by the function's start. */
  private readonly results = new Map<number, Relevance>();
  private readonly functionOf: Int32Array;
  private changed = true;

  constructor(code: BpfCodeList, flow: ControlFlow, environment: BpfEnvironment) {
    this.environment = environment;
    this.before = code.map(() => nothing);
    this.copied = code.some((i) => i !== null && copiesFramePointer(i));
    this.functionOf = new Int32Array(code.length);
    for (const { start, end } of flow.functions) this.functionOf.fill(start, start, end);
    const { min, max } = environment.result;
    const anyResult = min === 0n && max === anyWide.umax;
    this.results.set(0, { ...nothing, live: 1, exact: anyResult ? 0 : 1 });
    while (this.changed) {
      this.changed = false;
      for (let at = code.length - 1; at >= 0; at--) {
        const instruction = code[at]!;
        if (instruction === null) continue;
        const after = successors(instruction, at).map((to) => this.before[to]!);
        const found = this.transfer(instruction, at, after.reduce(union, nothing));
        if (same(found, this.before[at]!)) continue;
        this.before[at] = found;
        this.changed = true;
      }
    }
  }

  /** What matters when control comes to an instruction. */
  at(instruction: number): Relevance {
    return this.before[instruction]!;
  }
  /** What matters of a calling frame while the function that it called runs. */
  during(returnTo: number): Relevance {
    const after = this.before[returnTo]!;
    const kept = { ...after, live: after.live & ~callerSaved, exact: after.exact & ~callerSaved };
    return this.copied ? { ...kept, liveSlots: allSlots, exactSlots: allSlots } : kept;
  }

  private transfer(i: BpfInstruction, at: number, after: Relevance): Relevance {
    let { live, exact, liveSlots, exactSlots } = after;
    const written = registerWritten(i);
    const bit = written < 0 ? 0 : 1 << written;
    const wanted = (after.exact & bit) !== 0;
    if (i.kind === 'exit') return this.results.get(this.functionOf[at]!) ?? nothing;
    if (i.kind === 'call' || i.kind === 'call-local') return this.transferCall(i, after);

    live &= ~bit;
    exact &= ~bit;
    for (const register of registersRead(i)) {
      live |= 1 << register;
      // What it is computed from is as exact as the result; conditions are exact.
      if ((wanted && i.kind !== 'load' && i.kind !== 'atomic') || i.kind === 'branch') exact |= 1 << register;
    }
    if (i.kind === 'load' || i.kind === 'store' || i.kind === 'atomic') {
      exact |= 1 << i.base;
      const direct = i.base === framePointer;
      const touched = direct ? slotsOf(i.offset, i.size) : this.copied ? allSlots : 0n;
      if (i.kind === 'load') {
        liveSlots |= touched;
        if (wanted) exactSlots |= touched;
      } else if (i.kind === 'atomic') liveSlots |= touched;
      else {
        if (i.source !== immediateSource && (exactSlots & touched) !== 0n) exact |= 1 << i.source;
        if (direct && i.size === 8) {
          liveSlots &= ~touched;
          exactSlots &= ~touched;
        }
      }
    }
    return { live, exact, liveSlots, exactSlots };
  }

  private transferCall(i: BpfInstruction & { kind: 'call' | 'call-local' }, after: Relevance): Relevance {
    const live = after.live & ~callerSaved;
    const exact = after.exact & ~callerSaved;
    const { liveSlots, exactSlots } = after;
    if (i.kind === 'call') {
      const count = this.environment.helpers[i.helper]?.arguments.length ?? 0;
      const used = argumentRegisters & ((2 << count) - 1);
      // A helper reads memory, but what it finds decides nothing here.
      return { live: live | used, exact: exact | used, liveSlots: this.copied ? allSlots : liveSlots, exactSlots };
    }
    const result = { ...nothing, live: after.live & 1, exact: after.exact & 1 };
    const known = this.results.get(i.target) ?? nothing;
    const wider = union(known, result);
    if (!same(known, wider)) {
      this.results.set(i.target, wider);
      this.changed = true;
    }
    const entry = this.before[i.target]!;
    return {
      live: live | (entry.live & argumentRegisters),
      exact: exact | (entry.exact & argumentRegisters),
      liveSlots: this.copied ? allSlots : liveSlots,
      exactSlots: this.copied ? allSlots : exactSlots,
    };
  }
}
