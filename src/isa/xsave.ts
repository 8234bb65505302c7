/** XSAVE, XRSTOR and their relatives, XGETBV, XSETBV. SDM volume 1, chapter 13; the areas are src/system/xsave.ts's business. */
import type { Builder } from '../ir/builder.ts';
import { type Insn, type MemoryOperand, RAX } from '../ir/operand.ts';
import { define, type Feature, NM, UD } from './define.ts';
import { alignedAddress } from './vector.ts';

const OSXSAVE = 1 << 18;
const TS = 1 << 3;
/** Legacy area and header: what every one of them accesses. */
const BYTES = 576;

/** #UD and #NM come before what is wrong with the operand. The helper knows how far the area goes. */
function area(b: Builder, x: Insn, write: boolean, helper: string): void {
  b.raiseIf(b.eqz(b.and(b.state64('cr4'), b.i64(OSXSAVE))), UD);
  b.raiseIf(b.ne(b.and(b.state64('cr0'), b.i64(TS)), b.i64(0)), NM);
  const o = x.dst as MemoryOperand;
  const address = alignedAddress(b, o, write, 64);
  if (write) b.probeWrite(address, BYTES, o.segment === 2);
  else b.probeRead(address, BYTES, o.segment === 2);
  b.call(helper, x, address, b.i64((x.rexW ? 1 : 0) | (o.segment << 1)), b.register(RAX, 32));
}

for (const [name, form, write, feature] of [
  ['XSAVE', 'NP 0F AE /4 M', true, 'xsave'],
  ['XRSTOR', 'NP 0F AE /5 M', false, 'xsave'],
  ['XSAVEOPT', 'NP 0F AE /6 M', true, 'xsaveopt'],
  ['XSAVEC', 'NP 0F C7 /4 M', true, 'xsavec'],
] as const satisfies readonly (readonly [string, string, boolean, Feature])[])
  define(name, [form], (b, x) => area(b, x, write, name.toLowerCase()), feature);
for (const [name, form, write] of [
  ['XSAVES', 'NP 0F C7 /5 M', true],
  ['XRSTORS', 'NP 0F C7 /3 M', false],
] as const)
  define(name, [form], (b, x) => area(b, x, write, name.toLowerCase()), 'xsaves');

define('XGETBV', ['NP 0F 01 D0'], (b, x) => b.call('xgetbv', x), 'xsave');
define('XSETBV', ['NP 0F 01 D1'], (b, x) => b.call('xsetbv', x), 'xsave');
