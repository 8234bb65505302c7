/**
 * Execution contexts: the mode bits that a block's translation relies on, numbered. The number in force stands in the
 * vCPU's field `context` and is part of every code look-up; it changes when a helper changes a mode, a segment or CPL.
 *
 * Translated code holds the number, and translations outlive the run that made them: so it is made of the mode bits alone.
 */
import type { ExecutionContext } from '../ir/builder.ts';
import type { LinearBits } from '../mmu/linear.ts';
import type { CpuState } from '../state/cpu-state.ts';
import { offsetOf } from '../state/layout.ts';

export interface Context extends ExecutionContext {
  readonly id: number;
  /** Every run gives these mode bits this number. */
  readonly stable: boolean;
  /** Base and limit of CS, where they matter to instruction fetch (0 and 4 GiB - 1 otherwise). */
  readonly csBase: number;
  readonly csLimit: number;
  /** Features of instructions that the processor does not have. */
  readonly lacks: readonly string[];
  /** Every access must be seen (alignment checks): never translated. */
  readonly watched: boolean;
}

const word = (name: string) => offsetOf(name) >> 2;
const CR0 = word('cr0');
const CR4 = word('cr4');
const EFER = word('efer');
const XCR0 = word('xcr0');
const CPL = word('cpl');
const RFLAGS = word('rflagsRest');
const CONTEXT = word('context');
const CS_ACCESS = word('csAccess');
const CS_BASE = word('csBase');
const CS_LIMIT = word('csLimit');
const SS_ACCESS = word('ssAccess');
const data = ['ds', 'es', 'ss'].map((name) => ({
  base: word(`${name}Base`),
  limit: word(`${name}Limit`),
  access: word(`${name}Access`),
}));

/** Numbers of contexts that are not flat: above those of flat ones, whatever bits these have. */
const firstHashed = 1 << 20;
const hashedMask = 0x3fffffff;

const LA57 = 1 << 12;
const OSXSAVE = 1 << 18;
const USABLE = 1 << 16;
const LONG = 1 << 13;
const BIG = 1 << 14;
const WRITABLE = 2;
const EXPAND_DOWN = 4;
const CODE = 8;

/** So many are known before all are forgotten: a guest may make one of each base that a code segment can have. */
export const maximumContexts = 2048;

/** Numbers the contexts of a VM; the same mode bits have one number on all its vCPUs. */
export class Contexts {
  private readonly flat = new Map<number, Context>();
  private readonly byKey = new Map<string, Context>();
  private readonly byId = new Map<number, Context>();
  /** How often all were forgotten: numbers may mean others since. */
  epoch = 0;
  private readonly lacks: readonly string[];
  private readonly baseBits: LinearBits;

  /**
   * @param lacks features of instructions that the VM's processors do not have
   * @param baseBits bits of an address that a segment's base may be
   */
  constructor(lacks: readonly string[] = [], baseBits: LinearBits = 48) {
    this.lacks = lacks;
    this.baseBits = baseBits;
  }

  get size(): number {
    return this.byId.size;
  }
  get isFull(): boolean {
    return this.size > maximumContexts;
  }
  /** All are forgotten; whoever keeps code by their numbers drops it. */
  clear(): void {
    this.flat.clear();
    this.byKey.clear();
    this.byId.clear();
    this.epoch++;
  }
  /** Its number means this context still. */
  knows(context: Context): boolean {
    return this.byId.get(context.id) === context;
  }
  /** The context that the state is in; sets the field `context`. */
  current(state: CpuState): Context {
    const { u32 } = state;
    const cr0 = u32[CR0]!;
    const cr4 = u32[CR4]!;
    const rflags = u32[RFLAGS]!;
    const cpl = u32[CPL]!;
    const long = (u32[EFER]! & 0x400) !== 0 && (u32[CS_ACCESS]! & LONG) !== 0;
    const flat = long || isFlat(u32);
    const bits =
      (long ? 1 : 0) |
      ((u32[CS_ACCESS]! & BIG) !== 0 ? 2 : 0) |
      // Without effect in 64-bit code: where SS was loaded by SYSCALL and where by an interrupt it differs.
      (!long && (u32[SS_ACCESS]! & BIG) !== 0 ? 4 : 0) |
      (flat ? 8 : 0) |
      (cpl << 4) |
      ((cr0 & 1) << 6) |
      (((rflags >> 17) & 1) << 7) |
      (((rflags >> 12) & 3) << 8) |
      (((cr0 >> 1) & 7) << 10) | // MP, EM, TS
      (((cr4 >> 9) & 1) << 13) |
      (cpl === 3 && (cr0 & (1 << 18)) !== 0 && (rflags & (1 << 18)) !== 0 ? 1 << 14 : 0) |
      ((cr4 & OSXSAVE) !== 0 && (u32[XCR0]! & 6) === 6 ? 1 << 15 : 0) |
      (long && (cr4 & LA57) !== 0 ? 1 << 16 : 0) |
      (long && this.baseBits === 57 ? 1 << 17 : 0);
    const context = flat ? this.flatOf(bits) : this.hashedOf(bits, u32[CS_BASE]!, u32[CS_LIMIT]!);
    u32[CONTEXT] = context.id;
    return context;
  }
  /** The flat context with these mode bits, one less than its number. */
  flatOf(bits: number): Context {
    let context = this.flat.get(bits);
    if (context === undefined) this.flat.set(bits, (context = this.make(bits, 0, 0xffffffff)));
    return context;
  }
  private hashedOf(bits: number, csBase: number, csLimit: number): Context {
    const key = `${bits},${csBase},${csLimit}`;
    let context = this.byKey.get(key);
    if (context === undefined) this.byKey.set(key, (context = this.make(bits, csBase, csLimit)));
    return context;
  }

  /** Flat contexts are numbered by their bits, others by a hash; whoever comes second to a number takes the next one. */
  private number(bits: number, csBase: number, csLimit: number, flat: boolean): { id: number; stable: boolean } {
    if (flat) return { id: bits + 1, stable: true };
    let hash = bits;
    for (const word of [csBase, csLimit]) {
      hash = Math.imul(hash ^ word, 0x9e3779b1);
      hash ^= hash >>> 15;
    }
    const wanted = firstHashed + (hash & hashedMask);
    let id = wanted;
    while (this.byId.has(id)) id++;
    return { id, stable: id === wanted };
  }

  private make(bits: number, csBase: number, csLimit: number): Context {
    const long = (bits & 1) !== 0;
    const taskSwitched = (bits & (4 << 10)) !== 0;
    const emulate = (bits & (2 << 10)) !== 0;
    const context: Context = {
      ...this.number(bits, csBase, csLimit, (bits & 8) !== 0),
      codeSize: long ? 64 : (bits & 2) !== 0 ? 32 : 16,
      stackSize: long ? 64 : (bits & 4) !== 0 ? 32 : 16,
      flat: (bits & 8) !== 0,
      cpl: ((bits >> 4) & 3) as 0 | 1 | 2 | 3,
      protectedMode: (bits & (1 << 6)) !== 0,
      virtual8086: (bits & (1 << 7)) !== 0,
      iopl: (bits >> 8) & 3,
      x87: emulate || taskSwitched ? 'device-not-available' : 'available',
      mmx: emulate ? 'undefined' : taskSwitched ? 'device-not-available' : 'available',
      waitFaults: taskSwitched && (bits & (1 << 10)) !== 0,
      sse: emulate || (bits & (1 << 13)) === 0 ? 'undefined' : taskSwitched ? 'device-not-available' : 'available',
      avx: (bits & (1 << 15)) === 0 ? 'undefined' : taskSwitched ? 'device-not-available' : 'available',
      csBase,
      csLimit,
      lacks: this.lacks,
      linearBits: (bits & (1 << 16)) !== 0 ? 57 : 48,
      baseBits: (bits & (1 << 17)) !== 0 ? 57 : 48,
      watched: (bits & (1 << 14)) !== 0,
    };
    this.byId.set(context.id, context);
    return context;
  }
}

/** CS, DS, ES and SS with base 0, limit 4 GiB, readable and (data) writable: no check can fail. */
function isFlat(u32: Uint32Array): boolean {
  const cs = u32[CS_ACCESS]!;
  if (
    (cs & USABLE) === 0 ||
    u32[CS_BASE] !== 0 ||
    u32[CS_LIMIT] !== 0xffffffff ||
    (cs & (CODE | WRITABLE)) !== (CODE | WRITABLE)
  )
    return false;
  for (const { base, limit, access } of data) {
    const a = u32[access]!;
    if (
      (a & USABLE) === 0 ||
      u32[base] !== 0 ||
      u32[limit] !== 0xffffffff ||
      (a & (CODE | EXPAND_DOWN | WRITABLE)) !== WRITABLE
    )
      return false;
  }
  return true;
}
