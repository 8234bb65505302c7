/**
 * Control and debug registers: what may be written to them and what follows, mode switches included; HLT, INVLPG. SDM volume
 * 3, section 2.5, chapter 11 (mode switching) and section 19.2 (debug registers).
 */

import { physicalAddressBits } from '../mmu/walk.ts';
import { offsetOf } from '../state/layout.ts';
import { DB } from '../state/vectors.ts';
import { DR6_BD, DR7_GD, debugChanged } from './debug.ts';
import { TSS16_AVAILABLE, TSS16_BUSY } from './descriptors.ts';
import { eferKnown } from './efer.ts';
import { GuestFault, generalProtection, undefinedOpcode } from './fault.ts';
import { readPointers, setPointers } from './page-pointers.ts';
import {
  CR0_AM,
  CR0_CD,
  CR0_EM,
  CR0_ET,
  CR0_MP,
  CR0_NE,
  CR0_NW,
  CR0_PE,
  CR0_PG,
  CR0_TS,
  CR0_WP,
  CR4_DE,
  CR4_FSGSBASE,
  CR4_LA57,
  CR4_MCE,
  CR4_OSFXSR,
  CR4_OSXMMEXCPT,
  CR4_OSXSAVE,
  CR4_PAE,
  CR4_PCE,
  CR4_PCIDE,
  CR4_PGE,
  CR4_PKE,
  CR4_PSE,
  CR4_PVI,
  CR4_SMAP,
  CR4_SMEP,
  CR4_TSD,
  CR4_UMIP,
  CR4_VME,
  EFER_LMA,
  EFER_LME,
  type Processor,
} from './processor.ts';
import { refreshRanges, reviveSegments } from './segments.ts';

const CR0 = offsetOf('cr0') >> 2;
const CR3 = offsetOf('cr3') >> 2;
const CR4 = offsetOf('cr4') >> 2;
const EFER = offsetOf('efer') >> 2;
const HALTED = offsetOf('halted') >> 2;

export const CR0_KNOWN =
  CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG;
/** The bits of CR4 and the features that they belong to. */
const cr4Bits: readonly (readonly [bit: number, feature: string])[] = [
  [CR4_VME, 'vme'],
  [CR4_PVI, 'vme'],
  [CR4_TSD, 'tsc'],
  [CR4_DE, 'de'],
  [CR4_PSE, 'pse'],
  [CR4_PAE, 'pae'],
  [CR4_MCE, 'mce'],
  [CR4_PGE, 'pge'],
  [CR4_PCE, 'msr'],
  [CR4_OSFXSR, 'fxsr'],
  [CR4_OSXMMEXCPT, 'sse'],
  [CR4_UMIP, 'umip'],
  [CR4_LA57, 'la57'],
  [CR4_FSGSBASE, 'fsgsbase'],
  [CR4_PCIDE, 'pcid'],
  [CR4_OSXSAVE, 'xsave'],
  [CR4_SMEP, 'smep'],
  [CR4_SMAP, 'smap'],
  [CR4_PKE, 'pku'],
];
const reservedHigh = -(2 ** (physicalAddressBits - 32)) >>> 0;

/** The bits of CR4 that this CPU has. */
export function cr4Known(p: Processor): number {
  let known = 0;
  for (const [bit, feature] of cr4Bits) if (p.features.has(feature)) known |= bit;
  return known;
}

/** Can a processor be in such a state at all? For those who load all control registers at once. */
export function controlsAgree(p: Processor, cr0: bigint, cr4: bigint, efer: bigint): boolean {
  if (cr0 >> 32n !== 0n || (cr4 & ~BigInt(cr4Known(p))) !== 0n || (efer & ~BigInt(eferKnown(p))) !== 0n) return false;
  const [low, extended, mode] = [Number(cr0), Number(cr4), Number(efer)];
  const paging = (low & CR0_PG) !== 0;
  if ((paging && (low & CR0_PE) === 0) || ((low & CR0_NW) !== 0 && (low & CR0_CD) === 0)) return false;
  const active = (mode & EFER_LMA) !== 0;
  if (active !== (paging && (mode & EFER_LME) !== 0)) return false;
  return active ? (extended & CR4_PAE) !== 0 : (extended & CR4_PCIDE) === 0;
}

/** PAE paging outside IA-32e mode is what the new control bits ask for. */
const usesPointers = (cr0: number, cr4: number, efer: number): boolean =>
  (cr0 & CR0_PG) !== 0 && (cr4 & CR4_PAE) !== 0 && (efer & EFER_LMA) === 0;

/** MOV to CR0. @throws GuestFault #GP(0) for a combination that does not exist */
export function writeCr0(p: Processor, low: number, high: number): void {
  const { u32 } = p.state;
  if (high !== 0) throw generalProtection();
  if ((low & CR0_PG) !== 0 && (low & CR0_PE) === 0) throw generalProtection();
  if ((low & CR0_NW) !== 0 && (low & CR0_CD) === 0) throw generalProtection();
  const value = ((low & CR0_KNOWN) | CR0_ET) >>> 0;
  const old = u32[CR0]!;
  const changed = old ^ value;
  let efer = p.efer;
  if ((changed & CR0_PG) !== 0) {
    if ((value & CR0_PG) !== 0) {
      if ((efer & EFER_LME) !== 0) {
        const type = p.tr.access & 15;
        if ((p.cr4 & CR4_PAE) === 0 || (p.cs.access & 0x2000) !== 0) throw generalProtection();
        if (p.tr.usable && (type === TSS16_AVAILABLE || type === TSS16_BUSY)) throw generalProtection();
        efer |= EFER_LMA;
      }
    } else {
      if (p.code64 || (p.cr4 & CR4_PCIDE) !== 0) throw generalProtection();
      efer &= ~EFER_LMA;
    }
  }
  if ((changed & (CR0_PG | CR0_CD | CR0_NW)) !== 0 && usesPointers(value, p.cr4, efer)) {
    const entries = readPointers(p, u32[CR3]!);
    if (entries === null) throw generalProtection();
    setPointers(p, entries);
  }
  u32[CR0] = value;
  u32[EFER] = efer;
  if ((changed & CR0_PE) !== 0) {
    if ((value & CR0_PE) === 0) {
      p.setCpl(0);
      reviveSegments(p);
    }
    refreshRanges(p);
  }
  if ((changed & (CR0_PG | CR0_WP | CR0_PE)) !== 0) p.mmu.reconfigure();
  else if ((changed & CR0_AM) !== 0) p.mmu.updatePrivilege();
  p.engine.contextChanged();
}

/**
 * MOV to CR3: drops what the look-aside tables hold, but for global pages. With process-context identifiers the low bits name
 * one, of which bit 63 says that nothing need be dropped.
 */
export function writeCr3(p: Processor, low: number, high: number): void {
  const { u32 } = p.state;
  const identified = (p.cr4 & CR4_PCIDE) !== 0;
  const keeps = identified && high >>> 31 !== 0;
  if (identified) high = (high & 0x7fff_ffff) >>> 0;
  if ((high & reservedHigh) !== 0) throw generalProtection();
  if (usesPointers(p.cr0, p.cr4, p.efer)) {
    const entries = readPointers(p, low);
    if (entries === null) throw generalProtection();
    setPointers(p, entries);
  }
  u32[CR3] = low;
  u32[CR3 + 1] = high;
  p.mmu.rootChanged(keeps);
}

export function writeCr4(p: Processor, low: number, high: number): void {
  const { u32 } = p.state;
  if (high !== 0 || (low & ~cr4Known(p)) !== 0) throw generalProtection();
  const changed = u32[CR4]! ^ low;
  if (p.longMode && ((low & CR4_PAE) === 0 || (changed & CR4_LA57) !== 0)) throw generalProtection();
  if ((changed & low & CR4_PCIDE) !== 0 && (!p.longMode || (u32[CR3]! & 0xfff) !== 0)) throw generalProtection();
  const paging = CR4_PAE | CR4_PGE | CR4_PSE | CR4_PCIDE | CR4_SMEP | CR4_SMAP | CR4_PKE;
  if ((changed & paging) !== 0 && usesPointers(p.cr0, low, p.efer)) {
    const entries = readPointers(p, u32[CR3]!);
    if (entries === null) throw generalProtection();
    setPointers(p, entries);
  }
  u32[CR4] = low;
  if ((changed & CR4_DE) !== 0) debugChanged(p);
  if ((changed & paging) !== 0) p.mmu.reconfigure();
  p.engine.contextChanged();
}

/** CR8 is the local APIC's task priority; without an APIC a register of its own. */
export function writeCr8(p: Processor, low: number, high: number): void {
  if (high !== 0 || low > 15) throw generalProtection();
  if (p.apic === null) p.state.set32('cr8', low);
  else p.apic.taskPriority = low;
}

/** `mov-to-cr` (number, value). */
export function movToCr(p: Processor): void {
  const index = p.argument(0);
  const low = p.argument(1);
  const high = p.argumentHigh(1);
  if (index !== 0 && index !== 2 && index !== 3 && index !== 4 && index !== 8) throw undefinedOpcode();
  p.requireCpl0();
  if (index === 0) writeCr0(p, low, high);
  else if (index === 2) p.state.set64('cr2', p.argument64(1));
  else if (index === 3) writeCr3(p, low, high);
  else if (index === 4) writeCr4(p, low, high);
  else writeCr8(p, low, high);
  p.advance();
}

/** `mov-from-cr8` (general register). */
export function movFromCr8(p: Processor): void {
  p.requireCpl0();
  p.setGpr(p.argument(0), 64, p.apic === null ? p.state.get32('cr8') : p.apic.taskPriority);
  p.advance();
}

/** `lmsw` (value): the low four bits of CR0; PE cannot be cleared. */
export function lmsw(p: Processor): void {
  p.requireCpl0();
  const value = (p.argument(0) & 15) | (p.cr0 & CR0_PE);
  writeCr0(p, ((p.cr0 & ~15) | value) >>> 0, 0);
  p.advance();
}

/** `clts`. */
export function clts(p: Processor): void {
  p.requireCpl0();
  p.state.u32[CR0] = p.cr0 & ~CR0_TS;
  p.engine.contextChanged();
  p.advance();
}

/** `invlpg` (segment, offset). */
export function invlpg(p: Processor): void {
  p.requireCpl0();
  const linear = p.linearOf(p.argument(0), p.argument(1), p.argumentHigh(1));
  if (p.isCanonicalBase(linear)) p.mmu.flushPage(linear);
  p.advance();
}

/** `invpcid` (type, low half of the descriptor: the identifier, its high half: the linear address). */
export function invpcid(p: Processor): void {
  p.requireCpl0();
  const type = p.argument(0);
  const identifier = p.argument(1);
  const linear = p.argumentAddress(2);
  if (p.argumentHigh(0) !== 0 || type > 3 || p.argumentHigh(1) !== 0 || identifier > 0xfff) throw generalProtection();
  if (type < 2 && identifier !== 0 && (p.cr4 & CR4_PCIDE) === 0) throw generalProtection();
  if (type === 0) {
    if (!p.isCanonicalBase(linear)) throw generalProtection();
    p.mmu.flushSpace(identifier, linear);
  } else if (type === 1) p.mmu.flushSpace(identifier, null);
  else if (type === 2) p.mmu.flushAll();
  else p.mmu.flushSpaces();
  p.advance();
}

const PKRU = offsetOf('pkru') >> 2;
/** `wrpkru`; the definition has looked at CR4.PKE, ECX and EDX. */
export function wrpkru(p: Processor): void {
  p.state.u32[PKRU] = p.gpr32(0);
  p.mmu.keyRightsChanged();
  p.advance();
}

/** `hlt`: the field `halted`; an event clears it. */
export function hlt(p: Processor): void {
  p.requireCpl0();
  p.state.u32[HALTED] = 1;
  p.advance();
}

/** `wbinvd`: caches are not modelled. WBINVD and INVD. */
export function wbinvd(p: Processor): void {
  p.requireCpl0();
  p.advance();
}

// --- debug registers
const DR6_FIXED = 0xffff_0ff0;
/** What DR6 and DR7 make of a value. */
export const dr6Of = (low: number): number => ((low & 0xe00f) | DR6_FIXED) >>> 0;
export const dr7Of = (low: number): number => ((low & 0xffff_23ff) | 0x400) >>> 0;

function debugRegister(p: Processor, index: number): string {
  if (index === 4 || index === 5) {
    if ((p.cr4 & CR4_DE) !== 0) throw undefinedOpcode();
    index += 2;
  }
  p.requireCpl0();
  if ((p.state.get32('dr7') & DR7_GD) !== 0) {
    p.debugCause = DR6_BD;
    throw new GuestFault(DB);
  }
  return `dr${index}`;
}

/** `mov-to-dr` (number, value). */
export function movToDr(p: Processor): void {
  const name = debugRegister(p, p.argument(0));
  const low = p.argument(1);
  const high = p.argumentHigh(1);
  if (name === 'dr6' || name === 'dr7') {
    if (high !== 0) throw generalProtection();
    p.state.set64(name, BigInt(name === 'dr6' ? dr6Of(low) : dr7Of(low)));
  } else p.state.set64(name, p.argument64(1));
  if (name !== 'dr6') debugChanged(p);
  p.advance();
}

/** `mov-from-dr` (number, general register). */
export function movFromDr(p: Processor): void {
  const name = debugRegister(p, p.argument(0));
  const value = p.state.get64(name);
  p.setGpr(p.argument(1), p.code64 ? 64 : 32, Number(value & 0xffff_ffffn), Number(value >> 32n));
  p.advance();
}
