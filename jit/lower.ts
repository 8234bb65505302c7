/**
 * Lowering: micro-op -> WebAssembly expression, once for both readers. In a translation the operands are locals; in the
 * interpreter they are loads from value slots, and each arm is a case of its loop (jit/core.ts).
 *
 * Pure micro-ops that carry WebAssembly's name need no arm. What reads and writes registers, flags and memory is each
 * reader's own business and stands there.
 */
import type { Immediate, MicroOp } from '../src/ir/micro-ops.ts';
import type { Emitter, Expr } from './emitter.ts';

/** What an arm may ask of its reader beside the emitter. */
export interface Reader {
  readonly e: Emitter;
  /** True in a translated region: MXCSR was tested at its entry (jit/exact-float.ts), and `exitIf` leaves. */
  readonly inRegion: boolean;
  /** In a region: what must be done only while MXCSR's inexact flag is clear. */
  ifInexactClear(body: () => void): void;
  /** In a region: MXCSR's inexact flag is sure to be clear. */
  readonly isInexactClear: boolean;
  /**
   * If `condition`: a region leaves before this instruction with exact state (the interpreter then executes it); the
   * interpreter raises `vector` with `errorCode` (-1 = none).
   */
  exitIf(condition: Expr, vector: number, errorCode?: number): void;
  /** Instructions that are left, those of the block that is being executed paid for. */
  budget(): Expr;
}

export type Arm = (reader: Reader, args: readonly Expr[], imm: readonly Immediate[]) => Expr;

/** Names that differ between WebAssembly and binaryen's interface. */
const renamed: Readonly<Record<string, string>> = {
  'f64.convert_i32_s': 'f64.convert_s.i32',
  'f64.convert_i64_s': 'f64.convert_s.i64',
  'f32.convert_i32_s': 'f32.convert_s.i32',
  'f32.convert_i64_s': 'f32.convert_s.i64',
  'i32.trunc_sat_f32_s': 'i32.trunc_s_sat.f32',
  'i32.trunc_sat_f64_s': 'i32.trunc_s_sat.f64',
  'i64.trunc_sat_f32_s': 'i64.trunc_s_sat.f32',
  'i64.trunc_sat_f64_s': 'i64.trunc_s_sat.f64',
};

/** Functions of the arithmetic library (module `arith`) that micro-ops call. */
const library: Readonly<Record<string, string>> = {
  'i64.div128_u': 'div128',
  'i64.rem128_u': 'rem128',
  'i64.pdep': 'pdep',
  'i64.pext': 'pext',
};
/** Parameter count of each: all take and give i64. */
export const libraryFunctions: Readonly<Record<string, number>> = {
  mulHighU: 2,
  mulHighS: 2,
  div128: 3,
  rem128: 3,
  pdep: 2,
  pext: 2,
};

/** base + displacement in the address width, zero-extended to i64. */
function addressSum(e: Emitter, terms: Expr, displacement: number, width: number): Expr {
  if (width === 64) return displacement === 0 ? terms : e.op('i64.add', terms, e.i64(BigInt(displacement)));
  const low = e.op('i32.wrap', terms);
  const sum = displacement === 0 ? low : e.op('i32.add', low, e.i32(displacement));
  return e.op('i64.extend_u', width === 16 ? e.op('i32.and', sum, e.i32(0xffff)) : sum);
}

/** The high half of an unsigned product of 64 bits, from products of 32. */
function mulHighUnsigned(e: Emitter, a: () => Expr, b: () => Expr): Expr {
  const low = (v: Expr) => e.op('i64.and', v, e.i64(0xffffffffn));
  const high = (v: Expr) => e.op('i64.shr_u', v, e.i64(32n));
  const [aLow, aHigh] = [e.share(low(a()), 'i64'), e.share(high(a()), 'i64')];
  const [bLow, bHigh] = [e.share(low(b()), 'i64'), e.share(high(b()), 'i64')];
  const lowest = high(e.op('i64.mul', aLow(), bLow()));
  const first = e.share(e.op('i64.add', e.op('i64.mul', aHigh(), bLow()), lowest), 'i64');
  const second = e.op('i64.add', e.op('i64.mul', aLow(), bHigh()), low(first()));
  return e.op('i64.add', e.op('i64.add', e.op('i64.mul', aHigh(), bHigh()), high(first())), high(second));
}
/** In a region multiplication stands in line; the interpreter calls the library. */
const mulHigh =
  (signed: boolean): Arm =>
  ({ e, inRegion }, [x, y]) => {
    if (!inRegion) return e.call(signed ? 'mulHighS' : 'mulHighU', [x!, y!], 'i64');
    const [a, b] = [e.share(x!, 'i64'), e.share(y!, 'i64')];
    const product = mulHighUnsigned(e, a, b);
    if (!signed) return product;
    const ifNegative = (v: Expr, other: Expr) => e.op('i64.and', e.op('i64.shr_s', v, e.i64(63n)), other);
    return e.op('i64.sub', e.op('i64.sub', product, ifNegative(a(), b())), ifNegative(b(), a()));
  };

const arms: Partial<Record<MicroOp, Arm>> = {
  'time.stamp': (r) => r.e.call('timeStamp', [r.e.cpu(), r.budget()], 'i64'),
  'smap.access': (r, [lifted]) => r.e.call('smapAccess', [r.e.cpu(), lifted!], null),
  'budget.get': (r) => r.budget(),
  'i64.mul_high_u': mulHigh(false),
  'i64.mul_high_s': mulHigh(true),
  'i32.const': ({ e }, _, [n]) => e.i32(n as number),
  'i64.const': ({ e }, _, [n]) => e.i64(n as bigint),
  'f32.const': ({ e }, _, [n]) => e.f32(n as number),
  'f64.const': ({ e }, _, [n]) => e.f64(n as number),
  'v128.const': ({ e }, _, [n]) => e.v128(n as readonly number[]),
  'i32.select': ({ e }, [c, a, b]) => e.select(c!, a!, b!),
  'i64.select': ({ e }, [c, a, b]) => e.select(c!, a!, b!),
  'v128.select': ({ e }, [c, a, b]) => e.select(c!, a!, b!),
  insert8: ({ e }, [old, v]) =>
    e.op('i64.or', e.op('i64.and', old, e.i64(-0x100n)), e.op('i64.extend_u', e.op('i32.and', v, e.i32(0xff)))),
  insert8h: ({ e }, [old, v]) =>
    e.op(
      'i64.or',
      e.op('i64.and', old, e.i64(-0xff01n)),
      e.op('i64.extend_u', e.op('i32.shl', e.op('i32.and', v, e.i32(0xff)), e.i32(8))),
    ),
  insert16: ({ e }, [old, v]) =>
    e.op('i64.or', e.op('i64.and', old, e.i64(-0x10000n)), e.op('i64.extend_u', e.op('i32.and', v, e.i32(0xffff)))),
  extract8h: ({ e }, [v]) => e.op('i32.and', e.op('i32.shr_u', e.op('i32.wrap', v), e.i32(8)), e.i32(0xff)),
  'address.base': ({ e }, [base], [displacement, width]) =>
    addressSum(e, base!, displacement as number, width as number),
  'address.index': ({ e }, [base, index], [scale, displacement, width]) => {
    const scaled = scale === 0 ? index! : e.op('i64.shl', index, e.i64(BigInt(scale as number)));
    return addressSum(e, e.op('i64.add', base, scaled), displacement as number, width as number);
  },
};

/** Adds a family's arms (jit/lower-*.ts). */
export function addArms(more: Partial<Record<MicroOp, Arm>>): void {
  for (const [op, arm] of Object.entries(more)) {
    if (arms[op as MicroOp] !== undefined) throw new Error(`lower: ${op} has two arms`);
    arms[op as MicroOp] = arm;
  }
}

/** The expression of a micro-op over its operands' expressions, each used once. */
export function lower(reader: Reader, op: MicroOp, args: readonly Expr[], imm: readonly Immediate[]): Expr {
  const arm = arms[op];
  if (arm !== undefined) return arm(reader, args, imm);
  const function_ = library[op];
  if (function_ !== undefined) return reader.e.call(function_, args, 'i64');
  return reader.e.op(renamed[op] ?? op, ...args, ...imm);
}
