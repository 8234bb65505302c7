/** Lowering of the micro-ops of the mmx registers; the table is src/ir/mmx-ops.ts. */
import type { MicroOp } from '../src/ir/micro-ops.ts';
import { offsetOf } from '../src/state/layout.ts';
import { type Arm, addArms } from './lower.ts';

const MF = 16;
const SUMMARY = 0x80;
const TOP = 0x3800;
const EXPONENT_ONES = 0xffff;
const register = (n: unknown): number => offsetOf(`fpr${n as number}`);

const arms: Partial<Record<MicroOp, Arm>> = {
  'mmx.ready': (reader) => {
    const { e } = reader;
    reader.exitIf(e.op('i32.and', e.state32('fsw'), e.i32(SUMMARY)), MF);
    return e.nop();
  },
  'mmx.get': ({ e }, _, [n]) => e.load('i64', e.cpu(), register(n)),
  'mmx.set': ({ e }, [value], [n]) => {
    e.store('i64', e.cpu(), value!, register(n));
    e.store('i32', e.cpu(), e.i32(EXPONENT_ONES), register(n) + 8);
    return e.nop();
  },
  'mmx.enter': ({ e }) => {
    e.setState32('fsw', e.op('i32.and', e.state32('fsw'), e.i32(~TOP)));
    e.setState32('ftw', e.i32(0xff));
    return e.nop();
  },
  'mmx.empty': ({ e }) => {
    e.setState32('fsw', e.op('i32.and', e.state32('fsw'), e.i32(~TOP)));
    e.setState32('ftw', e.i32(0));
    return e.nop();
  },
};
addArms(arms);
