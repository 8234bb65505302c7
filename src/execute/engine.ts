/**
 * One vCPU's engine: enters the core module, and does in TypeScript what generated code leaves for: blocks that are not
 * there yet, faults, helpers, code that was overwritten, the last instructions of a budget.
 */

import type { AccessLog } from '../mmu/access-log.ts';
import { addressOf, highOf, lowOf, moved } from '../mmu/linear.ts';
import { type FlushScope, WATCHED } from '../mmu/mmu.ts';
import type { CpuState } from '../state/cpu-state.ts';
import { offsetOf } from '../state/layout.ts';
import { GP } from '../state/vectors.ts';
import { exitRequest } from '../system/exit-request.ts';
import { BlockMaker } from './block-maker.ts';
import { BasicBlocks, isRepeated, takenBranchAt } from './branches.ts';
import { Breakpoints } from './breakpoints.ts';
import { BudgetTime } from './budget-time.ts';
import type { CodeMemory, InterpreterBlock } from './code-memory.ts';
import { CodePages } from './code-pages.ts';
import type { Context, Contexts } from './context.ts';
import { coreExports } from './core-exports.ts';
import type { CoreExports, EngineParts } from './engine-parts.ts';
import { linearOf } from './frontend.ts';
import { InternalError } from './internal-error.ts';
import { type FoundRegion, JumpCache } from './jump-cache.ts';
import { JumpProfile } from './jump-profile.ts';
import { hotThreshold, leave, neverAgain } from './leave.ts';
import type { Processor } from './processor.ts';
import type { Regions } from './regions.ts';
import { SelfOverwrite } from './self-overwrite.ts';
import { StiShadow } from './sti-shadow.ts';

/** Why `run` came back: the budget is used up, or the vCPU's events want a look. */
export type RunEnd = 'budget' | 'events';

const word = (name: string) => offsetOf(name) >> 2;
const RIP = word('rip');
const RSP = word('rsp');
const RCX = word('rcx');
const BUDGET = word('budget');
const ATTENTION = word('attention');
const BLOCK = word('blockRecord');
const RECORD = word('leaveRecord');
const ARGUMENT3 = word('argument3');
const RESULT0 = word('result0');
const RETRIES = word('retries');
const FAULT_VECTOR = word('faultVector');
const FAULT_CODE = word('faultErrorCode');
const RFLAGS = word('rflagsRest');
const PENDING = word('pendingDebug');
const RF = 1 << 16;
const SHADOW = word('interruptShadow');
const MOV_SS_SHADOW = 2;
const largestSlice = 0x3fffffff;
/** Thrown through the memory management unit, never through generated code. */
const putOff = new Error('a device access is put off');

export class Engine {
  readonly state: CpuState;
  readonly core: CoreExports;
  readonly contexts: Contexts;
  private contextEpoch = 0;
  /** How often generated code came back, by the codes of leave.ts. */
  readonly leaves = new Uint32Array(16);
  regions: Regions | null = null;
  private readonly processor: Processor;
  private readonly code: CodeMemory;
  readonly jumps: JumpCache;
  readonly maker: BlockMaker;
  readonly pages: CodePages;
  private context!: Context;
  private readonly overwrite: SelfOverwrite;
  /** Record of the access that is being made out of a block; 0 = none. */
  private accessRecord = 0;
  /** The access was put off, see deviceAccess. */
  private isPutOff = false;
  private readonly accesses: AccessLog;
  private inHelper = false;
  /** A basic block ended with the last {@link step}. */
  endedBlock = false;
  private readonly basicBlocks = new BasicBlocks();
  private eventsAfterFault = false;
  private linearLow = 0;
  private linearHigh = 0;
  /** What `run` has beside the field `budget`, and the time. */
  readonly beside: BudgetTime;
  private readonly profile: JumpProfile;
  private readonly shadow: StiShadow;
  readonly breakpoints = new Breakpoints({
    linearRip: () => this.linearRip(),
    stack: () => this.state.u64[RSP >> 1]!,
    changed: () => this.jumps.forget(),
  });
  /** What the last {@link step} executed; null = nothing is known of it, as after the state was replaced. */
  last: InterpreterBlock | null = null;
  /** It is a branch that was taken. */
  private taken = false;

  constructor(parts: EngineParts) {
    const { processor, memory, table, coreModule, arithmetic, contexts, code } = parts;
    this.processor = processor;
    this.state = processor.fields;
    this.accesses = processor.mmu.accesses;
    this.accesses.executor = this;
    this.beside = new BudgetTime(this.state);
    this.shadow = new StiShadow(this.state);
    this.contexts = contexts;
    this.code = code;
    this.jumps = new JumpCache(this.state, code);
    this.profile = new JumpProfile(this.state);
    this.overwrite = new SelfOverwrite(code, this.state);
    this.pages = new CodePages(processor, this.breakpoints);
    this.maker = new BlockMaker(processor, code, this.pages, parts.patterns);
    processor.mmu.onFlush = (scope) => this.flushJumps(scope);
    const { mmu } = processor;
    const address = this.state.u32;
    const instance = new WebAssembly.Instance(coreModule, {
      env: {
        memory,
        table,
        slowRead: (_cpu: number, bytes: number, flags: number): number => {
          const low = address[ARGUMENT3]!;
          const high = address[ARGUMENT3 + 1]!;
          const intent = (flags & 2) !== 0 ? 'modify' : 'read';
          if ((flags & 4) !== 0) return mmu.probe(low, high, bytes, intent, (flags & 1) !== 0) ? 1 : 0;
          return this.access(address[RECORD]!, () => mmu.slowRead(low, high, bytes as 1, intent, (flags & 1) !== 0));
        },
        slowWrite: (_cpu: number, bytes: number, stack: number, record: number): number => {
          this.overwrite.record = record;
          const [low, high] = [address[ARGUMENT3]!, address[ARGUMENT3 + 1]!];
          return this.access(record, () => mmu.slowWrite(low, high, bytes as 1, 'write', stack !== 0));
        },
        helper: (_cpu: number, index: number): number => this.helper(index),
        hostTime: (): void => this.beside.ask(processor),
      },
      arith: arithmetic,
    });
    this.core = coreExports(instance.exports, this.state, this.jumps, parts);
    this.contextChanged();
  }

  // --- what the architecture tells the engine
  /** A mode, a segment or CPL has changed. */
  contextChanged(): void {
    this.context = this.contexts.current(this.state);
  }
  /** There are too many, or another vCPU has found that: made code goes, which is known by their numbers. */
  private forgetContexts(): void {
    if (this.contextEpoch === this.contexts.epoch) this.contexts.clear();
    this.contextEpoch = this.contexts.epoch;
    this.code.dropAll();
    this.regions?.forget();
    this.contextChanged();
  }
  /** The context with this number is in force. */
  inContext = (id: number): boolean => this.context.id === id;
  /** The arithmetic flags at their RFLAGS places. */
  flags(): number {
    return this.core.flagsWord(this.state.base);
  }
  setFlags = (word: number): void => this.state.setFlags(word);
  /** A block was dropped, or all (null). */
  blockDropped(block: InterpreterBlock | null): void {
    if (block === null) return this.jumps.forget();
    this.jumps.drop(lowOf(block.key), highOf(block.key) >>> 0, block.context);
    if (block.address === this.state.u32[BLOCK]) this.overwrite.stop(block);
  }
  /** A region at an instruction pointer, as a number, was installed or has gone: it is looked up and counted anew. */
  regionChanged(key?: number, context = 0): void {
    if (key === undefined) return this.jumps.forget();
    this.jumps.drop(lowOf(key), highOf(key) >>> 0, context);
    for (let block = this.code.find(context, key, false); block !== null; block = block.other) {
      this.code.endLinks(block);
      this.maker.countAnew(block);
    }
  }

  /**
   * Runs until `budget` instructions are retired or events want a look (the attention word, a helper's wish). Returns
   * what is left of the budget.
   * @param early ends where the next block does not fit: what is left are some instructions fewer than it has
   * @param beyond instructions that {@link left} counts beside the budget
   */
  run(budget: number, early = false, beyond = 0): { end: RunEnd; left: number } {
    const { u32, i32, base } = this.state;
    let left = budget;
    if (this.contextEpoch !== this.contexts.epoch) this.forgetContexts();
    this.last = null;
    this.accesses.givenUp = false;
    while (left > 0) {
      const slice = Math.min(left, largestSlice);
      i32[BUDGET] = slice;
      this.beside.set(left - slice + beyond);
      this.shadow.begins();
      const code = this.core.enter(base, 0);
      let events = this.leave(code);
      this.shadow.settle();
      const rest = i32[BUDGET]!;
      left -= slice - rest;
      if (code === leave.budget && rest > 0 && left === rest) {
        if (early && !events && u32[ATTENTION] === 0) return { end: 'budget', left };
        // What is next is longer than what is left: a block at a time, or one instruction.
        while (left > 0 && !events && u32[ATTENTION] === 0) {
          if (this.breakpoints.stopsHere) return { end: 'events', left };
          const block = this.fitting(left);
          if (block !== null) {
            i32[BUDGET] = left;
            this.beside.set(beyond);
            this.shadow.begins();
            events = this.leave(this.core.enter(base, block.address));
            this.shadow.settle();
            left = i32[BUDGET]!;
            this.last = null;
            continue;
          }
          left--;
          this.shadow.beforeStep();
          events = this.step(left + beyond);
          if (this.accesses.givenUp) left++;
          else this.shadow.settle();
        }
      }
      if (events || u32[ATTENTION] !== 0) return { end: 'events', left };
    }
    return { end: 'budget', left: 0 };
  }

  /** A block that is next, was made before and is not longer than what is left; null: there is none. */
  private fitting(left: number): InterpreterBlock | null {
    if (this.breakpoints.active) return null;
    const block = this.mapped(this.ripKey(), false);
    return block === null || block.instructions > left ? null : block;
  }

  /** Instructions that `run` still has, exact in a helper (a device's callback). */
  get left(): number {
    return this.beside.instructions + this.state.i32[BUDGET]!;
  }

  /** Instructions retired in translated regions. */
  get translated(): number {
    return Number(this.state.get64('translated'));
  }

  /** Linear address of the next instruction, unsigned. */
  linearRip(): bigint {
    return BigInt.asUintN(64, linearOf(this.context, BigInt.asIntN(64, this.state.u64[RIP >> 1]!)));
  }
  /** Delivers the exception of breakpoints at rip, unless RF or a load of SS before it forbids that. */
  private breaks(): boolean {
    if ((this.state.u32[RFLAGS]! & RF) !== 0 || this.state.u32[SHADOW] === MOV_SS_SHADOW) return false;
    const bits = this.breakpoints.at(this.linearRip());
    if (bits === 0) return false;
    this.eventsAfterFault = this.processor.deliverBreakpoint(bits);
    return true;
  }
  /** One instruction within a run, by itself. */
  private stepHere(): boolean {
    const { i32 } = this.state;
    const budget = i32[BUDGET]!;
    const runBudget = this.beside.instructions;
    const before = this.shadow.beforeStep();
    const events = this.step(runBudget + budget - 1);
    this.beside.set(runBudget);
    i32[BUDGET] = this.accesses.givenUp ? budget : budget - 1;
    this.shadow.afterStep(before, budget - 1);
    return events;
  }
  /** An access that is made now belongs to an instruction, which can be given up. */
  get inInstruction(): boolean {
    return this.inHelper || this.accessRecord !== 0;
  }

  /**
   * Executes one instruction, in the interpreter. True = events want a look. A fault counts as executed here, an instruction
   * that was given up does not.
   * @param rest what `left` is to say meanwhile
   * @param forBranches {@link branched} will be asked for
   * @param forBlocks {@link endedBlock} will be asked for
   */
  step(rest = 0, forBranches = false, forBlocks = false): boolean {
    this.beside.set(rest);
    this.taken = false;
    this.last = null;
    this.accesses.givenUp = false;
    this.endedBlock = false;
    const block = this.block(true);
    if (block === null) return this.eventsAfterFault; // the fetch faulted and was delivered
    const { u32, i32, base } = this.state;
    const { mmu } = this.processor;
    const linear = this.breakpoints.embedderActive ? this.linearRip() : -1n;
    const resumes = u32[RFLAGS]! & RF; // it covers one instruction
    u32[RFLAGS] = u32[RFLAGS]! & ~RF;
    i32[BUDGET] = 1;
    this.last = block;
    if (forBranches)
      this.taken = takenBranchAt(this.codeAtRip(), this.context, this.flags(), this.state.u64[RCX >> 1]!);
    if (forBlocks) this.endedBlock = this.basicBlocks.endWith(block, this.context, () => this.codeAtRip());
    mmu.collecting = true;
    const code = this.core.enter(base, block.address);
    const events = code === leave.done ? false : this.leave(code);
    mmu.collecting = false;
    if (this.accesses.givenUp) {
      u32[RFLAGS] = u32[RFLAGS]! | resumes;
      this.endedBlock = false;
      return true;
    }
    // A string instruction that goes on is no new one: its breakpoint has been met.
    const goesOn = block.repeats && this.ripKey() === block.key;
    if (goesOn && (resumes !== 0 || this.breakpoints.guestActive)) u32[RFLAGS] = u32[RFLAGS]! | RF;
    if (goesOn && linear >= 0n) this.breakpoints.pass();
    else if (code !== leave.fault) this.breakpoints.executed(linear);
    return events || u32[PENDING] !== 0 || mmu.watches.met;
  }
  /** Did the last {@link step} end anywhere but at the next instruction, or the same one of a repetition? */
  get branched(): boolean {
    const { last } = this;
    const key = this.ripKey();
    return this.taken || last === null || (key !== moved(last.key, last.length) && !(last.repeats && key === last.key));
  }

  /** The last {@link step} did an element of a repeated string instruction that is not done. */
  get repeating(): boolean {
    return this.last?.repeats === true && this.ripKey() === this.last.key;
  }
  /** A repeated string instruction is next, as far as that can be told without a trace in the guest. */
  get atRepetition(): boolean {
    // Where breakpoints are, step() keeps RF itself, and they come after interrupts.
    return (
      !this.breakpoints.inGuestPageOf(this.linearRip()) && isRepeated(this.codeAtRip(), this.context.codeSize === 64)
    );
  }

  private codeAtRip(): Uint8Array {
    return this.pages.instructionAt(this.linearRip());
  }

  /** Does what generated code left for. True = events want a look. */
  private leave(code: number): boolean {
    this.leaves[code]!++;
    switch (code) {
      case leave.budget:
      case leave.attention:
      case leave.done:
        return false;
      case leave.lookup:
        return this.lookup();
      case leave.hot:
        this.hot();
        return false;
      case leave.fault:
        return this.fault();
      case leave.retry:
        return this.retry();
      case leave.refuse:
        return this.refused();
      case leave.profile:
        this.profile.taken(this.regions);
        return false;
      case leave.stop:
        this.state.i32[BUDGET]! += this.overwrite.restOf(this.code.at(this.state.u32[BLOCK]!));
        return false;
      case leave.exit:
        return true;
      default:
        throw new InternalError(`engine: the core module left with the unknown code ${code}`);
    }
  }

  /** The block at the instruction pointer was entered so often that a region of it pays. */
  private hot(): void {
    const key = this.ripKey();
    const block = this.mapped(key, false) ?? this.code.find(this.context.id, key, false);
    // A region that was not valid when the block was looked up (a page of it not accessed yet) may be so now.
    const region = this.regions?.find(this.context, key) ?? null;
    if (region !== null) return this.remember(block, region);
    if (block === null) throw new InternalError('engine: a block that is not there has become hot');
    if (block.quick && this.maker.isImpatient) return this.makeAgain(block);
    const entries = this.regions?.hot(block, this.context) ?? neverAgain;
    // What was made in haste has few records more: they matter where nothing else becomes of a block.
    if (block.quick && (this.regions === null || this.context.watched)) this.makeAgain(block);
    if (block.alive) this.askAgain(block, entries);
  }
  private makeAgain(block: InterpreterBlock): void {
    this.maker.makeAgain(block, this.context);
    this.jumps.drop(this.state.u32[RIP]!, this.state.u32[RIP + 1]!, this.context.id);
  }
  /** The block counts as hot after so many more entries. */
  private askAgain(block: InterpreterBlock, entries: number): void {
    this.code.setEntries(block, hotThreshold - entries); // counts are taken modulo 2^32
  }

  private refused(): boolean {
    // Regions begin with the stack's page (jit/region-memory.ts).
    if (this.processor.mmu.enterStack(this.state.u32[RSP]!, this.state.u32[RSP + 1]!)) return false;
    this.regions?.refused(this.context, this.ripKey());
    return this.goOnInBlock(true);
  }
  /** A region has left an instruction to the interpreter, which goes on there with a block. */
  private retry(): boolean {
    const { u32 } = this.state;
    const { context, jumps, regions } = this;
    const [low, high, key] = [u32[RIP]!, u32[RIP + 1]!, this.ripKey()];
    if (this.state.i32[BUDGET]! <= 0) return false;
    regions?.retried(context, key, Math.max(1, u32[RETRIES]!));
    u32[RETRIES] = 0;
    if (jumps.leadsToBlock(low, high, context.id)) return false;
    if (this.breakpoints.active || !this.isFetchable()) return this.stepHere();
    return this.goOnInBlock(regions?.find(context, key) !== null);
  }

  // --- code look-up
  private flushJumps(scope: FlushScope): void {
    if (typeof scope === 'string' || this.processor.mmu.fetches.wasEntered(scope / 4096)) this.jumps.flush();
  }
  /** Enters what the instruction pointer leads to in the jump cache. */
  private remember(block: InterpreterBlock | null, region: FoundRegion | null): void {
    const { u32 } = this.state;
    const entries = region === null ? (this.regions?.mayFind(this.context, block!.key) ?? 0) : 0;
    const passing = entries > 0;
    if (passing && this.code.entriesOf(block!) < 0) this.askAgain(block!, entries);
    const { id, flat } = this.context;
    this.jumps.set(u32[RIP]!, u32[RIP + 1]!, id, block, region, passing, flat);
  }
  /** What a flush has taken out of the jump cache stands there again, if its code is where it was. */
  private restored(): boolean {
    const { u32 } = this.state;
    const index = this.jumps.lost(u32[RIP]!, u32[RIP + 1]!, this.context.id);
    if (index < 0) return false;
    const region = this.jumps.regionAt(index);
    const block = this.jumps.blockAt(index);
    if (region !== null) {
      if (!region.alive || !this.isFetchable() || !this.pages.areMapped(region.pages)) return false;
    } else if (!block!.alive || !this.isMapped(block!)) return false;
    this.jumps.restore(index);
    return true;
  }
  private ripKey(): number {
    const { u32, i32 } = this.state;
    return addressOf(u32[RIP]!, i32[RIP + 1]!);
  }
  private lookup(): boolean {
    const { i32 } = this.state;
    if (this.contexts.isFull) this.forgetContexts();
    if (i32[BUDGET]! <= 0) return false; // the fetch, which may fault, is the next instruction's
    if (this.breakpoints.active && this.breakpoints.inPageOf(this.linearRip()))
      return this.breakpoints.stopsHere || this.stepHere();
    if (this.restored()) return false;
    const key = this.ripKey();
    const region = this.regions !== null && this.isFetchable() ? this.regions.find(this.context, key) : null;
    if (region === null) return this.goOnInBlock();
    this.remember(null, region);
    return false;
  }
  /** A block is next. @param beforeRegion it runs now, since the core would run a region; otherwise the core finds it */
  private goOnInBlock(beforeRegion = false): boolean {
    if (this.state.i32[BUDGET]! <= 0) return false;
    const block = this.block(false);
    if (block === null) {
      this.state.i32[BUDGET]!--; // a fault that was delivered counts as an instruction: nothing goes on for ever
      return this.eventsAfterFault;
    }
    if (!beforeRegion) {
      this.remember(block, null);
      return false;
    }
    const code = this.core.enter(this.state.base, block.address);
    return code === leave.budget ? this.stepHere() : this.leave(code);
  }

  /** The page at rip can be fetched from; now it is accessed. The segment's limit comes first. */
  private isFetchable(): boolean {
    if (!this.context.flat && this.ripKey() > this.context.csLimit) return false;
    this.locate();
    return this.processor.mmu.fetchPage(this.linearLow, this.linearHigh) >= 0;
  }
  /** The halves of the linear address at rip. */
  private locate(): void {
    const { u32, i32 } = this.state;
    const { context } = this;
    this.linearLow = context.codeSize === 64 ? u32[RIP]! : (context.csBase + u32[RIP]!) >>> 0;
    this.linearHigh = context.codeSize === 64 ? i32[RIP + 1]! : 0;
  }
  /** The interpreter's block at rip, made if need be; null = the fetch faulted and the fault was delivered. */
  private block(single: boolean): InterpreterBlock | null {
    if (this.breakpoints.active && this.breaks()) return null;
    const key = this.ripKey();
    const { context } = this;
    const known = this.mapped(key, single);
    if (known !== null) return known;
    const rip = this.state.u64[RIP >> 1]!;
    if (!context.flat && key > context.csLimit) {
      this.state.u32[FAULT_VECTOR] = GP;
      this.state.u32[FAULT_CODE] = 0;
      this.eventsAfterFault = this.processor.deliverFault();
      return null;
    }
    const made = this.maker.make(context, key, BigInt.asIntN(64, rip), single);
    if (made === null) this.eventsAfterFault = this.processor.deliverFault();
    return made;
  }

  /**
   * A device is about to be accessed. In the middle of a block that is put off: the block ends before the instruction, and
   * from then on blocks end with it. So what the device changes (an interrupt, a deadline) takes effect at the next
   * instruction, and time is exact.
   */
  deviceAccess(): void {
    if (this.accessRecord === 0) return;
    const block = this.code.at(this.state.u32[BLOCK]!);
    if (block === undefined) throw new InternalError('engine: a device access in a block that is not there');
    if (this.code.instructionAt(block, this.accessRecord) + 1 < block.instructions) throw putOff;
  }
  /** An access out of a block. 0 = a fault, or it was put off. */
  private access(record: number, make: () => boolean): number {
    this.accessRecord = record;
    try {
      return make() && !this.accesses.givenUp ? 1 : 0;
    } catch (thrown) {
      if (thrown === putOff) this.isPutOff = true;
      else if (thrown === exitRequest || this.processor.memory.failedWith(thrown)) this.accesses.giveUp();
      else throw thrown;
      return 0;
    } finally {
      this.accessRecord = 0;
    }
  }

  /** The block that was made before at a place (rip as a number), of the code that is there now. */
  private mapped(key: number, single: boolean): InterpreterBlock | null {
    const first = this.code.find(this.context.id, key, single);
    for (let block = first; block !== null; block = block.other) {
      if (!this.isMapped(block)) continue;
      if (block !== first) this.code.prefer(block);
      return block;
    }
    return null;
  }
  /** The block's code is still where it was when it was made. */
  private isMapped(block: InterpreterBlock): boolean {
    this.locate();
    const page = this.processor.mmu.fetchPage(this.linearLow, this.linearHigh);
    if (page < 0 || page + (this.linearLow & 0xfff) !== block.physical) return false;
    if (block.second < 0) return true;
    return this.pages.fetchAfter(this.linearLow, this.linearHigh, this.context.codeSize === 64) === block.second;
  }

  private helper(index: number): number {
    const next = addressOf(this.state.u32[RESULT0]!, this.state.i32[RESULT0 + 1]!);
    const shadow = this.state.u32[SHADOW]!;
    this.inHelper = true;
    try {
      const events = this.processor.runHelper(this.maker.helperNames[index]!, next);
      if (!this.accesses.givenUp) {
        this.shadow.begins();
        return events ? 1 : 0;
      }
    } catch (thrown) {
      if (thrown !== exitRequest && !this.processor.memory.failedWith(thrown)) throw thrown;
      this.accesses.giveUp();
    } finally {
      this.inHelper = false;
    }
    this.state.u32[SHADOW] = shadow;
    this.state.i32[BUDGET]!++;
    return 1;
  }

  private fault(): boolean {
    const { u32, i32, u64 } = this.state;
    const block = this.code.at(u32[BLOCK]!);
    if (block === undefined)
      throw new InternalError(`engine: a fault in a block that is not there, vector ${u32[FAULT_VECTOR]}`);
    const index = this.code.instructionAt(block, u32[RECORD]!);
    if (this.isPutOff) return this.endBefore(block, index);
    if (this.accesses.givenUp) {
      i32[BUDGET]! += block.instructions - index;
      u64[RIP >> 1] = this.code.ripOf(block, index);
      return true;
    }
    i32[BUDGET]! += block.instructions - index - 1; // the faulting one counts: nothing goes on for ever
    u64[RIP >> 1] = this.code.ripOf(block, index);
    if (u32[FAULT_VECTOR] === WATCHED) {
      i32[BUDGET]!++; // it has not been executed yet
      this.accesses.again();
      return this.stepHere();
    }
    return this.processor.deliverFault();
  }

  /** The instruction that was put off begins a block; what was paid for it and what follows is given back. */
  private endBefore(block: InterpreterBlock, index: number): boolean {
    const rip = this.code.ripOf(block, index);
    this.isPutOff = false;
    this.state.i32[BUDGET]! += block.instructions - index;
    this.state.u64[RIP >> 1] = rip;
    this.maker.ends.add(rip);
    this.code.drop(block);
    return false;
  }
}
