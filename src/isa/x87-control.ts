/** x87 control: FNINIT, FNCLEX, control and status word, environment, state, stack pointer, WAIT. SDM volume 1, 8.3.11; volume 2. */
import type { Builder } from '../ir/builder.ts';
import { type Insn, type MemoryOperand, SS } from '../ir/operand.ts';
import type { Value } from '../ir/types.ts';
import { define, NM } from './define.ts';
import { defineControl, defineNoWait, defineX87, place } from './x87.ts';

defineNoWait('FNINIT', ['DB E3'], (b) => b.emit('x87.init'));
defineNoWait('FNCLEX', ['DB E2'], (b) => b.emit('x87.clear'));
// The 8087's and the 287's own: nothing happens.
defineNoWait('FNENI', ['DB E0'], () => {});
defineNoWait('FNDISI', ['DB E1'], () => {});
defineNoWait('FNSETPM', ['DB E4'], () => {});

defineControl('FLDCW', ['D9 /5 Mw'], (b, { dst }) => b.emit('x87.control', [b.read(dst)]));
defineNoWait('FNSTCW', ['D9 /7 Mw'], (b, { dst }) => b.write(dst, b.state32('fcw')));
defineNoWait('FNSTSW', ['DD /7 Mw', 'DF E0 AX'], (b, { dst }) => b.write(dst, b.emit<'i32'>('x87.status')));

defineX87('FNOP', ['D9 D0'], () => {});
defineX87('FDECSTP', ['D9 F6'], (b) => b.emit('x87.rotate', [], 7));
defineX87('FINCSTP', ['D9 F7'], (b) => b.emit('x87.rotate', [], 1));
defineX87('FFREE', ['DD C0+r STi'], (b, x) => b.emit('x87.free', [], place(x.dst)));
defineX87('FFREEP', ['DF C0+r STi'], (b, x) => {
  b.emit('x87.free', [], place(x.dst));
  b.emit('x87.pop');
});

/** A helper on an image in memory, which has been probed. Arguments: address, operand size. */
function image(b: Builder, x: Insn, helper: string, wide: number, narrow: number, write: boolean): void {
  const o = x.dst as MemoryOperand;
  const bytes = x.width === 16 ? narrow : wide;
  const address: Value<'i64'> = b.address(o, bytes, write);
  if (write) b.probeWrite(address, bytes, o.segment === SS);
  else b.probeRead(address, bytes, o.segment === SS);
  b.call(helper, x, address, b.i64(x.width));
}
defineControl('FLDENV', ['D9 /4 M'], (b, x) => image(b, x, 'fldenv', 28, 14, false));
defineNoWait('FNSTENV', ['D9 /6 M'], (b, x) => image(b, x, 'fnstenv', 28, 14, true));
defineControl('FRSTOR', ['DD /4 M'], (b, x) => image(b, x, 'frstor', 108, 94, false));
defineNoWait('FNSAVE', ['DD /6 M'], (b, x) => image(b, x, 'fnsave', 108, 94, true));

define(
  'FWAIT',
  ['9B'],
  (b) => {
    if (b.context.waitFaults) b.raise(NM);
    else b.emit('x87.ready');
  },
  'fpu',
);
