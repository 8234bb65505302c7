/**
 * One vCPU's architectural state with names, and what its helpers work with. No semantics here: those are functions over a
 * Processor, one noun per file.
 *
 * Addresses (RIP, RSP, bases) are numbers, see src/mmu/linear.ts; 64-bit data are BigInts.
 */
import type { AccessLog } from '../mmu/access-log.ts';
import { addressOf, fitsLinear, highOf, type LinearBits, lowOf, moved, sumOf } from '../mmu/linear.ts';
import { Mmu } from '../mmu/mmu.ts';
import type { PhysicalMemory } from '../mmu/physical-memory.ts';
import type { CpuState } from '../state/cpu-state.ts';
import { offsetOf, segmentNames } from '../state/layout.ts';
import { UD } from '../state/vectors.ts';
import type { CpuModel } from './cpu-models.ts';
import type {
  Embedder,
  Engine,
  Hypercalls,
  LocalApic,
  Paravirt,
  Ports,
  RandomNumbers,
  TimeStampCounter,
} from './engine.ts';
import { GuestFault, generalProtection } from './fault.ts';
import { FrameBuffer } from './frame-buffer.ts';
import { LinearMemory } from './linear-memory.ts';
import { MsrTable } from './msr-table.ts';
import { ACCESS_DB, ACCESS_L, CS, FS, GS, LDTR, SegmentRegister, SS, TR } from './segment-register.ts';

export const CR0_PE = 1 << 0;
export const CR0_MP = 1 << 1;
export const CR0_EM = 1 << 2;
export const CR0_TS = 1 << 3;
export const CR0_ET = 1 << 4;
export const CR0_NE = 1 << 5;
export const CR0_WP = 1 << 16;
export const CR0_AM = 1 << 18;
export const CR0_NW = 1 << 29;
export const CR0_CD = 1 << 30;
export const CR0_PG = 1 << 31;
export const CR4_VME = 1 << 0;
export const CR4_PVI = 1 << 1;
export const CR4_TSD = 1 << 2;
export const CR4_DE = 1 << 3;
export const CR4_PSE = 1 << 4;
export const CR4_PAE = 1 << 5;
export const CR4_MCE = 1 << 6;
export const CR4_PGE = 1 << 7;
export const CR4_PCE = 1 << 8;
export const CR4_OSFXSR = 1 << 9;
export const CR4_OSXMMEXCPT = 1 << 10;
export const CR4_UMIP = 1 << 11;
export const CR4_LA57 = 1 << 12;
export const CR4_FSGSBASE = 1 << 16;
export const CR4_PCIDE = 1 << 17;
export const CR4_OSXSAVE = 1 << 18;
export const CR4_SMEP = 1 << 20;
export const CR4_SMAP = 1 << 21;
export const CR4_PKE = 1 << 22;
export const EFER_SCE = 1 << 0;
export const EFER_LME = 1 << 8;
export const EFER_LMA = 1 << 10;
export const EFER_NXE = 1 << 11;

export const RFLAGS_ARITHMETIC = 0x8d5;
export const RFLAGS_TF = 0x100;
export const RFLAGS_IF = 0x200;
export const RFLAGS_DF = 0x400;
export const RFLAGS_IOPL = 0x3000;
export const RFLAGS_NT = 0x4000;
export const RFLAGS_RF = 0x1_0000;
export const RFLAGS_VM = 0x2_0000;
export const RFLAGS_AC = 0x4_0000;
export const RFLAGS_VIF = 0x8_0000;
export const RFLAGS_VIP = 0x10_0000;
export const RFLAGS_ID = 0x20_0000;
/**
 * The flags that the field rflagsRest holds besides bit 1, which is always set. RF only keeps instruction breakpoints from
 * hitting for one instruction, so it is there while there are any.
 */
const REST =
  RFLAGS_TF |
  RFLAGS_IF |
  RFLAGS_DF |
  RFLAGS_IOPL |
  RFLAGS_NT |
  RFLAGS_VM |
  RFLAGS_AC |
  RFLAGS_VIF |
  RFLAGS_VIP |
  RFLAGS_ID;

const word = (name: string) => offsetOf(name) >> 2;
const RIP = word('rip');
const RSP = word('rsp');
const GPR = word('rax');
const REST_AT = word('rflagsRest');
const CPL = word('cpl');
const CR0 = word('cr0');
const CR4 = word('cr4');
const EFER = word('efer');
const SHADOW = word('interruptShadow');
const ARGUMENT = word('argument0');
const GDTR_BASE = word('gdtrBase');
const GDTR_LIMIT = word('gdtrLimit');
const IDTR_BASE = word('idtrBase');
const IDTR_LIMIT = word('idtrLimit');

/** A range of ports that a debug register names, and its bit in DR6. */
export interface PortBreakpoint {
  readonly first: number;
  readonly last: number;
  readonly bit: number;
}

/** What a CPU is connected to. */
export interface Surroundings {
  readonly engine: Engine;
  readonly ports: Ports;
  readonly tsc: TimeStampCounter;
  readonly random: RandomNumbers;
  readonly apic: LocalApic | null;
  /** What this processor calls itself, and which features it has. */
  readonly model: CpuModel;
  /** Which MSRs are handed over or kept from the guest; all are the guest's if left out. */
  readonly msrs?: MsrTable;
  /** Who answers for them, and hypercalls; nobody if left out, they fault then. */
  readonly embedder?: Embedder;
  /** What instructions access outside of RAM; the processor has one of its own otherwise. */
  readonly accesses?: AccessLog;
  /** #UD if left out. */
  readonly hypercalls?: Hypercalls;
  /** KVM's interface; there is none if left out. */
  readonly paravirt?: Paravirt | null;
  /** Number of this CPU (its APIC id), and how many there are. */
  readonly index: number;
  readonly cpus: number;
}

export class Processor {
  readonly state: CpuState;
  readonly memory: PhysicalMemory;
  readonly mmu: Mmu;
  readonly linear: LinearMemory;
  /** By encoding, then LDTR and TR. */
  readonly segments: readonly SegmentRegister[];
  readonly engine: Engine;
  readonly ports: Ports;
  readonly tsc: TimeStampCounter;
  readonly random: RandomNumbers;
  readonly apic: LocalApic | null;
  readonly model: CpuModel;
  readonly msrs: MsrTable;
  readonly embedder: Embedder | null;
  readonly hypercalls: Hypercalls;
  readonly paravirt: Paravirt | null;
  readonly features: ReadonlySet<string>;
  readonly index: number;
  readonly cpus: number;
  /** What a Stack collects. */
  readonly frame = new FrameBuffer();
  /** Instruction pointer after the instruction whose helper is running. */
  next = 0;
  /** Bits of DR6 for the debug exception that is about to be delivered as a fault: a breakpoint, general detect. */
  debugCause = 0;
  /** The debug exception that is being delivered is a fault that goes on with its instruction: general detect. */
  resumesAfterDebug = false;
  /** The event that is being delivered came between two elements of a repeated string instruction. */
  repeats = false;
  /** An IN of so many bytes was given up: RIP behind it is `next`. 0 = nothing is known of one. */
  awaitedIn: 0 | 1 | 2 | 4 = 0;
  /** INS or OUTS has stopped between two elements; whoever delivers the next event clears it. */
  stoppedInside = false;
  /** From the debug registers (debug.ts). */
  watchedPorts: readonly PortBreakpoint[] = [];
  /** There are instruction breakpoints, so that RF matters. */
  keepsResumeFlag = false;
  /** The INT3 at rip is the embedder's, who is told of it (guest debugging). */
  embedderTakesInt3: () => boolean = () => false;
  /** SYSCALL or SYSRET has settled whether a single-step trap follows. */
  stepSettled = false;
  /** Events delivered so far: an instruction that has delivered one takes no single-step trap. */
  deliveries = 0;
  private readonly u32: Uint32Array;
  private readonly i32: Int32Array;

  constructor(state: CpuState, memory: PhysicalMemory, around: Surroundings) {
    this.state = state;
    this.u32 = state.u32;
    this.i32 = state.i32;
    this.memory = memory;
    this.mmu = new Mmu(state, memory, around.accesses);
    this.linear = new LinearMemory(state, this.mmu);
    this.segments = segmentNames.map((name) => new SegmentRegister(state, name));
    this.engine = around.engine;
    this.ports = around.ports;
    this.tsc = around.tsc;
    this.random = around.random;
    this.apic = around.apic;
    this.model = around.model;
    this.features = around.model.features;
    this.msrs = around.msrs ?? new MsrTable();
    this.embedder = around.embedder ?? null;
    this.hypercalls = around.hypercalls ?? 'fault';
    this.paravirt = around.paravirt ?? null;
    this.mmu.walker.gigabytePages = this.features.has('gbpages');
    this.index = around.index;
    this.cpus = around.cpus;
  }

  // --- general registers
  get rip(): number {
    return addressOf(this.u32[RIP]!, this.i32[RIP + 1]!);
  }
  set rip(value: number) {
    this.u32[RIP] = lowOf(value);
    this.i32[RIP + 1] = highOf(value);
  }
  /** RSP as an address. */
  get rsp(): number {
    return addressOf(this.u32[RSP]!, this.i32[RSP + 1]!);
  }
  get rspLow(): number {
    return this.u32[RSP]!;
  }
  get rspHigh(): number {
    return this.u32[RSP + 1]!;
  }
  /** Writes the stack pointer as a push does: the low 16 or 32 bits (zero-extended), or all 64. */
  setStackPointer(value: number, width: 16 | 32 | 64): void {
    const { u32 } = this;
    if (width === 16) u32[RSP] = (u32[RSP]! & 0xffff_0000) | (value & 0xffff);
    else {
      u32[RSP] = lowOf(value);
      u32[RSP + 1] = width === 64 ? highOf(value) : 0;
    }
  }
  /** The low 32 bits of a general register. */
  gpr32(index: number): number {
    return this.u32[GPR + index * 2]!;
  }
  /** The high 32 bits of a general register. */
  gprHigh(index: number): number {
    return this.u32[GPR + index * 2 + 1]!;
  }
  /** Writes a general register's low `width` bits as instructions do. */
  setGpr(index: number, width: 8 | 16 | 32 | 64, low: number, high = 0): void {
    const at = GPR + index * 2;
    const { u32 } = this;
    if (width === 8) u32[at] = (u32[at]! & ~0xff) | (low & 0xff);
    else if (width === 16) u32[at] = (u32[at]! & ~0xffff) | (low & 0xffff);
    else {
      u32[at] = low;
      u32[at + 1] = width === 64 ? high : 0;
    }
  }

  // --- arguments of the running helper
  /** The low 32 bits of an argument, unsigned. */
  argument(index: number): number {
    return this.u32[ARGUMENT + index * 2]!;
  }
  argumentHigh(index: number): number {
    return this.u32[ARGUMENT + index * 2 + 1]!;
  }
  /** All 64 bits as an address. */
  argumentAddress(index: number): number {
    return addressOf(this.u32[ARGUMENT + index * 2]!, this.i32[ARGUMENT + index * 2 + 1]!);
  }
  argument64(index: number): bigint {
    return this.state.u64[(ARGUMENT >> 1) + index]!;
  }

  // --- modes
  get cr0(): number {
    return this.u32[CR0]!;
  }
  get cr4(): number {
    return this.u32[CR4]!;
  }
  get efer(): number {
    return this.u32[EFER]!;
  }
  get protectedMode(): boolean {
    return (this.u32[CR0]! & CR0_PE) !== 0;
  }
  get virtual8086(): boolean {
    return (this.u32[REST_AT]! & RFLAGS_VM) !== 0;
  }
  /** Real or virtual-8086 mode: selectors are paragraphs. */
  get realAddressing(): boolean {
    return (this.u32[CR0]! & CR0_PE) === 0 || (this.u32[REST_AT]! & RFLAGS_VM) !== 0;
  }
  /** IA-32e mode is active (64-bit or compatibility mode). */
  get longMode(): boolean {
    return (this.u32[EFER]! & EFER_LMA) !== 0;
  }
  get code64(): boolean {
    return (this.u32[EFER]! & EFER_LMA) !== 0 && (this.cs.access & ACCESS_L) !== 0;
  }
  get cpl(): number {
    return this.u32[CPL]!;
  }
  /** Changes the privilege level; whoever does so tells the engine as well. */
  setCpl(cpl: number): void {
    this.u32[CPL] = cpl;
    this.mmu.updatePrivilege();
  }
  get iopl(): number {
    return (this.u32[REST_AT]! >> 12) & 3;
  }
  get interruptShadow(): number {
    return this.u32[SHADOW]!;
  }
  set interruptShadow(value: number) {
    this.u32[SHADOW] = value;
  }
  /** Width of the stack pointer. */
  get stackWidth(): 16 | 32 | 64 {
    if (this.code64) return 64;
    return (this.ss.access & ACCESS_DB) !== 0 ? 32 : 16;
  }

  // --- flags
  get rflags(): number {
    return this.engine.flags() | this.u32[REST_AT]! | 2;
  }
  /** The flags without the arithmetic ones. */
  get rflagsRest(): number {
    return this.u32[REST_AT]!;
  }
  /** Replaces all of RFLAGS. */
  setRflags(value: number): void {
    this.engine.setFlags(value & RFLAGS_ARITHMETIC);
    this.setRflagsRest(value);
  }
  setRflagsRest(value: number): void {
    const old = this.u32[REST_AT]!;
    const made = (value & (this.keepsResumeFlag ? REST | RFLAGS_RF : REST)) | 2;
    this.u32[REST_AT] = made;
    const changed = old ^ made;
    if ((changed & RFLAGS_AC) !== 0) this.mmu.updatePrivilege();
    if ((changed & (RFLAGS_VM | RFLAGS_IOPL | RFLAGS_TF | RFLAGS_AC)) !== 0) this.engine.contextChanged();
  }

  // --- segments and tables
  get cs(): SegmentRegister {
    return this.segments[CS]!;
  }
  get ss(): SegmentRegister {
    return this.segments[SS]!;
  }
  get ldtr(): SegmentRegister {
    return this.segments[LDTR]!;
  }
  get tr(): SegmentRegister {
    return this.segments[TR]!;
  }
  get gdtrBase(): number {
    return addressOf(this.u32[GDTR_BASE]!, this.i32[GDTR_BASE + 1]!);
  }
  get gdtrLimit(): number {
    return this.u32[GDTR_LIMIT]!;
  }
  get idtrBase(): number {
    return addressOf(this.u32[IDTR_BASE]!, this.i32[IDTR_BASE + 1]!);
  }
  get idtrLimit(): number {
    return this.u32[IDTR_LIMIT]!;
  }
  /** Linear address of a place in a system structure (GDT, IDT, TSS). */
  systemLinear(base: number, offset: number): number {
    return this.longMode ? moved(base, offset) : (lowOf(base) + offset) >>> 0;
  }
  /** Offset in a segment, as halves -> linear address, without checks. */
  linearOf(segment: number, low: number, high: number): number {
    if (!this.code64) return (this.segments[segment]!.baseLow + low) >>> 0;
    if (segment !== FS && segment !== GS) return addressOf(low, high | 0);
    const { baseLow, baseHigh } = this.segments[segment]!;
    return sumOf(low, high, baseLow, baseHigh);
  }
  /** May code run at an address, may data lie there, in 64-bit mode as it is set up now? */
  isCanonical(address: number): boolean {
    return fitsLinear(address, (this.u32[CR4]! & CR4_LA57) === 0 ? 48 : 57);
  }
  /** May a register hold an address (a base, an entry point)? What 5-level paging could reach may, whatever CR4 says. */
  isCanonicalBase(address: number): boolean {
    return fitsLinear(address, this.baseBits);
  }
  get baseBits(): LinearBits {
    return this.features.has('la57') ? 57 : 48;
  }

  // --- faults
  /** An exception whose error code names a selector. */
  selectorFault(vector: number, selector: number): GuestFault {
    return new GuestFault(vector, (selector & 0xfffc) | this.linear.external);
  }
  /** An error code of zero, but for the EXT bit. */
  zeroFault(vector: number): GuestFault {
    return new GuestFault(vector, this.linear.external);
  }
  /** #GP(0) unless CPL is 0. */
  requireCpl0(): void {
    if (this.cpl !== 0) throw generalProtection();
  }
  /** #UD in real and virtual-8086 mode. */
  requireProtectedMode(): void {
    if (this.realAddressing) throw new GuestFault(UD);
  }
  /** The instruction is done. */
  advance(): void {
    this.rip = this.next;
  }
}
