/** IA32_EFER. SDM volume 3, section 2.2.1. */
import { generalProtection } from './fault.ts';
import { CR0_PG, EFER_LMA, EFER_LME, EFER_NXE, EFER_SCE, type Processor } from './processor.ts';

/** The bits that this CPU has. */
export function eferKnown(p: Processor): number {
  const { features } = p;
  return (
    (features.has('syscall') ? EFER_SCE : 0) |
    (features.has('lm') ? EFER_LME | EFER_LMA : 0) |
    (features.has('nx') ? EFER_NXE : 0)
  );
}

/** LMA follows from LME and CR0.PG and is not written; LME cannot change while paging is on. */
export function writeEfer(p: Processor, value: bigint): void {
  if ((value & ~BigInt(eferKnown(p))) !== 0n) throw generalProtection();
  const old = p.efer;
  const made = (Number(value) & ~EFER_LMA) | (old & EFER_LMA);
  const changed = old ^ made;
  if ((changed & EFER_LME) !== 0 && (p.cr0 & CR0_PG) !== 0) throw generalProtection();
  p.state.set64('efer', BigInt(made));
  if ((changed & EFER_NXE) !== 0) p.mmu.reconfigure();
}
