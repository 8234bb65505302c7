/**
 * Cache lines, stores past the caches, serialization: for a processor without caches these are accesses and their faults.
 * SDM volume 2, CLFLUSH, CLFLUSHOPT, CLWB, MOVDIRI, MOVDIR64B, SERIALIZE.
 */
import type { MemoryOperand, RegisterOperand } from '../ir/operand.ts';
import { ES, SS } from '../ir/operand.ts';
import type { Value } from '../ir/types.ts';
import { define, GP } from './define.ts';

for (const [name, form, feature] of [
  ['CLFLUSH', 'NP 0F AE /7@ Mb', 'clflush'],
  ['CLFLUSHOPT', '66 0F AE /7@ Mb', 'clflushopt'],
  ['CLWB', '66 0F AE /6@ Mb', 'clwb'],
] as const)
  define(
    name,
    [form],
    (b, { dst }) => {
      b.read(dst); // faults as a byte load does
    },
    feature,
  );

define('MOVDIRI', ['NP 0F 38 F9 My,Gy'], (b, x) => b.write(x.dst, b.read(x.src)), 'movdiri');

const LINE = 64;
const PART = 16;
/** Sixty-four bytes from memory to ES:register, where they must be aligned. The register is as wide as an address. */
define(
  'MOVDIR64B',
  ['66 0F 38 F8 Gy,M'],
  (b, x) => {
    const source = x.src as MemoryOperand;
    const stack = source.segment === SS;
    const width = source.addressWidth;
    const offset = b.toI64(b.register((x.dst as RegisterOperand).index, width), width);
    const target = b.linear(ES, offset, LINE, true);
    b.raiseIf(b.ne(b.and(target, b.i64(LINE - 1)), b.i64(0)), GP, 0);
    const from = b.address(source, LINE, false);
    b.probeRead(from, LINE, stack);
    b.probeWrite(target, LINE);
    const bits = b.context.codeSize === 64 ? 64 : 32;
    const further = (at: Value<'i64'>, bytes: number): Value<'i64'> =>
      bytes === 0 ? at : b.emit('address.base', [at], bytes, bits);
    const parts = [0, PART, 2 * PART, 3 * PART].map((at) => ({ at, value: b.loadVector(further(from, at), stack) }));
    for (const { at, value } of parts) b.storeVector(further(target, at), value);
  },
  'movdir64b',
);

define('SERIALIZE', ['NP 0F 01 E8'], () => {}, 'serialize');
