/**
 * VMASKMOVPS, VPMASKMOVD and their relatives; gathers. Only lanes whose mask has its sign bit set touch memory and can
 * fault, from the lowest one up. Masked moves load or probe all of them before the first change. SDM volume 2.
 */
import type { Builder } from '../ir/builder.ts';
import type { Insn, MemoryOperand, NumberedOperand, Operand } from '../ir/operand.ts';
import type { SimdOp } from '../ir/simd-ops.ts';
import type { Value } from '../ir/types.ts';
import { UD } from './define.ts';
import { defineVex, i32Lane, i64Lane, isStack, operandIndex, simd, zero } from './vector.ts';
import { type Halves, readHalves, setHalves } from './vex.ts';

type LaneWidth = 32 | 64;
const shapeOf = (width: LaneWidth): 'i32x4' | 'i64x2' => (width === 32 ? 'i32x4' : 'i64x2');

/** The sign bits of all lanes as a number. */
function signBits(b: Builder, mask: Halves, width: LaneWidth): Value<'i32'> {
  const [low, high] = mask.map((v) => b.emit<'i32'>(`${shapeOf(width)}.bitmask`, [v]));
  return high === undefined ? low! : b.or(low!, b.shl(high, b.i32(128 / width)));
}

/**
 * The lanes that `bits` selects, loaded from `offsetOf(lane)`, and `otherwise` in the others; `take` gets them. Lanes that
 * are not selected load what the first selected one loads; if none is, `take` gets `otherwise`.
 */
function selectedLanes(
  b: Builder,
  segment: number,
  width: LaneWidth,
  bits: Value<'i32'>,
  otherwise: Halves,
  lanes: number,
  offsetOf: (lane: number) => Value<'i64'>,
  take: (loaded: Halves) => void,
): void {
  const offsets = Array.from({ length: lanes }, (_, i) => offsetOf(i));
  const selected = (i: number) => b.and(bits, b.i32(1 << i));
  b.when(bits, () => {
    let first = offsets.at(-1)!;
    for (let i = lanes - 2; i >= 0; i--) first = b.select(selected(i), offsets[i]!, first);
    const inHalf = 128 / width;
    const made = [...otherwise];
    offsets.forEach((own, i) => {
      const address = b.linear(segment, b.select(selected(i), own, first), width / 8, false);
      const value = b.load(address, width, segment === 2);
      const half = Math.floor(i / inHalf);
      const replaced = simd(b, `${shapeOf(width)}.replace_lane` as SimdOp, [made[half]!, value], i % inHalf);
      made[half] = b.select(selected(i), replaced, made[half]!);
    });
    take(made);
  });
  b.when(b.eqz(bits), () => take(otherwise));
}

/** The offset of each lane of a memory operand. */
const laneOffset = (b: Builder, o: MemoryOperand, width: LaneWidth) => (i: number) =>
  b.effectiveAddress(o, (i * width) / 8);

function maskedLoad(b: Builder, x: Insn, width: LaneWidth): void {
  const o = x.operands[2] as MemoryOperand;
  const bits = signBits(b, readHalves(b, x.src), width);
  const nothing: Halves = x.vectorLength === 256 ? [zero(b), zero(b)] : [zero(b)];
  selectedLanes(b, o.segment, width, bits, nothing, x.vectorLength / width, laneOffset(b, o, width), (loaded) =>
    setHalves(b, x.dst, loaded),
  );
}
function maskedStore(b: Builder, x: Insn, width: LaneWidth): void {
  const o = x.dst as MemoryOperand;
  const bits = signBits(b, readHalves(b, x.src), width);
  const value = readHalves(b, x.operands[2]!);
  const lanes = x.vectorLength / width;
  const bytes = width / 8;
  const selected = (i: number) => b.and(bits, b.i32(1 << i));
  const address = (i: number) => b.address(o, bytes, true, i * bytes);
  for (let i = 0; i < lanes; i++) b.when(selected(i), () => b.probeWrite(address(i), bytes, isStack(o)));
  const inHalf = 128 / width;
  for (let i = 0; i < lanes; i++)
    b.when(selected(i), () => {
      const half = value[Math.floor(i / inHalf)]!;
      const lane = width === 32 ? i32Lane(b, half, i % inHalf) : i64Lane(b, half, i % inHalf);
      b.store(address(i), width, lane, isStack(o));
    });
}
for (const [name, w, load, store, width, feature] of [
  ['VMASKMOVPS', 'W0', '2C', '2E', 32, 'avx'],
  ['VMASKMOVPD', 'W0', '2D', '2F', 64, 'avx'],
  ['VPMASKMOVD', 'W0', '8C', '8E', 32, 'avx2'],
  ['VPMASKMOVQ', 'W1', '8C', '8E', 64, 'avx2'],
] as const) {
  defineVex(name, [`VEX.66.0F38.${w} ${load} Vx,Hx,Mx`], feature, (b, x) => maskedLoad(b, x, width));
  defineVex(name, [`VEX.66.0F38.${w} ${store} Mx,Hx,Vx`], feature, (b, x) => maskedStore(b, x, width));
}

/** Lane `i` of an index vector, sign-extended. */
function indexLane(b: Builder, index: Halves, width: LaneWidth, i: number): Value<'i64'> {
  const inHalf = 128 / width;
  const half = index[Math.floor(i / inHalf)]!;
  return width === 64 ? i64Lane(b, half, i % inHalf) : b.extendS(i32Lane(b, half, i % inHalf));
}

function gather(b: Builder, x: Insn, width: LaneWidth, indexWidth: LaneWidth): void {
  const o = x.src as MemoryOperand;
  const [dst, mask] = [operandIndex(x.dst), operandIndex(x.operands[2]!)];
  if (dst === mask || dst === o.index || mask === o.index) return b.raise(UD);
  const indexed: Operand = { kind: 'xmm', index: o.index, width: o.vectorIndex! } satisfies NumberedOperand;
  const index = readHalves(b, indexed);
  const inHalf = 128 / width;
  const lanes = Math.min((index.length * 128) / indexWidth, (x.dst as NumberedOperand).width / width);
  const bits = signBits(b, readHalves(b, x.operands[2]!), width);
  const base = o.base < 0 ? b.i64(0) : b.emit<'i64'>('reg.get', [], o.base);
  const replace = `${shapeOf(width)}.replace_lane` as SimdOp;
  // A lane is done once it is in its register and its mask is cleared: a fault of a later one leaves it so.
  for (let i = 0; i < lanes; i++)
    b.when(b.and(bits, b.i32(1 << i)), () => {
      const where = indexLane(b, index, indexWidth, i);
      const offset: Value<'i64'> = b.emit(
        'address.index',
        [base, where],
        o.scale,
        Number(o.displacement),
        o.addressWidth,
      );
      const value = b.load(b.linear(o.segment, offset, width / 8, false), width, isStack(o));
      const high = i >= inHalf;
      const lane = i % inHalf;
      const nothing = width === 64 ? b.i64(0) : b.i32(0);
      for (const [register, made] of [
        [dst, value],
        [mask, nothing],
      ] as const) {
        if (high) b.setVectorHigh(register, simd(b, replace, [b.vectorHigh(register), made], lane));
        else b.setVector(register, simd(b, replace, [b.vector(register), made], lane));
      }
      b.emit('restart');
    });
  // Of two singles, the lower half of an xmm register remains.
  const low = b.vector(dst);
  if (lanes * width === 64) b.setVector(dst, simd(b, 'i64x2.replace_lane', [zero(b), i64Lane(b, low)], 0));
  if (lanes <= inHalf) b.setVectorHigh(dst, zero(b));
  setHalves(b, x.operands[2]!, [zero(b)]);
}
// `vsib`: the index register has the vector's length; `vsibx`: it is an xmm register.
for (const [names, opcode, indexWidth] of [
  [['VPGATHERDD', 'VPGATHERDQ'], '90', 32],
  [['VPGATHERQD', 'VPGATHERQQ'], '91', 64],
  [['VGATHERDPS', 'VGATHERDPD'], '92', 32],
  [['VGATHERQPS', 'VGATHERQPD'], '93', 64],
] as const) {
  const single = indexWidth === 32 ? 'Vx,Md,Hx' : 'Vdq,Md,Hdq';
  defineVex(names[0], [`VEX.66.0F38.W0 ${opcode} ${single} vsib`], 'avx2', (b, x) => gather(b, x, 32, indexWidth));
  const option = indexWidth === 32 ? 'vsibx' : 'vsib';
  defineVex(names[1], [`VEX.66.0F38.W1 ${opcode} Vx,Mq,Hx ${option}`], 'avx2', (b, x) => gather(b, x, 64, indexWidth));
}
