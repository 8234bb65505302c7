/**
 * PAUSE beside other processors, and TPAUSE and UMWAIT: a program waits until the time-stamp counter shows a value, or the system's limit is over. Either may
 * end sooner for reasons of the processor's own: it is a hint that time can be let pass. SDM volume 2, TPAUSE, UMWAIT.
 */
import { generalProtection } from './fault.ts';
import type { Processor } from './processor.ts';
import { timeStamp } from './time.ts';

const RAX = 0;
const RDX = 2;
const CR4_TSD = 1 << 2;
const CF = 1;
/** Of IA32_UMWAIT_CONTROL: the longest wait in clocks of the counter; 0 = no limit. */
const limitMask = 0xffff_fffcn;

function wait(p: Processor, lasts: boolean): void {
  if (p.protectedMode && p.cpl !== 0 && (p.cr4 & CR4_TSD) !== 0) throw generalProtection();
  if (p.gpr32(p.argument(0)) > 1) throw generalProtection(); // bit 0 chooses how deep to sleep
  const wanted = (BigInt(p.gpr32(RDX)) << 32n) | BigInt(p.gpr32(RAX));
  const now = timeStamp(p);
  const longest = p.state.get64('umwaitControl') & limitMask;
  const limited = longest !== 0n && now + longest < wanted;
  const until = limited ? now + longest : wanted;
  p.advance();
  if (lasts && until > now) p.tsc.wait?.(until - BigInt.asIntN(64, p.state.get64('tscOffset')));
  p.engine.setFlags(limited && timeStamp(p) >= until ? CF : 0);
}

/** `pause`: another processor may have its turn. */
export function pause(p: Processor): void {
  p.advance();
  p.tsc.pause?.();
}
/** `tpause` (register): lasts as long as the machine lets it. */
export function tpause(p: Processor): void {
  wait(p, true);
}
/** `umwait` (register): ends at once, as if a store had come; the program looks and waits again. */
export function umwait(p: Processor): void {
  wait(p, false);
}
