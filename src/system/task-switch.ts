/**
 * Hardware task switching: 16- and 32-bit TSSs, by JMP, CALL, IRET and task gates. SDM volume 3, chapter 9 ("Task
 * management", section 9.3). Not in IA-32e mode.
 *
 * Faults up to the commit point belong to the old task; later ones (#TS, #NP, #SS, #GP for the new selectors) to the new one.
 */
import { GP, NP, TS } from '../state/vectors.ts';
import { DR6_BT, debugChanged } from './debug.ts';
import {
  type Descriptor,
  fetchDescriptor,
  isNull,
  LDT,
  markAccessed,
  markBusy,
  TSS_AVAILABLE,
  TSS_BUSY,
  TSS16_AVAILABLE,
  TSS16_BUSY,
} from './descriptors.ts';
import { loadPointers } from './page-pointers.ts';
import { CR0_PG, CR0_TS, CR4_PAE, type Processor, RFLAGS_NT, RFLAGS_VM } from './processor.ts';
import { CS, DS, ES, FS, GS, SS } from './segment-register.ts';
import { checkDataSegment, checkStackSegment, loadDescriptor, loadNull, loadReal, refreshRanges } from './segments.ts';

export type TaskSwitch = 'jump' | 'call' | 'interrupt' | 'iret';

/** Offsets in a TSS. */
interface TssLayout {
  readonly limit: number;
  readonly item: 2 | 4;
  /** Instruction pointer, flags, then the eight general registers; then the selectors from ES on. */
  readonly ip: number;
  readonly flags: number;
  readonly registers: number;
  readonly selectors: number;
  readonly segmentCount: 4 | 6;
  readonly ldt: number;
}
const tss16: TssLayout = {
  limit: 43,
  item: 2,
  ip: 14,
  flags: 16,
  registers: 18,
  selectors: 34,
  segmentCount: 4,
  ldt: 42,
};
const tss32: TssLayout = {
  limit: 103,
  item: 4,
  ip: 32,
  flags: 36,
  registers: 40,
  selectors: 72,
  segmentCount: 6,
  ldt: 96,
};
const CR3_OFFSET = 28;
const TRAP_OFFSET = 100;

const layoutOf = (type: number): TssLayout => ((type & 8) === 0 ? tss16 : tss32);
const isAvailable = (type: number): boolean => type === TSS_AVAILABLE || type === TSS16_AVAILABLE;
const isBusy = (type: number): boolean => type === TSS_BUSY || type === TSS16_BUSY;

/** The TSS descriptor that a task gate names, checked: #GP, #NP. */
export function taskGateTarget(p: Processor, selector: number): Descriptor {
  if (isNull(selector) || (selector & 4) !== 0) throw p.selectorFault(GP, selector);
  const d = fetchDescriptor(p, selector);
  if (!d.isSystem || !isAvailable(d.type)) throw p.selectorFault(GP, selector);
  if (!d.isPresent) throw p.selectorFault(NP, selector);
  return d;
}

/** IRET with NT set: back to the task in the link field. */
export function returnFromTask(p: Processor): void {
  const selector = p.linear.system16(p.systemLinear(p.tr.base, 0));
  if (isNull(selector) || (selector & 4) !== 0) throw p.selectorFault(TS, selector);
  const d = fetchDescriptor(p, selector, TS);
  if (!d.isSystem || !isBusy(d.type)) throw p.selectorFault(TS, selector);
  if (!d.isPresent) throw p.selectorFault(NP, selector);
  switchTask(p, d, 'iret', p.next);
}

/**
 * Switches to the task of a TSS descriptor that has been checked.
 * @param resume instruction pointer at which the old task will go on
 * @param flags what its TSS gets as flags (IRET clears NT in them)
 */
export function switchTask(
  p: Processor,
  target: Descriptor,
  kind: TaskSwitch,
  resume: number,
  flags: number = p.rflags,
): void {
  const { linear, state, tr } = p;
  const layout = layoutOf(target.type);
  if (target.limit < layout.limit) throw p.selectorFault(TS, target.selector);
  const oldLayout = layoutOf(tr.access & 15);
  const { base } = target;
  const at = (offset: number) => (base + offset) >>> 0;
  const item = (offset: number) => (layout.item === 4 ? linear.system32(at(offset)) : linear.system16(at(offset)));

  // Everything from the new TSS, and what the old one gets, is reachable: checked before anything is written.
  linear.probeRead(base, 1, true);
  const newCr3 = layout === tss32 ? linear.system32(at(CR3_OFFSET)) : 0;
  const newIp = item(layout.ip);
  const newFlags = item(layout.flags);
  const registers: number[] = [];
  for (let i = 0; i < 8; i++) registers.push(item(layout.registers + i * layout.item));
  const selectors = [0, 0, 0, 0, 0, 0];
  for (let i = 0; i < layout.segmentCount; i++) selectors[i] = linear.system16(at(layout.selectors + i * layout.item));
  const ldtSelector = linear.system16(at(layout.ldt));
  const trap = layout === tss32 && (linear.system16(at(TRAP_OFFSET)) & 1) !== 0;
  const oldBase = tr.base;
  const oldAt = (offset: number) => (oldBase + offset) >>> 0;
  linear.probeWrite(
    oldAt(oldLayout.ip),
    oldLayout.selectors + oldLayout.segmentCount * oldLayout.item - oldLayout.ip,
    true,
  );
  if (kind === 'call' || kind === 'interrupt') linear.probeWrite(at(0), 2, true);
  const oldDescriptor = p.systemLinear(p.gdtrBase, tr.selector & 0xfff8);
  linear.probeWrite(oldDescriptor + 5, 1, true);
  linear.probeWrite(target.address + 5, 1, true);
  const paging = (p.cr0 & CR0_PG) !== 0;

  // The old task's state.
  if (kind === 'jump' || kind === 'iret') markBusy(p, oldDescriptor, false);
  const save = (offset: number, value: number) => linear.store(oldAt(offset), oldLayout.item, value, 0, true);
  save(oldLayout.ip, resume);
  save(oldLayout.flags, kind === 'iret' ? flags & ~RFLAGS_NT : flags);
  for (let i = 0; i < 8; i++) save(oldLayout.registers + i * oldLayout.item, p.gpr32(i));
  for (let i = 0; i < oldLayout.segmentCount; i++)
    linear.store(oldAt(oldLayout.selectors + i * oldLayout.item), 2, p.segments[i]!.selector, 0, true);
  if (kind === 'call' || kind === 'interrupt') linear.store(at(0), 2, tr.selector, 0, true);
  if (kind !== 'iret') markBusy(p, target.address, true);

  // The commit point: from here on the new task.
  tr.selector = target.selector;
  tr.base = base;
  tr.limit = target.limit;
  tr.access = target.access | 2;
  state.set32('cr0', p.cr0 | CR0_TS);
  if (paging && layout === tss32) {
    state.set64('cr3', BigInt(newCr3));
    if ((p.cr4 & CR4_PAE) !== 0 && !loadPointers(p, newCr3)) throw p.zeroFault(GP);
    p.mmu.rootChanged();
  }
  p.rip = newIp;
  for (let i = 0; i < 8; i++) p.setGpr(i, 32, layout.item === 4 ? registers[i]! : (0xffff_0000 | registers[i]!) >>> 0);
  const nested = kind === 'call' || kind === 'interrupt';
  const loadedFlags = layout.item === 4 ? newFlags : newFlags & 0xffff;
  p.setRflags(nested ? loadedFlags | RFLAGS_NT : loadedFlags);
  if ((state.get32('dr7') & 0x155) !== 0) {
    state.set64('dr7', state.get64('dr7') & ~0x155n); // breakpoints of the old task alone
    debugChanged(p);
  }
  // All selectors are in place before the first descriptor is looked at, unusable until it has been.
  for (let i = 0; i < 6; i++) loadNull(p, p.segments[i]!, selectors[i]!);
  loadNull(p, p.ldtr, ldtSelector);
  if ((loadedFlags & RFLAGS_VM) === 0) p.setCpl(selectors[CS]! & 3);
  p.engine.contextChanged();

  loadLdt(p, ldtSelector);
  if ((loadedFlags & RFLAGS_VM) !== 0) {
    p.setCpl(3);
    for (let i = 0; i < 6; i++) loadReal(p, p.segments[i]!, selectors[i]!);
  } else loadTaskSegments(p, selectors);
  refreshRanges(p);
  p.engine.contextChanged();
  if (newIp > p.cs.limit) throw p.zeroFault(GP);
  if (trap) {
    state.set32('pendingDebug', state.get32('pendingDebug') | DR6_BT);
  }
}

function loadLdt(p: Processor, selector: number): void {
  if ((selector & 4) !== 0) throw p.selectorFault(TS, selector);
  if (isNull(selector)) return;
  const d = fetchDescriptor(p, selector, TS);
  if (!d.isSystem || d.type !== LDT || !d.isPresent) throw p.selectorFault(TS, selector);
  p.ldtr.base = d.base;
  p.ldtr.limit = d.limit;
  p.ldtr.access = d.access;
}

function loadTaskSegments(p: Processor, selectors: readonly number[]): void {
  const codeSelector = selectors[CS]!;
  if (isNull(codeSelector)) throw p.selectorFault(TS, codeSelector);
  const code = fetchDescriptor(p, codeSelector, TS);
  if (!code.isCode || (code.isConforming ? code.dpl > code.rpl : code.dpl !== code.rpl))
    throw p.selectorFault(TS, codeSelector);
  if (!code.isPresent) throw p.selectorFault(NP, codeSelector);
  markAccessed(p, code);
  loadDescriptor(p, p.cs, codeSelector, code);
  const cpl = code.rpl;
  const stackSelector = selectors[SS]!;
  if (isNull(stackSelector)) throw p.selectorFault(TS, stackSelector);
  const stack = checkStackSegment(p, stackSelector, cpl, TS);
  loadDescriptor(p, p.ss, stackSelector, stack);
  for (const index of [ES, DS, FS, GS]) {
    const selector = selectors[index]!;
    const d = checkDataSegment(p, selector, cpl, TS);
    if (d !== null) loadDescriptor(p, p.segments[index]!, selector, d);
  }
}
