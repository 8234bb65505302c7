/** Segment-relative addresses in a region: the check against the segment's range, and the linear address. */
import type { Node } from '../src/ir/micro-ops.ts';
import { segmentNames } from '../src/state/layout.ts';
import type { Emitter, Expr } from './emitter.ts';

/** @param offset into the segment, 64 bits; each call of it is one use */
export function segmentAccess(e: Emitter, { imm }: Node, offset: () => Expr): { outside: Expr; linear: () => Expr } {
  const [segment, bytes, write] = imm as [number, number, number];
  const name = segmentNames[segment]!;
  const range = `${name}${write ? 'Write' : 'Read'}`;
  const below = e.op('i64.lt_u', offset(), e.op('i64.extend_u', e.state32(`${range}Low`)));
  const above = e.op(
    'i64.gt_u',
    e.op('i64.add', offset(), e.i64(BigInt(bytes - 1))),
    e.op('i64.extend_u', e.state32(`${range}High`)),
  );
  const linear = () => e.op('i64.and', e.op('i64.add', e.state64(`${name}Base`), offset()), e.i64(0xffffffffn));
  return { outside: e.op('i32.or', below, above), linear };
}
