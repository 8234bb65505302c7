/**
 * One vCPU's memory management unit: fills the look-aside tables that the engines probe inline, and makes the accesses that
 * those tables do not answer: first touches, page-straddling ones, devices, ROM, pages with translated code.
 *
 * Linear addresses come as two 32-bit halves from the engines, and as one number from the helpers in src/system: unsigned
 * 32-bit outside 64-bit mode, signed in it (linear.ts); a non-canonical 64-bit value stays non-canonical as a number.
 * A fault is a value: the fields faultVector, faultErrorCode (NO_ERROR_CODE = none) and faultAddress, and the answer false.
 */
import type { CpuState } from '../state/cpu-state.ts';
import { offsetOf, tlbNeverOffset, tlbOffsets } from '../state/layout.ts';
import { AC, GP, PF_FAULT, SS_FAULT } from '../state/vectors.ts';
import { AccessLog } from './access-log.ts';
import { DataTables } from './data-tables.ts';
import { FetchLookAside } from './fetch-look-aside.ts';
import { LargePages } from './large-pages.ts';
import { LeftSpaces } from './left-spaces.ts';
import { highOf, lowOf, pageNumber } from './linear.ts';
import { indexOf } from './look-aside.ts';
import type { PageWatcher, PhysicalMemory } from './physical-memory.ts';
import { PAGING_4_LEVEL, PAGING_5_LEVEL, PageWalker, pagingMode } from './walk.ts';
import { type EmbedderWatch, type Watch, WatchList } from './watch.ts';

export type Intent = 'read' | 'write' | 'modify';
export type Bytes = 1 | 2 | 4 | 8 | 16;
/** The answer of {@link Mmu.resolve}. */
export type Resolution = 'memory' | 'device' | 'fault';

const word = (name: string) => offsetOf(name) >> 2;
const CPL = word('cpl');
const CR0 = word('cr0');
const CR3 = word('cr3');
const CR4 = word('cr4');
const EFER = word('efer');
const RFLAGS = word('rflagsRest');
const PDPTE = word('pdpte0');
const PKRU = word('pkru');
const PENDING = word('pendingDebug');
const SMM = word('smm');
const CS_ACCESS = word('csAccess');
const TLB_READ = word('tlbRead');
const TLB_WRITE = word('tlbWrite');
const FAULT_VECTOR = word('faultVector');
const FAULT_CODE = word('faultErrorCode');
const FAULT_ADDRESS = word('faultAddress');
const SCRATCH = word('scratch0');

const CR0_WP = 1 << 16;
const CR0_AM = 1 << 18;
const CR4_PSE = 1 << 4;
const CR4_PGE = 1 << 7;
const CR4_PCIDE = 1 << 17;
const CR4_SMEP = 1 << 20;
const CR4_SMAP = 1 << 21;
const CR4_PKE = 1 << 22;
const EFER_LMA = 1 << 10;
const EFER_NXE = 1 << 11;
const RFLAGS_AC = 1 << 18;
const ACCESS_L = 1 << 13;

const twoTo32 = 2 ** 32;

/** What a flush drops: everything, all but global pages, or what is known of one page (its linear address). */
export type FlushScope = 'all' | 'local' | number;

/** No vector: the access meets a data breakpoint, and its instruction must be executed by itself ({@link Mmu.collecting}). */
export const WATCHED = 0x100;

export class Mmu implements PageWatcher {
  readonly memory: PhysicalMemory;
  readonly walker: PageWalker;
  private readonly state: CpuState;
  private readonly u32: Uint32Array;
  private readonly tables: DataTables;
  private readonly left: LeftSpaces;
  private readonly large = new LargePages();
  /** The process-context identifier in force, or -1 where there are none. */
  private identifier = -1;
  private apicPage = -1;
  private alignmentChecks = false;
  /** From the high half of a canonical address on, all bits are alike: bits 63-47, with 5-level paging 63-56. */
  private signShift = 15;
  readonly watches = new WatchList();
  /** What the present instruction has accessed outside of RAM. */
  readonly accesses: AccessLog;
  /** One instruction is executed by itself: data breakpoints that it meets are noted in `pendingDebug`. */
  collecting = false;
  /** Told about every flush: caches keyed by linear address go with the look-aside tables. */
  onFlush: (scope: FlushScope) => void = () => {};

  /** The pages that instructions come from. */
  readonly fetches: FetchLookAside;

  // A prepared access: physical address of its first byte, bytes in the first page, physical address of the second page.
  private first = 0;
  private firstBytes = 0;
  private second = 0;
  /** Results of {@link load}. */
  low = 0;
  high = 0;

  constructor(state: CpuState, memory: PhysicalMemory, accesses = new AccessLog()) {
    this.accesses = accesses;
    this.state = state;
    this.u32 = state.u32;
    this.memory = memory;
    this.walker = new PageWalker(memory);
    this.tables = new DataTables(state, memory.pageFlags.length);
    this.fetches = new FetchLookAside(state);
    this.left = new LeftSpaces(this.tables, this.fetches, memory);
    memory.watchers.add(this);
    this.reconfigure();
    this.updatePrivilege();
  }

  /** Takes CR0, CR3, CR4, EFER and the PDPTE registers from the state; everything remembered is dropped. */
  reconfigure(): void {
    const { u32, walker } = this;
    const cr0 = u32[CR0]!;
    const cr4 = u32[CR4]!;
    const efer = u32[EFER]!;
    walker.mode = pagingMode(cr0, cr4, efer);
    this.signShift = walker.mode === PAGING_5_LEVEL ? 24 : 15;
    this.takeSpace();
    this.takeRoot();
    walker.writeProtect = (cr0 & CR0_WP) !== 0;
    walker.pageSizeExtension = (cr4 & CR4_PSE) !== 0;
    walker.noExecute = (efer & EFER_NXE) !== 0;
    walker.smep = (cr4 & CR4_SMEP) !== 0;
    walker.smap = (cr4 & CR4_SMAP) !== 0;
    walker.globalPages = (cr4 & CR4_PGE) !== 0;
    walker.protectionKeys = (cr4 & CR4_PKE) !== 0;
    walker.keyRights = u32[PKRU]!;
    this.flushAll();
    this.updatePrivilege();
  }
  private takeRoot(): void {
    const { u32, walker } = this;
    walker.root = ((u32[CR3]! & ~0xfff) >>> 0) + (walker.mode >= PAGING_4_LEVEL ? (u32[CR3 + 1]! & 0xff) * twoTo32 : 0);
    for (let i = 0; i < 8; i++) walker.pdpte[i] = u32[PDPTE + i]!;
    this.identifier = (u32[CR4]! & CR4_PCIDE) === 0 ? -1 : u32[CR3]! & 0xfff;
  }
  /**
   * After a load of CR3 (and the PDPTE registers): what is known of global pages stays.
   * @param keeps so does what is known of the new process-context identifier
   */
  rootChanged(keeps = false): void {
    const { walker, left, identifier } = this;
    const { root, keyRights } = walker;
    this.takeRoot();
    if (keeps && identifier === this.identifier && root === walker.root) return;
    if (identifier !== this.identifier) left.leave(identifier, root, keyRights);
    this.flushLocal();
    if (keeps) {
      left.enter(this.identifier, walker.root, keyRights);
      this.large.spaceChanged();
    } else left.forget(this.identifier);
  }
  /** Drops what is known of a process-context identifier, or of one page there; global pages may stay. */
  flushSpace(identifier: number, linear: number | null): void {
    if (identifier !== Math.max(0, this.identifier)) this.left.forget(identifier);
    else if (linear === null) this.flushLocal();
    else this.flushPage(linear);
  }
  /** All but what is known of global pages, whatever the process-context identifier. */
  flushSpaces(): void {
    this.left.forgetAll();
    this.flushLocal();
  }
  /** After a load of PKRU: the look-aside tables hold what it allows. */
  keyRightsChanged(): void {
    const { walker } = this;
    const rights = this.u32[PKRU]!;
    if (walker.keyRights === rights) return;
    walker.keyRights = rights;
    if (walker.protectionKeys) this.tables.flush(false);
  }

  /** After a change of CPL, EFLAGS.AC or CR0.AM: chooses the look-aside tables in force. */
  updatePrivilege(): void {
    const { u32 } = this;
    const user = u32[CPL] === 3;
    const ac = (u32[RFLAGS]! & RFLAGS_AC) !== 0;
    this.alignmentChecks = user && ac && (u32[CR0]! & CR0_AM) !== 0;
    this.tables.lifted.allow(ac);
    const base = this.state.base;
    if (this.alignmentChecks) {
      u32[TLB_READ] = base + tlbNeverOffset;
      u32[TLB_WRITE] = base + tlbNeverOffset;
    } else {
      u32[TLB_READ] = base + (user ? tlbOffsets.userRead : tlbOffsets.supervisorRead);
      u32[TLB_WRITE] = base + (user ? tlbOffsets.userWrite : tlbOffsets.supervisorWrite);
    }
  }

  /** Sets the data breakpoints. */
  watch(list: readonly Watch[]): void {
    const { watches } = this;
    if (watches.set(list)) this.forgetTables();
  }
  /** Sets the embedder's: what meets one stands in {@link watches}. */
  watchForEmbedder(list: readonly EmbedderWatch[]): void {
    if (this.watches.setEmbedders(list)) this.forgetTables();
  }
  /** An access of the engines: false, with the vector {@link WATCHED}, if its instruction is to be executed by itself. */
  private checkWatches(low: number, high: number, bytes: number, read: boolean, write: boolean): boolean {
    const { watches } = this;
    const bits = watches.hits(low, high, bytes, read, write);
    if (bits === 0) return true;
    if (!this.collecting) return this.fault(WATCHED, 0);
    this.u32[PENDING] = this.u32[PENDING]! | watches.take(bits);
    return true;
  }

  // --- flushing
  private forgetTables(): void {
    this.left.forgetAll();
    this.tables.flush(false);
  }
  flushAll(): void {
    this.forgetTables();
    this.fetches.flush();
    this.large.clear();
    this.onFlush('all');
  }
  /** All but what is known of global pages. */
  flushLocal(): void {
    this.tables.flush(true);
    this.fetches.flushLocal();
    this.onFlush('local');
  }
  /** INVLPG: drops what is remembered of the page that holds a linear address, and of a large one everything. */
  flushPage(linear: number): void {
    const [low, high] = [lowOf(linear), highOf(linear)];
    const bits = this.large.take(low, high);
    if (bits > 22) return this.flushAll();
    const bytes = 1 << bits;
    const first = (low & -bytes) >>> 0;
    this.tables.drop(first, high, bytes);
    this.fetches.drop(first, bytes);
    this.onFlush(bits === 12 ? pageNumber(low, high) * 4096 : 'local');
  }
  /** Writes to a page, at this place in the host's memory, must be seen from now on. */
  pageProtected(host: number): void {
    this.tables.forgetWrites(host);
  }
  writesProtected(): void {
    this.left.forgetAll();
    this.tables.flushWrites();
  }
  mapChanged(): void {
    this.takeSpace();
    this.flushAll();
  }
  /** The page of the local APIC's registers, or -1. It lies over whatever else is there. */
  setApicPage(page: number): void {
    if (page === this.apicPage) return;
    this.apicPage = page;
    this.mapChanged();
  }
  /** After a change of system-management mode: which physical memory there is. */
  takeSpace(): void {
    const { apicPage } = this;
    const covers = apicPage !== -1 && this.memory.hostOf(apicPage) !== -1;
    this.walker.setSpace((this.u32[SMM]! & 1) !== 0, covers ? apicPage : -1);
  }

  // --- the engines' slow path
  /**
   * A load that the look-aside table did not answer. The bytes arrive in scratch0, zero-extended to 64 bits.
   * @param intent 'modify' or 'write': the page must be writable (a store follows)
   * @returns false: a fault, in the state's fault fields
   */
  slowRead(low: number, high: number, bytes: Bytes, intent: Intent, stackSegment: boolean): boolean {
    const host = this.recovered(low, high, bytes, intent !== 'read');
    if (host >= 0) {
      this.u32[SCRATCH] = 0;
      this.u32[SCRATCH + 1] = 0;
      this.memory.u8.copyWithin(this.state.base + (SCRATCH << 2), host, host + bytes);
      return true;
    }
    if (this.across(low, high, bytes, intent !== 'read', false)) return true;
    if (!this.prepareData(low, high, bytes, intent !== 'read', stackSegment)) return false;
    if (this.watches.active && !this.checkWatches(low >>> 0, high | 0, bytes, true, intent !== 'read')) return false;
    this.transferIn(bytes);
    return true;
  }
  /** A store of the low bytes of scratch0. Both pages are probed before the first byte is written. */
  slowWrite(low: number, high: number, bytes: Bytes, _intent: Intent, stackSegment: boolean): boolean {
    const host = this.recovered(low, high, bytes, true);
    if (host >= 0) {
      const from = this.state.base + (SCRATCH << 2);
      this.memory.u8.copyWithin(host, from, from + bytes);
      return true;
    }
    if (this.across(low, high, bytes, true, true)) return true;
    if (!this.prepareData(low, high, bytes, true, stackSegment)) return false;
    if (this.watches.active && !this.checkWatches(low >>> 0, high | 0, bytes, false, true)) return false;
    this.transferOut(bytes);
    return true;
  }
  /** Host address of an access whose page the table in force has at its other place, or -1; it is at its own place then. */
  private recovered(low: number, high: number, bytes: number, write: boolean): number {
    const within = low & 0xfff;
    if (this.alignmentChecks || within + bytes > 4096) return -1;
    const user = this.u32[CPL] === 3;
    const table = this.tables.of(user, write);
    const page = (low - within) >>> 0;
    return table.recover(page, high) ? (table.addend(indexOf(page)) + (low >>> 0)) >>> 0 : -1;
  }
  private across(low: number, high: number, bytes: number, write: boolean, stores: boolean): boolean {
    if ((low & 0xfff) + bytes <= 4096 || this.alignmentChecks) return false;
    const field = this.state.base + (SCRATCH << 2);
    return this.tables.across(low, high, bytes, this.u32[CPL] === 3, write, stores, this.memory.u8, field);
  }
  /** Faults as the access would, without making it. */
  probe(low: number, high: number, bytes: number, intent: Intent, stackSegment: boolean): boolean {
    if (!this.prepareData(low, high, bytes, intent !== 'read', stackSegment)) return false;
    if (!this.watches.active || this.collecting) return true;
    return this.checkWatches(low >>> 0, high | 0, bytes, intent !== 'write', intent !== 'read');
  }
  /** What an access would meet: fills the look-aside table where it can, touches no device. */
  resolve(low: number, high: number, bytes: number, intent: Intent, stackSegment: boolean): Resolution {
    if (!this.prepareData(low, high, bytes, intent !== 'read', stackSegment)) return 'fault';
    const { memory } = this;
    if (memory.hostOf(Math.floor(this.first / 4096)) === -1) return 'device';
    if (this.firstBytes < bytes && memory.hostOf(Math.floor(this.second / 4096)) === -1) return 'device';
    return 'memory';
  }

  /**
   * Enters the page of a stack in its small table. The guest notices nothing: a page that was never written to stays out.
   * True if the table holds it now and did not before.
   */
  enterStack(low: number, high: number): boolean {
    low >>>= 0;
    high |= 0;
    const { walker, memory } = this;
    const user = this.u32[CPL] === 3;
    const table = this.tables.stackOf(user);
    const page = (low & ~0xfff) >>> 0;
    if (this.alignmentChecks || !this.isCanonical(high)) return false;
    if (table.find(page, high) >= 0 || !walker.peek(low, high, true, user, false, this.smapEnforced())) return false;
    const number = Math.floor(walker.physical / 4096);
    const host = memory.hostOf(number);
    if (host === -1) return false;
    if (!walker.writable || !walker.dirty) return false;
    // What SMAP lets through for the moment is no stack.
    if ((!user && walker.smap && walker.user) || (this.watches.active && this.watches.page(low, high))) return false;
    if (!memory.mapWrites(number)) return false;
    table.set(page, high, (host - page) | 0, walker.global);
    this.large.note(low, high, walker.pageBits);
    return true;
  }

  private prepareData(low: number, high: number, bytes: number, write: boolean, stack: boolean): boolean {
    low >>>= 0;
    high |= 0;
    if (!this.isCanonical(high)) return this.notCanonical(stack);
    if (this.alignmentChecks && bytes <= 8 && (low & (bytes - 1)) !== 0) return this.fault(AC, 0);
    const user = this.u32[CPL] === 3;
    return this.prepare(low, high, bytes, write, user, this.smapEnforced(), stack, true);
  }
  private smapEnforced(): boolean {
    return this.walker.smap && (this.u32[RFLAGS]! & RFLAGS_AC) === 0;
  }
  private isCanonical(high: number): boolean {
    const top = high >> this.signShift;
    return top === 0 || top === -1;
  }
  private notCanonical(stack: boolean): boolean {
    return this.fault(stack ? SS_FAULT : GP, 0);
  }
  private fault(vector: number, errorCode: number): false {
    this.u32[FAULT_VECTOR] = vector;
    this.u32[FAULT_CODE] = errorCode;
    return false;
  }
  private pageFault(low: number, high: number): false {
    this.u32[FAULT_ADDRESS] = low;
    this.u32[FAULT_ADDRESS + 1] = high;
    return this.fault(PF_FAULT, this.walker.errorCode);
  }

  /** Translates both ends of an access of at most a page. */
  private prepare(
    low: number,
    high: number,
    bytes: number,
    write: boolean,
    user: boolean,
    smap: boolean,
    stack: boolean,
    remember: boolean,
  ): boolean {
    const { walker } = this;
    if (!walker.walk(low, high, write, user, false, smap)) return this.pageFault(low, high);
    const within = low & 0xfff;
    const physical = walker.physical;
    this.first = physical + within;
    if (remember) this.fill(low, high, user);
    if (within + bytes <= 4096) {
      this.firstBytes = bytes;
      return true;
    }
    this.firstBytes = 4096 - within;
    let nextLow = low - within + 4096;
    let nextHigh = high;
    if (nextLow === twoTo32) {
      nextLow = 0;
      if (this.is64Bit()) {
        nextHigh = (high + 1) | 0;
        if (!this.isCanonical(nextHigh)) return this.notCanonical(stack);
      }
    }
    if (!walker.walk(nextLow, nextHigh, write, user, false, smap)) return this.pageFault(nextLow, nextHigh);
    this.second = walker.physical;
    if (remember) this.fill(nextLow, nextHigh, user);
    return true;
  }
  private is64Bit(): boolean {
    return (this.u32[EFER]! & EFER_LMA) !== 0 && (this.u32[CS_ACCESS]! & ACCESS_L) !== 0;
  }

  /** Remembers the page of the last walk. */
  private fill(low: number, high: number, user: boolean): void {
    if (this.alignmentChecks) return;
    const { walker, memory, tables } = this;
    const host = memory.hostOf(Math.floor(walker.physical / 4096));
    if (host === -1) return;
    const linear = (low & ~0xfff) >>> 0;
    if (this.watches.active && this.watches.page(low, high)) return;
    const addend = (host - linear) | 0;
    if (!user && walker.smap) {
      tables.lifted.forget(linear, high);
      if (walker.user) tables.lifted.note(linear, high);
    }
    this.large.note(low, high, walker.pageBits);
    // Of a space that comes back, the pages that were wanted are remembered and no others.
    const around = !this.watches.active && (walker.global || this.identifier < 0);
    tables.enter(linear, high, addend, user, walker, memory, around);
  }

  private transferIn(bytes: number): void {
    const { u32, memory } = this;
    const at = SCRATCH << 2;
    u32[SCRATCH] = 0;
    u32[SCRATCH + 1] = 0;
    if (this.firstBytes >= bytes) {
      const { first } = this;
      if (bytes === 4) u32[SCRATCH] = memory.read32(first);
      else if (bytes === 1) u32[SCRATCH] = memory.read8(first);
      else if (bytes === 2) u32[SCRATCH] = memory.read16(first);
      else memory.readInto(first, bytes, this.state.u8, at);
      return;
    }
    memory.readInto(this.first, this.firstBytes, this.state.u8, at);
    if (this.accesses.stopped) return;
    memory.readInto(this.second, bytes - this.firstBytes, this.state.u8, at + this.firstBytes);
  }
  private transferOut(bytes: number): void {
    const { u32, memory } = this;
    const at = SCRATCH << 2;
    if (this.firstBytes >= bytes) {
      const { first } = this;
      if (bytes === 4) memory.write32(first, u32[SCRATCH]!);
      else if (bytes === 1) memory.write8(first, u32[SCRATCH]!);
      else if (bytes === 2) memory.write16(first, u32[SCRATCH]!);
      else memory.writeFrom(first, bytes, this.state.u8, at);
      return;
    }
    memory.writeFrom(this.first, this.firstBytes, this.state.u8, at);
    if (this.accesses.stopped) return;
    memory.writeFrom(this.second, bytes - this.firstBytes, this.state.u8, at + this.firstBytes);
  }

  // --- instruction fetch
  /** The physical address of the page that instructions come from, or -1 = a fault, in the fault fields. */
  fetchPage(low: number, high: number): number {
    low >>>= 0;
    high |= 0;
    // Branches check their targets; execution runs into the hole between the halves nevertheless.
    if (!this.isCanonical(high)) {
      this.notCanonical(false);
      return -1;
    }
    const user = this.u32[CPL] === 3;
    const { fetches, walker } = this;
    const known = fetches.find(low, high, user);
    if (known >= 0) return fetches.pageAt(known);
    if (!walker.walk(low, high, false, user, true, false)) {
      this.pageFault(low, high);
      return -1;
    }
    fetches.set(low, high, user, walker.physical, walker.global);
    this.large.note(low, high, walker.pageBits);
    return walker.physical;
  }
  /**
   * The same for those who look ahead: the guest notices nothing. -1 also if the page was never accessed, so that its
   * accessed flag is set when the guest gets there and not before.
   */
  peekPage(low: number, high: number): number {
    low >>>= 0;
    high |= 0;
    if (!this.isCanonical(high)) return -1;
    const known = this.fetches.find(low, high, this.u32[CPL] === 3);
    if (known >= 0) return this.fetches.pageAt(known);
    return this.walker.peek(low, high, false, this.u32[CPL] === 3, true, false) ? this.walker.physical : -1;
  }
  /** As {@link peekPage}, and the page is remembered as if it had been fetched from. */
  enterPage(low: number, high: number): number {
    const page = this.peekPage(low, high);
    const user = this.u32[CPL] === 3;
    if (page >= 0 && this.fetches.find(low, high, user) < 0) {
      this.fetches.set(low >>> 0, high | 0, user, page, this.walker.global);
      this.large.note(low >>> 0, high | 0, this.walker.pageBits);
    }
    return page;
  }

  // --- the helpers' way
  /**
   * Translates an access of the helpers in src/system.
   * @param implicit a supervisor access whatever the CPL: descriptor tables, TSS, stacks of inner rings
   */
  prepareLinear(linear: number, bytes: number, write: boolean, implicit: boolean, stack: boolean): boolean {
    const low = lowOf(linear);
    const high = highOf(linear) | 0;
    if (high !== 0 && !(this.isCanonical(high) && this.isLongMode())) return this.notCanonical(stack);
    const user = !implicit && this.u32[CPL] === 3;
    if (this.alignmentChecks && !implicit && bytes <= 8 && (low & (bytes - 1)) !== 0) return this.fault(AC, 0);
    const smap = implicit ? this.walker.smap : this.smapEnforced();
    this.hostDirect = this.inTables(low, high, bytes, write, user);
    if (this.hostDirect !== -1) return true;
    if (!this.prepare(low, high, bytes, write, user, smap, stack, true)) return false;
    const { watches } = this;
    if (watches.active) this.u32[PENDING]! |= watches.take(watches.hits(low, high, bytes, !write, write));
    return true;
  }
  /** Offset in the buffer of the prepared access, or -1 = it goes through physical memory. */
  private hostDirect = -1;

  /**
   * What the look-aside tables say, as an offset in the buffer, or -1. SMAP tells implicit accesses from others: while it is
   * lifted, the supervisor's tables may hold pages that implicit accesses must not use, and answer nobody here.
   */
  private inTables(low: number, high: number, bytes: number, write: boolean, user: boolean): number {
    if ((low & 0xfff) + bytes > 4096 || this.alignmentChecks || (!user && this.tables.lifted.inForce)) return -1;
    const table = this.tables.of(user, write);
    const index = table.find((low & ~0xfff) >>> 0, high);
    return index < 0 ? -1 : (table.addend(index) + low) >>> 0;
  }
  /** Offset in the buffer of bytes that a helper may read or write there without looking further, or -1. */
  direct(linear: number, bytes: number, write: boolean, implicit = false): number {
    const high = highOf(linear) | 0;
    if (high !== 0 && !(this.isCanonical(high) && this.isLongMode())) return -1;
    return this.inTables(lowOf(linear), high, bytes, write, !implicit && this.u32[CPL] === 3);
  }

  private isLongMode(): boolean {
    return (this.u32[EFER]! & EFER_LMA) !== 0;
  }

  /** A load for a helper: into `low` and `high`, zero-extended. */
  load(linear: number, bytes: 1 | 2 | 4 | 8, implicit: boolean, stack = false): boolean {
    if (!this.prepareLinear(linear, bytes, false, implicit, stack)) return false;
    const { memory, hostDirect } = this;
    this.high = 0;
    if (hostDirect !== -1) {
      if (bytes === 1) this.low = memory.u8[hostDirect]!;
      else if (bytes === 2) this.low = memory.view.getUint16(hostDirect, true);
      else this.low = memory.view.getUint32(hostDirect, true);
      if (bytes === 8) this.high = memory.view.getUint32(hostDirect + 4, true);
      return true;
    }
    this.transferIn(bytes);
    this.low = this.u32[SCRATCH]!;
    if (bytes === 8) this.high = this.u32[SCRATCH + 1]!;
    return true;
  }
  /** A store for a helper. */
  store(linear: number, bytes: 1 | 2 | 4 | 8, low: number, high: number, implicit: boolean, stack = false): boolean {
    if (!this.prepareLinear(linear, bytes, true, implicit, stack)) return false;
    const { memory, hostDirect } = this;
    if (hostDirect !== -1) {
      if (bytes === 1) memory.u8[hostDirect] = low;
      else if (bytes === 2) memory.view.setUint16(hostDirect, low, true);
      else memory.view.setUint32(hostDirect, low, true);
      if (bytes === 8) memory.view.setUint32(hostDirect + 4, high, true);
      return true;
    }
    this.u32[SCRATCH] = low;
    this.u32[SCRATCH + 1] = high;
    this.transferOut(bytes);
    return true;
  }
}
