/**
 * Lowering of the x87's micro-ops for the interpreter: calls of the functions that x87-functions.ts adds to the core
 * module. A translation holds the unit in locals: region-x87.ts.
 */
import type { X87Op } from '../src/ir/x87-ops.ts';
import { offsetOf } from '../src/state/layout.ts';
import { useLibrary } from './arith.ts';
import type { Expr } from './emitter.ts';
import type { Reader } from './lower.ts';
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
    case 'x87.undone':
      return e.op('i32.eqz', e.state32('x87Done'));
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

useLibrary(softfloat, { raised: 'i32', resultSe: 'i32', result2M: 'i64', result2Se: 'i32', condition: 'i32' });
