/** IN, OUT, INS, OUTS: helpers that check IOPL and the I/O permission bitmap, then ask the bus. SDM volume 2. */
import type { Builder } from '../ir/builder.ts';
import type { Insn, MemoryOperand, Operand } from '../ir/operand.ts';
import { define } from './define.ts';

/** The port: DX or an immediate byte. */
const port = (b: Builder, o: Operand) => b.read(o);
const bytes = (b: Builder, x: Insn) => b.i32(x.width / 8);
const repeated = (b: Builder, x: Insn) => b.i32(x.repeat === 'none' ? 0 : 1);

define('IN', ['E4 AL,Ib', 'E5 eAX,Ib', 'EC AL,DX', 'ED eAX,DX'], (b, x) =>
  b.call('in', x, port(b, x.src), bytes(b, x)));
define('OUT', ['E6 Ib,AL', 'E7 Ib,eAX', 'EE DX,AL', 'EF DX,eAX'], (b, x) =>
  b.call('out', x, port(b, x.dst), bytes(b, x)));
define('INS', ['6C Yb,DX rep', '6D Yz,DX rep'], (b, x) =>
  b.call('ins', x, bytes(b, x), b.i32(x.addressWidth), repeated(b, x)));
define('OUTS', ['6E DX,Xb rep', '6F DX,Xz rep'], (b, x) =>
  b.call('outs', x, bytes(b, x), b.i32(x.addressWidth), repeated(b, x), b.i32((x.src as MemoryOperand).segment)));
