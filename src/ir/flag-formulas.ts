/**
 * Lazy arithmetic flags: what an instruction leaves behind is the kind of operation, its width, two operands and a carry,
 * and each flag is a formula over them. The formulas stand here once, in micro-ops; the optimiser uses them where the
 * producer is known, and the engines' general evaluator is generated from them.
 *
 * SDM volume 1, section 3.4.3.1; undefined flags follow current Intel processors.
 */
import type { Builder } from './builder.ts';
import { AF, CF, type FlagKind, OF, PF, SF, ZF } from './flags.ts';
import type { Int, Value, Width } from './types.ts';

export interface FlagSource {
  readonly kind: FlagKind;
  readonly width: Width;
  /** Operands as i64, zero-extended from `width`. */
  readonly a: Value<'i64'>;
  readonly b: Value<'i64'>;
  /** 0 or 1. */
  readonly carry: Value<'i32'>;
}

const isBits = (s: FlagSource) => s.kind === 'bits';
const bit = (b: Builder, s: FlagSource, flag: number): Value<'i32'> => {
  const word = b.wrap(s.a);
  return b.and(b.shrU(word, b.i32(31 - Math.clz32(flag))), b.i32(1));
};

/** The operand narrowed to the width's own type: i32 up to 32 bits (upper bits zero), else i64. */
const narrow = (b: Builder, s: FlagSource, v: Value<'i64'>): Int => (s.width === 64 ? v : b.wrap(v));
const constant = (b: Builder, s: FlagSource, n: number): Int => (s.width === 64 ? b.i64(n) : b.i32(n));
const widen = (b: Builder, s: FlagSource, v: Value<'i32'>): Int => (s.width === 64 ? b.extendU(v) : v);

/** The result of the operation, zero-extended from the width. */
export function flagResult(b: Builder, s: FlagSource): Int {
  const x = narrow(b, s, s.a);
  const y = () => narrow(b, s, s.b);
  const cut = (v: Int): Int => b.zeroExtend(v, s.width);
  switch (s.kind) {
    case 'bits':
      throw new Error('flags: bits have no result');
    case 'add':
      return cut(b.add(x, y()));
    case 'adc':
      return cut(b.add(b.add(x, y()), widen(b, s, s.carry)));
    case 'sub':
      return cut(b.sub(x, y()));
    case 'sbb':
      return cut(b.sub(b.sub(x, y()), widen(b, s, s.carry)));
    case 'logic':
      return x;
    case 'inc':
      return cut(b.add(x, constant(b, s, 1)));
    case 'dec':
      return cut(b.sub(x, constant(b, s, 1)));
    case 'shl':
      return cut(b.select(b.ltU(y(), constant(b, s, s.width === 64 ? 64 : 32)), b.shl(x, y()), constant(b, s, 0)));
    case 'shr':
      return b.shrU(x, y());
    case 'sar':
      return cut(b.shrS(b.signExtend(x, s.width), y()));
    default:
      return s.kind satisfies never;
  }
}

const truth = (b: Builder, v: Int): Value<'i32'> =>
  b.typeOf(v) === 'i64' ? b.wrap(v as Value<'i64'>) : (v as Value<'i32'>);
/** Bit `n` of a value as 0 or 1. */
const bitOf = (b: Builder, s: FlagSource, v: Int, n: number): Value<'i32'> =>
  b.and(truth(b, n === 0 ? v : b.shrU(v, constant(b, s, n))), b.i32(1));
const top = (b: Builder, s: FlagSource, v: Int): Value<'i32'> => bitOf(b, s, v, s.width - 1);

export function carryFlag(b: Builder, s: FlagSource): Value<'i32'> {
  if (isBits(s)) return bit(b, s, CF);
  const x = narrow(b, s, s.a);
  const y = () => narrow(b, s, s.b);
  const result = () => flagResult(b, s);
  switch (s.kind) {
    case 'add':
      return b.ltU(result(), x);
    case 'adc': {
      // Out of a + b, or out of the carry in on top of all ones: only the last depends on the carry in.
      const sum = b.zeroExtend(b.add(x, y()), s.width);
      return b.or(b.ltU(sum, x), b.and(s.carry, b.eq(sum, b.constant(s.width, -1))));
    }
    case 'sub':
      return b.ltU(x, y());
    case 'sbb':
      return b.or(b.ltU(x, y()), b.and(s.carry, b.eq(x, y())));
    case 'logic':
      return b.i32(0);
    case 'inc':
    case 'dec':
      return s.carry;
    case 'shl': {
      // The last bit shifted out at the top: bit (width - count), none for a count above the width.
      const shifted = b.shrU(x, b.sub(constant(b, s, s.width), y()));
      return b.and(truth(b, shifted), b.leU(y(), constant(b, s, s.width)));
    }
    case 'shr':
      return b.and(truth(b, b.shrU(x, b.sub(y(), constant(b, s, 1)))), b.i32(1));
    case 'sar':
      return b.and(truth(b, b.shrS(b.signExtend(x, s.width), b.sub(y(), constant(b, s, 1)))), b.i32(1));
    default:
      throw new Error(`flags: no carry formula for ${s.kind}`);
  }
}

export function overflowFlag(b: Builder, s: FlagSource): Value<'i32'> {
  if (isBits(s)) return bit(b, s, OF);
  const x = narrow(b, s, s.a);
  const y = () => narrow(b, s, s.b);
  const result = () => flagResult(b, s);
  switch (s.kind) {
    case 'add':
    case 'adc': {
      const r = result();
      return top(b, s, b.and(b.xor(x, r), b.xor(y(), r)));
    }
    case 'sub':
    case 'sbb':
      return top(b, s, b.and(b.xor(x, y()), b.xor(x, result())));
    case 'logic':
      return b.i32(0);
    case 'inc':
      return top(b, s, b.and(result(), b.xor(x, result())));
    case 'dec':
      return top(b, s, b.and(x, b.xor(x, result())));
    case 'shl':
      return b.xor(top(b, s, result()), carryFlag(b, s));
    case 'shr':
      // Defined for a count of 1: the operand's top bit. Current processors give top ^ next of the result in general.
      return top(b, s, b.xor(result(), b.shl(result(), constant(b, s, 1))));
    case 'sar':
      return b.i32(0);
    default:
      throw new Error(`flags: no overflow formula for ${s.kind}`);
  }
}

export function zeroFlag(b: Builder, s: FlagSource): Value<'i32'> {
  return isBits(s) ? bit(b, s, ZF) : b.eqz(flagResult(b, s));
}
export function signFlag(b: Builder, s: FlagSource): Value<'i32'> {
  return isBits(s) ? bit(b, s, SF) : top(b, s, flagResult(b, s));
}
export function parityFlag(b: Builder, s: FlagSource): Value<'i32'> {
  if (isBits(s)) return bit(b, s, PF);
  const low = b.and(truth(b, flagResult(b, s)), b.i32(0xff));
  return b.xor(b.and(b.popcnt(low), b.i32(1)), b.i32(1));
}
export function adjustFlag(b: Builder, s: FlagSource): Value<'i32'> {
  if (isBits(s)) return bit(b, s, AF);
  const x = narrow(b, s, s.a);
  switch (s.kind) {
    case 'logic':
    case 'shl':
    case 'shr':
    case 'sar':
      return b.i32(0);
    case 'inc':
    case 'dec':
      return bitOf(b, s, b.xor(x, flagResult(b, s)), 4);
    default:
      return bitOf(b, s, b.xor(b.xor(x, narrow(b, s, s.b)), flagResult(b, s)), 4);
  }
}

const formulas: readonly (readonly [number, (b: Builder, s: FlagSource) => Value<'i32'>])[] = [
  [CF, carryFlag],
  [PF, parityFlag],
  [AF, adjustFlag],
  [ZF, zeroFlag],
  [SF, signFlag],
  [OF, overflowFlag],
];

/** The flags in `mask`, at their places in RFLAGS. */
export function flagWord(b: Builder, s: FlagSource, mask: number): Value<'i32'> {
  if (isBits(s)) return b.and(b.wrap(s.a), b.i32(mask));
  let word: Value<'i32'> | null = null;
  for (const [flag, formula] of formulas) {
    if ((mask & flag) === 0) continue;
    const shift = 31 - Math.clz32(flag);
    const placed = shift === 0 ? formula(b, s) : b.shl(formula(b, s), b.i32(shift));
    word = word === null ? placed : b.or(word, placed);
  }
  return word ?? b.i32(0);
}

/** A condition code over the flags of COMISD and its like, as compares of the operands; null if the flags come from elsewhere. */
function floatCondition(b: Builder, s: FlagSource, code: number): Value<'i32'> | null {
  const word = b.nodes[s.a]!;
  if (!isBits(s) || word.op !== 'i64.extend_u') return null;
  const { op, args } = b.nodes[word.args[0]!]!;
  if (op !== 'sse.f64.compare' && op !== 'sse.f32.compare') return null;
  const [x, y] = args as [number, number];
  const type = op === 'sse.f64.compare' ? 'f64' : 'f32';
  const compare = (name: 'lt' | 'gt' | 'ge' | 'eq', p = x, q = y): Value<'i32'> => b.emit(`${type}.${name}`, [p, q]);
  const ordered = () => (x === y ? compare('eq') : b.and(compare('eq', x, x), compare('eq', y, y)));
  const negate = (code & 1) !== 0;
  switch (code >> 1) {
    case 1:
      return negate ? compare('ge') : b.eqz(compare('ge'));
    case 2:
    case 7: {
      const different = b.or(compare('lt'), compare('gt'));
      return negate ? different : b.eqz(different);
    }
    case 3:
      return negate ? compare('gt') : b.eqz(compare('gt'));
    case 5:
      return negate ? ordered() : b.eqz(ordered());
    default: // OF, SF: clear
      return b.i32(negate ? 1 : 0);
  }
}

/** A condition code (low bit = negated) over a known source, with compares fused: 0 or 1. */
export function condition(b: Builder, s: FlagSource, code: number): Value<'i32'> {
  const negate = (code & 1) !== 0;
  const not = (v: Value<'i32'>) => (negate ? b.eqz(v) : v);
  const signed = (v: Value<'i64'>) => b.signExtend(narrow(b, s, v), s.width);
  const isSub = s.kind === 'sub';
  const float = floatCondition(b, s, code);
  if (float !== null) return float;
  switch (code >> 1) {
    case 0:
      return not(overflowFlag(b, s));
    case 1:
      if (isSub)
        return negate ? b.geU(narrow(b, s, s.a), narrow(b, s, s.b)) : b.ltU(narrow(b, s, s.a), narrow(b, s, s.b));
      return not(carryFlag(b, s));
    case 2:
      if (isSub)
        return negate ? b.ne(narrow(b, s, s.a), narrow(b, s, s.b)) : b.eq(narrow(b, s, s.a), narrow(b, s, s.b));
      return not(zeroFlag(b, s));
    case 3:
      if (isSub)
        return negate ? b.gtU(narrow(b, s, s.a), narrow(b, s, s.b)) : b.leU(narrow(b, s, s.a), narrow(b, s, s.b));
      if (s.kind === 'logic') return not(zeroFlag(b, s));
      return not(b.or(carryFlag(b, s), zeroFlag(b, s)));
    case 4:
      if (!isBits(s) && s.width !== 64)
        return negate
          ? b.geS(b.signExtend(flagResult(b, s), s.width), b.i32(0))
          : b.ltS(b.signExtend(flagResult(b, s), s.width), b.i32(0));
      return not(signFlag(b, s));
    case 5:
      return not(parityFlag(b, s));
    case 6:
      if (isSub) return negate ? b.geS(signed(s.a), signed(s.b)) : b.ltS(signed(s.a), signed(s.b));
      if (s.kind === 'logic') return not(signFlag(b, s));
      return not(b.xor(signFlag(b, s), overflowFlag(b, s)));
    default:
      if (isSub) return negate ? b.gtS(signed(s.a), signed(s.b)) : b.leS(signed(s.a), signed(s.b));
      if (s.kind === 'logic')
        return negate
          ? b.gtS(b.signExtend(flagResult(b, s), s.width), constant(b, s, 0))
          : b.leS(b.signExtend(flagResult(b, s), s.width), constant(b, s, 0));
      return not(b.or(zeroFlag(b, s), b.xor(signFlag(b, s), overflowFlag(b, s))));
  }
}
