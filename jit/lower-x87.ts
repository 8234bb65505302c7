/**
 * Lowering of the x87's micro-ops: calls of the functions that x87-functions.ts adds to the core module. A translation
 * imports them from there.
 */
import type { MicroOp } from '../src/ir/micro-ops.ts';
import { type X87Op, x87Immediates, x87Ops } from '../src/ir/x87-ops.ts';
import { offsetOf, segmentNames } from '../src/state/layout.ts';
import { useLibrary } from './arith.ts';
import type { Emitter, Expr } from './emitter.ts';
import { type Arm, addArms, type Reader } from './lower.ts';
import { functionName, softfloat, x87Functions } from './x87-tables.ts';

const MF = 16;
const SUMMARY = 0x80;

/** The expression of an x87 micro-op; immediates are expressions, too. */
export function lowerX87(reader: Reader, op: X87Op, args: readonly Expr[], imm: readonly Expr[]): Expr {
  const { e } = reader;
  switch (op) {
    case 'x87.ready':
      reader.exitIf(e.op('i32.and', e.state32('fsw'), e.i32(SUMMARY)), MF);
      return e.nop();
    case 'x87.status':
      return e.state32('fsw');
    case 'x87.done':
      return e.state32('x87Done');
    case 'x87.result.upper':
      return e.load('i32', e.cpu(), offsetOf('x87Operand') + 8, 'load16_u');
    case 'x87.code':
      e.setState64('fip', imm[0]!);
      e.setState32('fop', imm[1]!);
      e.setState32('fcs', e.state32('csSelector'));
      return e.nop();
    case 'x87.data':
      e.setState64('fdp', args[0]!);
      e.setState32('fds', e.load('i32', e.op('i32.add', e.cpu(), imm[0]!)));
      return e.nop();
    default: {
      const name = op.slice(4);
      return e.call(functionName(name), [e.cpu(), ...imm, ...args], x87Functions[name]!.result);
    }
  }
}

const arms: Partial<Record<MicroOp, Arm>> = {};
for (const op of Object.keys(x87Ops) as X87Op[]) {
  arms[op] = (reader, args, imm) => {
    const { e } = reader;
    const values = op === 'x87.data' ? [offsetOf(`${segmentNames[imm[0] as number]!}Selector`)] : imm;
    const types = x87Immediates(op);
    return lowerX87(
      reader,
      op,
      args,
      values.map((n, i) => (types[i] === 'i64' ? e.i64(n as bigint) : e.i32(n as number))),
    );
  };
}
addArms(arms);
useLibrary(softfloat, { raised: 'i32', resultSe: 'i32', result2M: 'i64', result2Se: 'i32', condition: 'i32' });

/** Lets a translation import the functions from the core module. */
export function offerX87Functions(e: Emitter): void {
  for (const [name, { parameters, result }] of Object.entries(x87Functions))
    e.offerFunction(functionName(name), 'core', ['i32', ...parameters], result);
}
