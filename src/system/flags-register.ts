/** POPF, CLI and STI: who may change which flag. SDM volume 2, POPF, CLI, STI; volume 3, section 2.3. */
import { generalProtection } from './fault.ts';
import {
  CR4_PVI,
  CR4_VME,
  type Processor,
  RFLAGS_AC,
  RFLAGS_ARITHMETIC,
  RFLAGS_DF,
  RFLAGS_ID,
  RFLAGS_IF,
  RFLAGS_IOPL,
  RFLAGS_NT,
  RFLAGS_RF,
  RFLAGS_TF,
  RFLAGS_VIF,
  RFLAGS_VIP,
} from './processor.ts';

/** `popf` (value, operand size in bits, stack pointer behind it): the definition has checked IOPL in virtual-8086 mode. */
export function popf(p: Processor): void {
  const value = p.argument(0);
  const narrow = p.argument(1) === 16;
  let mask = RFLAGS_ARITHMETIC | RFLAGS_TF | RFLAGS_DF | RFLAGS_NT;
  if (!narrow) mask |= RFLAGS_AC | RFLAGS_ID;
  if (!p.virtual8086) {
    if (p.cpl <= p.iopl) mask |= RFLAGS_IF;
    if (p.cpl === 0) mask |= RFLAGS_IOPL;
  } else if (p.iopl === 3) mask |= RFLAGS_IF;
  let kept = p.rflags & ~mask;
  // The definition has checked CR4.VME, VIP and TF.
  if (p.virtual8086 && p.iopl < 3) kept = withVirtualInterrupts(kept, value);
  if (!narrow) {
    kept &= ~RFLAGS_RF;
    if (!p.virtual8086 && p.cpl === 0) kept &= ~(RFLAGS_VIF | RFLAGS_VIP);
  }
  p.setStackPointer(p.argumentAddress(2), p.stackWidth);
  p.setRflags(kept | (value & mask));
  p.advance();
}

/** Flags whose VIF is the IF of others. */
export const withVirtualInterrupts = (flags: number, from: number): number =>
  (from & RFLAGS_IF) !== 0 ? flags | RFLAGS_VIF : flags & ~RFLAGS_VIF;

const mayChangeIf = (p: Processor): boolean => !p.protectedMode || p.cpl <= p.iopl;
/** CLI and STI change VIF instead of IF: virtual-8086 mode with CR4.VME, CPL 3 with CR4.PVI. SDM volume 3, section 21.4. */
const hasVirtualIf = (p: Processor): boolean =>
  p.virtual8086 ? (p.cr4 & CR4_VME) !== 0 : p.cpl === 3 && (p.cr4 & CR4_PVI) !== 0;

/** `cli`. */
export function cli(p: Processor): void {
  if (mayChangeIf(p)) p.setRflagsRest(p.rflagsRest & ~RFLAGS_IF);
  else if (hasVirtualIf(p)) p.setRflagsRest(p.rflagsRest & ~RFLAGS_VIF);
  else throw generalProtection();
  p.advance();
}

/** `sti`: interrupts wait for one more instruction if they were off. */
export function sti(p: Processor): void {
  if (mayChangeIf(p)) {
    if ((p.rflagsRest & RFLAGS_IF) === 0) p.interruptShadow = 1;
    p.setRflagsRest(p.rflagsRest | RFLAGS_IF);
  } else if (hasVirtualIf(p) && (p.rflagsRest & RFLAGS_VIP) === 0) p.setRflagsRest(p.rflagsRest | RFLAGS_VIF);
  else throw generalProtection();
  p.advance();
}
