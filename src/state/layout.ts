/**
 * The layout of one vCPU's block in the VM's linear memory: every field once, with its offset, type and API id.
 *
 * Offsets, typed views, snapshots and the API's register ids come from this table; adding a register is one row here.
 * All offsets are relative to the vCPU's base address, so that two vCPUs differ in that base alone and translated code
 * is shared by them. The first 64 KiB are addressed by 16-bit offsets in the interpreter's records: registers, value
 * slots and run control live there; the translation look-aside tables follow.
 */

/** How a field is stored. `f80` is 16 bytes: significand (u64), sign and exponent (u16). */
export type FieldType = 'u32' | 'u64' | 'v128' | 'f80';

/** Who may write a register: the embedder and the guest, the embedder alone, nobody. */
export type RegisterAccess = 'rw' | 'ro-for-guest' | 'ro';

export interface Field {
  readonly name: string;
  readonly type: FieldType;
  readonly offset: number;
  /** Register set of the VM API, or null for a field that is internal to the engines. */
  readonly set: RegisterSet | null;
  /** The register's number in its set: the rows of a set are counted, so a new one goes behind the others of its set. */
  readonly number: number;
  readonly access: RegisterAccess;
}

export type RegisterSet = 'gpr' | 'segment' | 'table' | 'control' | 'debug' | 'msr' | 'xcr' | 'x87' | 'sse' | 'event';

const sizes: Record<FieldType, number> = { u32: 4, u64: 8, v128: 16, f80: 16 };

const gprNames = [
  'rax',
  'rcx',
  'rdx',
  'rbx',
  'rsp',
  'rbp',
  'rsi',
  'rdi',
  'r8',
  'r9',
  'r10',
  'r11',
  'r12',
  'r13',
  'r14',
  'r15',
] as const;
/** Segment registers in the order of their encodings, then the two system segments. */
export const segmentNames = ['es', 'cs', 'ss', 'ds', 'fs', 'gs', 'ldtr', 'tr'] as const;
export type SegmentName = (typeof segmentNames)[number];

type Row = readonly [name: string, type: FieldType, set: RegisterSet | null, access?: RegisterAccess];

function rows(): Row[] {
  const table: Row[] = [];
  const add = (set: RegisterSet | null, type: FieldType, ...names: string[]) => {
    for (const name of names) table.push([name, type, set]);
  };
  add('gpr', 'u64', ...gprNames);
  add('event', 'u64', 'rip');
  // Lazy arithmetic flags, see src/ir/flags.ts: what produced them and from which operands.
  add(null, 'u64', 'flagA', 'flagB');
  add(null, 'u32', 'flagKind');
  // RFLAGS without CF PF AF ZF SF OF: those are in the lazy flags. DF, IF, TF, IOPL, NT, VM, AC, VIF, VIP, ID are here; RF
  // while there are instruction breakpoints.
  add('event', 'u32', 'rflagsRest');
  add('x87', 'u32', 'fcw', 'fsw', 'ftw', 'fop');
  add('x87', 'u64', 'fip', 'fdp');
  add('x87', 'u32', 'fcs', 'fds');
  // ftw is abridged: bit i set = physical register i is in use. fsw holds TOP in bits 11-13.
  for (let i = 0; i < 8; i++) add('x87', 'f80', `fpr${i}`);
  // Where an x87 instruction keeps its memory operand (directly after the registers), what its conversion raised, and
  // whether its result is to be stored: no unmasked exception forbids it.
  add(null, 'f80', 'x87Operand');
  add(null, 'u32', 'x87Raised', 'x87Done');
  // 1: arithmetic rounds to doubles, by the embedder's choice.
  add(null, 'u32', 'x87Fast');
  for (let i = 0; i < 16; i++) add('sse', 'v128', `xmm${i}`);
  for (let i = 0; i < 16; i++) add('sse', 'v128', `ymmHigh${i}`);
  add('sse', 'u32', 'mxcsr');
  // While an instruction of two vector operations runs: bit 31, and the exceptions that they have raised.
  add(null, 'u32', 'sseRaised');
  // Segments: base, then what the descriptor says. `limit` is in bytes; `access` holds descriptor bits 8-15 and 20-23
  // (type, S, DPL, P, AVL, L, D/B, G) in bits 0-7 and 12-15, plus bit 16 = usable.
  for (const name of segmentNames) {
    table.push([`${name}Base`, 'u64', 'segment']);
    add('segment', 'u32', `${name}Selector`, `${name}Limit`, `${name}Access`);
    // Checked range of offsets for data accesses outside 64-bit mode: low <= offset && offset + size - 1 <= high.
    // read range and write range; an unusable or unreadable segment has low = 1, high = 0.
    add(null, 'u32', `${name}ReadLow`, `${name}ReadHigh`, `${name}WriteLow`, `${name}WriteHigh`);
  }
  add('table', 'u64', 'gdtrBase', 'idtrBase');
  add('table', 'u32', 'gdtrLimit', 'idtrLimit');
  add('control', 'u64', 'cr0', 'cr2', 'cr3', 'cr4', 'cr8', 'efer');
  add('xcr', 'u64', 'xcr0');
  add('control', 'u32', 'pkru');
  // The page-directory-pointer registers of PAE paging, loaded with CR3.
  add('control', 'u64', 'pdpte0', 'pdpte1', 'pdpte2', 'pdpte3');
  add('debug', 'u64', 'dr0', 'dr1', 'dr2', 'dr3', 'dr6', 'dr7');
  add(
    'msr',
    'u64',
    'star',
    'lstar',
    'cstar',
    'sfmask',
    'kernelGsBase',
    'tscAux',
    'tscOffset',
    'apicBase',
    'pat',
    'miscEnable',
  );
  add('msr', 'u64', 'sysenterCs', 'sysenterEsp', 'sysenterEip', 'mtrrDefType', 'debugCtl');
  table.push(['featureControl', 'u64', 'msr', 'ro-for-guest']);
  add('msr', 'u64', 'biosSign', 'tscAdjust', 'mcgStatus');
  add('msr', 'u32', 'smbase');
  for (let i = 0; i < 11; i++) add('msr', 'u64', `mtrrFixed${i}`);
  for (let i = 0; i < 8; i++) add('msr', 'u64', `mtrrBase${i}`, `mtrrMask${i}`);
  // Where KVM's clock writes (kvm-clock.ts).
  add('msr', 'u64', 'kvmWallClock', 'kvmSystemTime');
  add('msr', 'u64', 'umwaitControl');
  add('msr', 'u64', 'specCtrl');
  // `shutdown` = 1 after a triple fault. `interruptShadow`: 1 = after STI, 2 = after MOV SS or POP SS, for one instruction.
  add('event', 'u32', 'shutdown');
  add('event', 'u32', 'cpl', 'interruptShadow', 'halted', 'pendingException', 'pendingErrorCode', 'nmiBlocked', 'smm');
  // Debug traps that the instruction before has raised, in DR6's places: delivered before the next one.
  add('event', 'u32', 'pendingDebug');
  // The generator behind RDRAND, where it is not the host's.
  add('event', 'u64', 'randomState');
  // Events that wait to be taken (0 or 1; `pendingStartUp`, `pendingExternal`: 100H and the vector), and whether only a start-up message ends
  // the wait after INIT. `pendingException` is one that the embedder wants delivered next: as in VMX's interruption
  // information, the vector, type 3 in bits 8-10, bit 11 = `pendingErrorCode` is pushed, bit 31 = valid.
  add(
    'event',
    'u32',
    'pendingNmi',
    'pendingSmi',
    'pendingInit',
    'pendingStartUp',
    'pendingExternal',
    'waitsForStartUp',
  );
  // Run control.
  // What time it is (jit/time-stamp.ts). `timeSource`: 0 = an embedder's counter is asked, 1 = the host's clock, 2 = it follows
  // the instruction count: `timeEnd` is when the field `budget` will be 0, in nanoseconds since `tscBase`.
  add(null, 'u32', 'timeSource');
  add(null, 'u64', 'timeEnd', 'tscBase', 'tscHertz');
  // The local APIC's task priority, and who does MOV to and from CR8: 0 = a helper, since there is no APIC; 1 = MOV to CR8 is a
  // helper's, since an interrupt waits; 3 = both are done in generated code (local-apic.ts).
  add(null, 'u32', 'taskPriority', 'priorityPaths');
  // Not 0: something may wait until RFLAGS.IF is set, so that STI is a helper's. What was left of the field `budget` after the
  // last STI in generated code: whether its shadow is still there (engine.ts).
  add(null, 'u32', 'interruptsWait', 'shadowBudget');
  add(null, 'u64', 'translated'); // instructions retired in translated regions
  add(null, 'u32', 'budget'); // instructions left in this slice (signed); regions and blocks count it down
  add(null, 'u32', 'directPorts'); // not 0: there are programs that answer at ports (src/system/port-io.ts)
  add(null, 'u32', 'attention'); // set from anywhere: leave at the next region head, back edge or block end
  add(null, 'u32', 'leave'); // why the core returned, src/execute/leave.ts
  // Id of the execution context (mode bits), part of every code look-up; the flush that entries of the jump cache must be
  // younger than. The two are compared as one u64.
  add(null, 'u32', 'context', 'codeEpoch');
  add(null, 'u32', 'profileCount'); // indirect jumps recorded since the last look
  add(null, 'u32', 'retries'); // instructions that regions have left since the engine was told of one
  add(null, 'u32', 'leaveRecord'); // interpreter record or helper that left
  add(null, 'u32', 'faultVector', 'faultErrorCode');
  add(null, 'u64', 'faultAddress');
  add(null, 'u32', 'blockRecord'); // the interpreter's current block
  add(null, 'u32', 'tlbRead', 'tlbWrite'); // address of the look-aside table in force (user or supervisor)
  // User pages that the supervisor's look-aside tables hold (at `liftedOffset`), and whether their entries are in force: EFLAGS.AC.
  add(null, 'u32', 'liftedCount', 'liftedShown');
  add(null, 'u32', 'depth');
  add(null, 'u32', 'hasTurns'); // not 0: there are other processors, and PAUSE ends the turn of this one
  add(null, 'u32', 'directMemory'); // not 0: there are programs that answer in guest-physical memory
  // Arguments and results of helpers and of the slow memory path.
  add(null, 'u64', 'argument0', 'argument1', 'argument2', 'argument3', 'result0', 'result1');
  add(null, 'v128', 'scratch0', 'scratch1');
  return table;
}

function place(): ReadonlyMap<string, Field> {
  const fields = new Map<string, Field>();
  const counts = new Map<RegisterSet | null, number>();
  let offset = 0;
  for (const [name, type, set, access = 'rw'] of rows()) {
    const size = sizes[type];
    offset = Math.ceil(offset / size) * size;
    if (fields.has(name)) throw new Error(`layout: field ${name} stands twice`);
    const number = counts.get(set) ?? 0;
    counts.set(set, number + 1);
    fields.set(name, { name, type, offset, set, number, access });
    offset += size;
  }
  return fields;
}

export const layout: ReadonlyMap<string, Field> = place();

/** Offset of a field by name; an unknown name is a bug in the host. */
export function offsetOf(name: string): number {
  const field = layout.get(name);
  if (field === undefined) throw new Error(`layout: no field ${name}`);
  return field.offset;
}

/** Value slots of the interpreter: 16 bytes each. */
export const slotsOffset = 0x2000;
export const slotCount = 0x300;
/** Which port accesses there are programs for, u32 each: src/system/direct-programs.ts. */
export const directPortsOffset = slotsOffset + slotCount * 16;
export const directPortBits = 5;
/** Which accesses to memory there are programs for: src/system/direct-memory.ts. */
export const directMemoryOffset = directPortsOffset + (2 << directPortBits) * 4;
export const directMemoryEntries = 16;
export const directMemoryEntryBytes = 160;
/** User pages that a supervisor has reached past SMAP, by linear address (u64 each): src/mmu/lifted-pages.ts. */
export const liftedOffset = directMemoryOffset + directMemoryEntries * directMemoryEntryBytes;
export const liftedPages = 16;
/**
 * Translation look-aside tables: direct-mapped by the page's number folded onto itself, one for reads and one for writes, for supervisor and for user. An entry
 * is 16 bytes: the linear page (i64; a page of the neighbouring entry = invalid), the difference host address - linear address (i32), spare.
 */
export const tlbBits = 15;
export const tlbEntryBytes = 16;
const tlbBytes = (1 << tlbBits) * tlbEntryBytes;
export const tlbOffset = 0x10000;
export type TlbKind = 'supervisorRead' | 'supervisorWrite' | 'userRead' | 'userWrite';
export const tlbOffsets: Record<TlbKind, number> = {
  supervisorRead: tlbOffset,
  supervisorWrite: tlbOffset + tlbBytes,
  userRead: tlbOffset + 2 * tlbBytes,
  userWrite: tlbOffset + 3 * tlbBytes,
};
/**
 * Small look-aside tables of the same form for the pages that stacks are on, all of them writable: regions begin with the
 * stack's page, and what drives pages out of the others must not drive it out.
 */
export const stackTlbBits = 6;
const stackTlbBytes = (1 << stackTlbBits) * tlbEntryBytes;
export const stackTlbOffsets = { supervisor: 0x6c0000, user: 0x6c0000 + stackTlbBytes };
/**
 * Jump cache: direct-mapped by linear instruction pointer. An entry is 32 bytes: rip (u64), context (u32, 0 = none), the
 * epoch that it was found right in (u32; what is in force has both as the state has), interpreter block (u32, 0 = none),
 * table slot of the translated region (u32, 0 = none), number of the physical page that its code must be in (u32), offset in
 * the vCPU's block of the list of its pages (u32; 0 = the one page, 1 = only the engine can tell whether it is right).
 */
export const jumpCacheEntry = { rip: 0, context: 8, epoch: 12, block: 16, region: 20, physical: 24, pages: 28 };
export const jumpCacheBits = 17;
export const jumpCacheEntryBytes = 32;
export const jumpCacheOffset = tlbOffset + 4 * tlbBytes;
/**
 * Instruction look-aside table: direct-mapped by the linear page's number * 2 + 1 for user code, so that a program and the
 * system below it do not meet. An entry is 16 bytes: that number (i64), number of the physical page (u32), spare.
 */
export const fetchTlbBits = 13;
export const fetchTlbOffset = 0x6a0000;
/**
 * Pages of regions that have several, a list for each of the first slots of the table: how many (u32), spare (12), entries as
 * above.
 */
export const pageListOffset = 0x700000;
export const pageListBytes = 128;
export const pageLists = 4096;
if (offsetOf('context') % 8 !== 0 || offsetOf('codeEpoch') !== offsetOf('context') + 4)
  throw new Error('layout: what is compared as one does not stand together');
/** A look-aside table in which no entry is ever valid: in force while every access must be seen (alignment checks). */
export const tlbNeverOffset = 0x620000;
/**
 * Profile of indirect jumps: where translated regions went through a jump whose target they did not know. A ring of entries
 * ({@link profileEntry}, u64 each); the field `profileCount` counts them.
 */
export const profileOffset = 0x6e0000;
export const profileEntries = 1024;
/** Bytes in an entry: instruction pointers of the jump, of its target, and of the region's first instruction. */
export const profileEntry = { site: 0, target: 8, region: 16 } as const;
export const profileEntryBytes = 32;
/** Size of a vCPU's block, a multiple of a look-aside table's size. */
export const cpuBytes = 0x780000;
if (
  liftedOffset % 8 !== 0 ||
  liftedOffset + liftedPages * 8 > tlbOffset ||
  jumpCacheOffset + (1 << jumpCacheBits) * jumpCacheEntryBytes > tlbNeverOffset ||
  tlbNeverOffset + tlbBytes > fetchTlbOffset ||
  fetchTlbOffset + (16 << fetchTlbBits) > stackTlbOffsets.supervisor ||
  stackTlbOffsets.user + stackTlbBytes > profileOffset ||
  profileOffset + profileEntries * profileEntryBytes > pageListOffset ||
  pageListOffset + pageLists * pageListBytes > cpuBytes
)
  throw new Error('layout: a vCPU block is too small');
