/** Segment registers: MOV, PUSH and POP of them, LDS, LES, LFS, LGS, LSS, RDFSBASE and its kin. SDM volume 2. */
import type { Builder } from '../ir/builder.ts';
import type { Insn, MemoryOperand, NumberedOperand } from '../ir/operand.ts';
import { CS, SS } from '../ir/operand.ts';
import type { Int, Value, Width } from '../ir/types.ts';
import { segmentNames } from '../state/layout.ts';
import { define, GP, UD } from './define.ts';

/** A selector as a value of `width` bits. */
function selector(b: Builder, index: number, width: Width): Int {
  const value = b.state32(`${segmentNames[index]}Selector`);
  return width === 64 ? b.extendU(value) : value;
}

define('MOV', ['8C Rv,Sw', '8C Mw,Sw'], (b, { dst, src, width }) => {
  b.write(dst, selector(b, (src as NumberedOperand).index, width));
});

/**
 * In real and virtual-8086 mode base and selector are all that changes, unless the context rests on flat segments. Loads
 * of SS go the long way: they hold interrupts off.
 */
const loadsDirectly = (b: Builder, index: number): boolean =>
  index !== SS && !b.context.flat && (!b.context.protectedMode || b.context.virtual8086);

function setParagraph(b: Builder, index: number, value: Int): void {
  const paragraph = b.zeroExtend(b.typeOf(value) === 'i64' ? b.wrap(value as Value<'i64'>) : value, 16) as Value<'i32'>;
  b.setState32(`${segmentNames[index]}Selector`, paragraph);
  b.setState64(`${segmentNames[index]}Base`, b.extendU(b.shl(paragraph, b.i32(4))));
}

define('MOV', ['8E Sw,Rv', '8E Sw,Mw'], (b, x) => {
  const { index } = x.dst as NumberedOperand;
  if (index === CS) return b.raise(UD);
  const value = b.read(x.src);
  if (loadsDirectly(b, index)) setParagraph(b, index, value);
  else b.call('mov-to-segment', x, b.i32(index), value);
});

define('PUSH', ['06 ES i64', '0E CS i64', '16 SS i64', '1E DS i64', '0F A0 FS d64', '0F A8 GS d64'], (
  b,
  { dst, width },
) => {
  const value = selector(b, (dst as NumberedOperand).index, width);
  const top = b.stackOffset(b.stackPointer(), -width / 8);
  // Current processors write 16 bits of a 32-bit item.
  b.storeStack(top, width === 32 ? 16 : width, value);
  b.setStackPointer(top);
});

define('POP', ['07 ES i64', '17 SS i64', '1F DS i64', '0F A1 FS d64', '0F A9 GS d64'], (b, x) => {
  const { index } = x.dst as NumberedOperand;
  if (loadsDirectly(b, index)) setParagraph(b, index, b.pop(x.width));
  else b.call('pop-segment', x, b.i32(index), b.i32(x.width / 8));
});

/** Offset and selector of a far pointer in memory. */
export function loadFar(b: Builder, x: Insn, o: MemoryOperand): { offset: Int; selector: Int } {
  const bytes = x.width / 8;
  const address = b.address(o, bytes + 2, false);
  const offset = b.load(address, x.width, o.segment === SS);
  const after = b.emit<'i64'>('address.base', [address], bytes, b.context.codeSize === 64 ? 64 : 32);
  return { offset, selector: b.load(after, 16, o.segment === SS) };
}

for (const [name, forms, index] of [
  ['LES', ['C4 Gv,Mp i64'], 0],
  ['LDS', ['C5 Gv,Mp i64'], 3],
  ['LSS', ['0F B2 Gv,Mp'], 2],
  ['LFS', ['0F B4 Gv,Mp'], 4],
  ['LGS', ['0F B5 Gv,Mp'], 5],
] as const)
  define(name, forms, (b, x) => {
    const pointer = loadFar(b, x, x.src as MemoryOperand);
    if (loadsDirectly(b, index)) {
      b.write(x.dst, pointer.offset);
      setParagraph(b, index, pointer.selector);
      return;
    }
    const target = (x.dst as { index: number }).index | (x.width << 8);
    b.call('load-far-pointer', x, b.i32(index), pointer.selector, b.i32(target), pointer.offset);
  });

const CR4_FSGSBASE = 1 << 16;
function requireBaseAccess(b: Builder): void {
  b.raiseIf(b.eqz(b.and(b.wrap(b.state64('cr4')), b.i32(CR4_FSGSBASE))), UD);
}
for (const [n, field] of [
  [0, 'fsBase'],
  [1, 'gsBase'],
] as const) {
  define(
    `RD${field.slice(0, 2).toUpperCase()}BASE`,
    [`F3 0F AE /${n}! Ry x64`],
    (b, { dst, width }) => {
      requireBaseAccess(b);
      b.write(dst, b.fromI64(b.state64(field), width));
    },
    'fsgsbase',
  );
  define(
    `WR${field.slice(0, 2).toUpperCase()}BASE`,
    [`F3 0F AE /${n + 2}! Ry x64`],
    (b, { dst, width }) => {
      requireBaseAccess(b);
      const value = b.toI64(b.read(dst), width);
      const unused = b.i64(64 - b.context.baseBits);
      b.raiseIf(b.ne(b.shrS(b.shl(value, unused), unused), value), GP, 0);
      b.setState64(field, value);
    },
    'fsgsbase',
  );
}
