/** FXSAVE and FXRSTOR: the area of fxsave.ts in guest memory. SDM volume 2. */
import { generalProtection } from './fault.ts';
import { type AreaFormat, FXSAVE_BYTES, FXSAVE_WRITTEN, restoreArea, saveArea } from './fxsave.ts';
import type { Processor } from './processor.ts';

const formatOf = (p: Processor): AreaFormat => ({
  wide: p.code64 && p.argument(1) !== 0,
  vectors: p.code64 ? 16 : 8,
});

/** `fxsave` (linear address, 1 = 64-bit pointers): the definition has checked alignment and probed the area. */
export function fxsave(p: Processor): void {
  const linear = p.argumentAddress(0);
  const area = new Uint8Array(FXSAVE_BYTES);
  p.linear.readBytes(linear, area);
  saveArea(p.state, area, formatOf(p));
  p.linear.writeBytes(linear, area.subarray(0, FXSAVE_WRITTEN));
  p.advance();
}

/** `fxrstor` (linear address, 1 = 64-bit pointers). */
export function fxrstor(p: Processor): void {
  const area = new Uint8Array(FXSAVE_BYTES);
  p.linear.readBytes(p.argumentAddress(0), area);
  if (!restoreArea(p.state, area, formatOf(p))) throw generalProtection();
  p.engine.contextChanged();
  p.advance();
}
