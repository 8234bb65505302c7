/** SYSCALL, SYSRET, SYSENTER, SYSEXIT. SDM volume 2; volume 3, section 6.8.7 and 6.8.8. */
import { addressOf, addressOfBig } from '../mmu/linear.ts';
import { offsetOf } from '../state/layout.ts';
import { DR6_BS } from './debug.ts';
import { generalProtection, undefinedOpcode } from './fault.ts';
import { EFER_SCE, type Processor, RFLAGS_IF, RFLAGS_RF, RFLAGS_TF, RFLAGS_VM } from './processor.ts';
import {
  ACCESS_DB,
  ACCESS_G,
  ACCESS_L,
  ACCESS_PRESENT,
  ACCESS_S,
  ACCESS_USABLE,
  type SegmentRegister,
} from './segment-register.ts';

const STAR = offsetOf('star') >> 2;
const LSTAR = offsetOf('lstar') >> 2;
const SFMASK = offsetOf('sfmask') >> 2;
const SYSENTER_CS = offsetOf('sysenterCs') >> 2;
const PENDING = offsetOf('pendingDebug') >> 2;
const RIP = offsetOf('rip') >> 2;
const RCX = offsetOf('rcx') >> 2;
const R11 = offsetOf('r11') >> 2;
const SYSRET_FLAGS = 0x3c7fd7;

const FLAT = ACCESS_USABLE | ACCESS_G | ACCESS_PRESENT | ACCESS_S;
const CODE = 0xb;
const DATA = 0x3;

/** The fixed flat segments that these instructions load without looking at a table. */
function loadFixed(p: Processor, s: SegmentRegister, selector: number, access: number): void {
  s.selector = selector;
  s.base = 0;
  s.limit = 0xffff_ffff;
  s.access = FLAT | access;
  s.setRanges(p.protectedMode);
}

function loadPair(p: Processor, cs: number, ss: number, cpl: number, wide: boolean): void {
  loadFixed(p, p.cs, cs, CODE | (cpl << 5) | (wide ? ACCESS_L : ACCESS_DB));
  loadFixed(p, p.ss, ss, DATA | (cpl << 5) | ACCESS_DB);
  p.setCpl(cpl);
  p.engine.contextChanged();
}

/** `syscall`. */
export function syscall(p: Processor): void {
  if ((p.efer & EFER_SCE) === 0 || !p.code64) throw undefinedOpcode();
  const { u32 } = p.state;
  p.advance();
  u32[RCX] = u32[RIP]!;
  u32[RCX + 1] = u32[RIP + 1]!;
  const flags = p.rflags;
  u32[R11] = flags & ~RFLAGS_RF;
  u32[R11 + 1] = 0;
  p.setRflags(flags & ~u32[SFMASK]! & ~RFLAGS_RF);
  p.stepSettled = (p.rflagsRest & RFLAGS_TF) === 0; // the mask decides about the trap after SYSCALL
  const selector = u32[STAR + 1]! & 0xfffc;
  loadPair(p, selector, (selector + 8) & 0xffff, 0, true);
  u32[RIP] = u32[LSTAR]!;
  u32[RIP + 1] = u32[LSTAR + 1]!;
}

/** `sysret` (bytes of the operand size: 8 = to 64-bit code). */
export function sysret(p: Processor): void {
  if ((p.efer & EFER_SCE) === 0 || !p.code64) throw undefinedOpcode();
  p.requireCpl0();
  const { u32, i32 } = p.state;
  const wide = p.argument(0) === 8;
  const target = addressOf(u32[RCX]!, i32[RCX + 1]!);
  if (wide && !p.isCanonical(target)) throw generalProtection();
  const base = u32[STAR + 1]! >>> 16;
  p.setRflags((u32[R11]! & SYSRET_FLAGS & ~(RFLAGS_RF | RFLAGS_VM)) | 2);
  const cs = (wide ? base + 16 : base) & 0xffff;
  loadPair(p, cs | 3, ((base + 8) & 0xffff) | 3, 3, wide);
  p.rip = wide ? target : u32[RCX]!;
  // TF traps before the first instruction of the program.
  p.stepSettled = true;
  if ((p.rflagsRest & RFLAGS_TF) !== 0) u32[PENDING] = u32[PENDING]! | DR6_BS;
}

/** `sysenter`. */
export function sysenter(p: Processor): void {
  const { state } = p;
  if (!p.protectedMode) throw generalProtection();
  const selector = state.u32[SYSENTER_CS]! & 0xfffc;
  if (selector === 0) throw generalProtection();
  const wide = p.longMode;
  p.setRflagsRest(p.rflagsRest & ~(RFLAGS_VM | RFLAGS_IF | RFLAGS_RF));
  loadPair(p, selector, (selector + 8) & 0xffff, 0, wide);
  const stack = state.get64('sysenterEsp');
  const target = state.get64('sysenterEip');
  state.set64('rsp', wide ? stack : stack & 0xffff_ffffn);
  state.set64('rip', wide ? target : target & 0xffff_ffffn);
}

/** `sysexit` (bytes of the operand size: 8 = to 64-bit code). */
export function sysexit(p: Processor): void {
  const { state } = p;
  const selector = state.u32[SYSENTER_CS]! & 0xfffc;
  if (!p.protectedMode || selector === 0) throw generalProtection();
  p.requireCpl0();
  const wide = p.argument(0) === 8;
  const rdx = state.get64('rdx');
  const rcx = state.get64('rcx');
  const canonical = (value: bigint): boolean => p.isCanonical(addressOfBig(BigInt.asIntN(64, value)));
  if (wide && !(canonical(rdx) && canonical(rcx))) throw generalProtection();
  const cs = selector + (wide ? 32 : 16);
  loadPair(p, (cs & 0xffff) | 3, ((cs + 8) & 0xffff) | 3, 3, wide);
  state.set64('rsp', wide ? rcx : rcx & 0xffff_ffffn);
  state.set64('rip', wide ? rdx : rdx & 0xffff_ffffn);
}
