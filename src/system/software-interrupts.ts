/** INT n, INT3, INTO, INT1. SDM volume 2, INT; volume 3, section 21.3. */
import { BP, DB, NO_ERROR_CODE, OF_TRAP } from '../state/vectors.ts';
import { generalProtection } from './fault.ts';
import { deliver } from './interrupts.ts';
import type { Processor } from './processor.ts';

const OF = 0x800;

/** `int` (vector). */
export function int(p: Processor): void {
  if (p.virtual8086 && p.iopl < 3) throw generalProtection();
  deliver(p, p.argument(0) & 0xff, 'software', NO_ERROR_CODE, p.next);
}
/** `int3`. */
export function int3(p: Processor): void {
  deliver(p, BP, 'software', NO_ERROR_CODE, p.next);
}
/** `into`. */
export function into(p: Processor): void {
  if ((p.engine.flags() & OF) === 0) p.advance();
  else deliver(p, OF_TRAP, 'software', NO_ERROR_CODE, p.next);
}
/** `int1`. */
export function int1(p: Processor): void {
  deliver(p, DB, 'ICEBP', NO_ERROR_CODE, p.next);
}
