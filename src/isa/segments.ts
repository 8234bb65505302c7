/** Segment registers: MOV, PUSH and POP of them, LDS, LES, LFS, LGS, LSS, RDFSBASE and its kin. SDM volume 2. */
import type { Builder } from '../ir/builder.ts';
import type { Insn, MemoryOperand, NumberedOperand } from '../ir/operand.ts';
import { CS, FS, SS } from '../ir/operand.ts';
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

const low16 = (b: Builder, value: Int): Value<'i32'> =>
  b.zeroExtend(b.typeOf(value) === 'i64' ? b.wrap(value as Value<'i64'>) : value, 16) as Value<'i32'>;

function setParagraph(b: Builder, index: number, value: Int): void {
  const paragraph = low16(b, value);
  b.setState32(`${segmentNames[index]}Selector`, paragraph);
  b.setState64(`${segmentNames[index]}Base`, b.extendU(b.shl(paragraph, b.i32(4))));
}

/**
 * What systems of 32 bits do at each entry and exit: DS and ES are loaded with what they hold already, FS and GS with another
 * flat segment, or with null.
 */
const loadsSimply = (b: Builder, index: number): boolean =>
  index !== SS && b.context.cpl === 0 && b.context.protectedMode && !b.context.virtual8086 && b.context.codeSize !== 64;

const AC = 1 << 18;
const NEITHER_TABLE_NOR_RPL = 0xfff8;
const TABLE = 4;
const RPL = 3;
/** A descriptor's access rights as the registers hold them. */
const RIGHTS = 0xf0ff;
const USABLE = 1 << 16;
const GRANULARITY = 1 << 15;
const WRITABLE = 2;
/** P, S, code, expand-down, accessed; and what they are in data that was loaded before and grows upwards. */
const KIND = 0x9d;
const ORDINARY_DATA = 0x91;

/** Loads a data segment at CPL 0 from the GDT. `unless` leaves what is not as simple to the helper; nothing is changed by then. */
function loadSimply(b: Builder, index: number, chosen: Value<'i32'>, unless: (otherwise: Value<'i32'>) => void): void {
  const name = segmentNames[index]!;
  const own = index >= FS; // contexts rest on the others
  const table = b.state64('gdtrBase');
  const offset = b.and(chosen, b.i32(NEITHER_TABLE_NOR_RPL));
  const isNull = b.eqz(b.and(chosen, b.i32(NEITHER_TABLE_NOR_RPL | TABLE)));
  // Descriptors are read as by the system whatever EFLAGS.AC says; and an address may wrap.
  const lifted = b.and(b.state32('rflagsRest'), b.i32(AC));
  const wraps = b.wrap(b.shrU(b.add(table, b.i64(0xffff)), b.i64(32)));
  const outside = b.gtU(b.add(offset, b.i32(7)), b.state32('gdtrLimit'));
  const elsewhere = b.or(b.and(chosen, b.i32(TABLE)), outside);
  unless(b.or(b.or(elsewhere, own ? b.i32(0) : isNull), b.or(lifted, wraps)));
  const load = (): void => {
    const descriptor = b.load(b.add(table, b.extendU(offset)), 64) as Value<'i64'>;
    const low = b.wrap(descriptor);
    const high = b.wrap(b.shrU(descriptor, b.i64(32)));
    const rights = b.and(b.shrU(high, b.i32(8)), b.i32(RIGHTS));
    const unfit = b.or(
      b.ne(b.and(rights, b.i32(KIND)), b.i32(ORDINARY_DATA)),
      b.gtU(b.and(chosen, b.i32(RPL)), b.and(b.shrU(rights, b.i32(5)), b.i32(3))),
    );
    const access = b.or(rights, b.i32(USABLE));
    const units = b.or(b.and(low, b.i32(0xffff)), b.and(high, b.i32(0xf_0000)));
    const pages = b.or(b.shl(units, b.i32(12)), b.i32(0xfff));
    const limit = b.select(b.and(rights, b.i32(GRANULARITY)), pages, units) as Value<'i32'>;
    const middle = b.shl(b.and(high, b.i32(0xff)), b.i32(16));
    const base = b.extendU(
      b.or(b.or(b.shrU(low, b.i32(16)), middle), b.and(high, b.i32(0xff00_0000 | 0))) as Value<'i32'>,
    );
    if (!own) {
      const extent = b.or(b.ne(b.state64(`${name}Base`), base), b.ne(b.state32(`${name}Limit`), limit));
      const kind = b.or(b.ne(b.state32(`${name}Selector`), chosen), b.ne(b.state32(`${name}Access`), access));
      return unless(b.or(unfit, b.or(extent, kind)));
    }
    unless(unfit);
    const writable = b.and(rights, b.i32(WRITABLE));
    setSegment(b, name, base, limit, access);
    b.setState32(`${name}ReadLow`, b.i32(0));
    b.setState32(`${name}WriteLow`, b.eqz(writable));
    b.setState32(`${name}WriteHigh`, b.select(writable, limit, b.i32(0)) as Value<'i32'>);
  };
  if (!own) return load();
  b.when(b.eqz(isNull), load);
  b.when(isNull, () => {
    setSegment(b, name, b.i64(0), b.i32(0), b.i32(0));
    b.setState32(`${name}ReadLow`, b.i32(1));
    b.setState32(`${name}WriteLow`, b.i32(1));
    b.setState32(`${name}WriteHigh`, b.i32(0));
  });
  b.setState32(`${name}Selector`, chosen);
}
function setSegment(b: Builder, name: string, base: Value<'i64'>, limit: Value<'i32'>, access: Value<'i32'>): void {
  b.setState64(`${name}Base`, base);
  b.setState32(`${name}Limit`, limit);
  b.setState32(`${name}Access`, access);
  b.setState32(`${name}ReadHigh`, limit);
}

define('MOV', ['8E Sw,Rv', '8E Sw,Mw'], (b, x) => {
  const { index } = x.dst as NumberedOperand;
  if (index === CS) return b.raise(UD);
  const value = b.read(x.src);
  if (loadsDirectly(b, index)) setParagraph(b, index, value);
  else if (!loadsSimply(b, index)) b.call('mov-to-segment', x, b.i32(index), value);
  else {
    loadSimply(b, index, low16(b, value), (otherwise) => b.callIf(otherwise, 'mov-to-segment', x, b.i32(index), value));
    b.jump(b.i64(x.next));
  }
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
  const bytes = x.width / 8;
  if (loadsDirectly(b, index)) setParagraph(b, index, b.pop(x.width));
  else if (!loadsSimply(b, index)) b.call('pop-segment', x, b.i32(index), b.i32(bytes));
  else {
    const pointer = b.stackPointer();
    const value = b.loadStack(pointer, x.width);
    loadSimply(b, index, low16(b, value), (otherwise) =>
      b.callIf(otherwise, 'pop-segment', x, b.i32(index), b.i32(bytes)),
    );
    b.setStackPointer(b.stackOffset(pointer, bytes));
    b.jump(b.i64(x.next));
  }
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
