/**
 * LDMXCSR, STMXCSR, FXSAVE, FXRSTOR. SDM volume 1, sections 10.2.3 and 10.5; the FXSAVE area is laid out in src/system/fxsave.ts.
 */
import type { Builder } from '../ir/builder.ts';
import type { Insn, MemoryOperand } from '../ir/operand.ts';
import type { Value } from '../ir/types.ts';
import { define, GP, NM } from './define.ts';
import { alignedAddress } from './vector.ts';
import { defineBoth } from './vex.ts';

/** The bits of MXCSR that may be set. */
export const MXCSR_MASK = 0xffff;

defineBoth('LDMXCSR', ['NP 0F AE /2 Md'], 'sse', { length: 'L0' }, (b, x) => {
  const word = b.read(x.dst) as Value<'i32'>;
  b.raiseIf(b.gtU(word, b.i32(MXCSR_MASK)), GP, 0);
  b.setState32('mxcsr', word);
  b.jump(b.i64(x.next), 'return'); // regions rely on MXCSR: all that are active are left
});
defineBoth('STMXCSR', ['NP 0F AE /3 Md'], 'sse', { length: 'L0' }, (b, x) => b.write(x.dst, b.state32('mxcsr')));

function saveArea(b: Builder, x: Insn, write: boolean, helper: string): void {
  if (b.context.x87 === 'device-not-available') {
    b.raise(NM);
    return;
  }
  const o = x.dst as MemoryOperand;
  const address = alignedAddress(b, o, write);
  if (write) b.probeWrite(address, 512, o.segment === 2);
  else b.probeRead(address, 512, o.segment === 2);
  b.call(helper, x, address, b.i64(x.rexW ? 1 : 0));
}
define('FXSAVE', ['NP 0F AE /0 M'], (b, x) => saveArea(b, x, true, 'fxsave'), 'fxsr');
define('FXRSTOR', ['NP 0F AE /1 M'], (b, x) => saveArea(b, x, false, 'fxrstor'), 'fxsr');
