/**
 * The micro-ops of the x87 unit. SDM volume 1, chapter 8.
 *
 * They name stack registers by their place, ST0 to ST7, as immediates; place 8 is the memory operand of the instruction,
 * which an `operand` micro-op has put there. What an instruction does to the stack, the tags and the status word is part
 * of its micro-op, exceptions included: a masked one has its response, an unmasked one sets the error summary, of which
 * `x87.ready` of the next instruction takes notice.
 *
 * Those that are not plain writes may leave (a translation hands to the interpreter what is not straight), so they stand
 * before the instruction's other changes.
 */
import { type MicroOpSpec, spec } from './micro-op-spec.ts';

const step = (signature: string) => spec('memory', signature);
const names = <const N extends string>(list: readonly N[], of: MicroOpSpec) =>
  Object.fromEntries(list.map((n) => [n, of])) as unknown as Record<N, MicroOpSpec>;

/** The place of the memory operand. */
export const OPERAND = 8;
/** Immediate of the arithmetic micro-ops: destination, operands, how often the stack is popped afterwards. */
export const roles = (destination: number, a: number, b: number, pops = 0): number =>
  destination | (a << 4) | (b << 8) | (pops << 12);
/** Added to the roles of a comparison that raises nothing for quiet NaNs. */
export const QUIET_COMPARE = 1 << 14;

export const x87Ops = {
  /** #MF if an unmasked exception is pending. */
  'x87.ready': spec('fault', '>'),
  // The operand from its bits in memory; integers sign-extended.
  'x87.operand.f32': step('i>'),
  'x87.operand.f64': step('l>'),
  'x87.operand.i64': step('l>'),
  'x87.operand.f80': step('li>'), // significand; sign and exponent
  'x87.operand.bcd': step('li>'),
  'x87.operand.constant': step('>'), // [which, in the order of D9 E8 to D9 EE]
  'x87.push': step('>'), // the operand
  'x87.load': step('>'), // [place]: pushes a copy of a register
  // destination := a op b [roles]
  ...names(
    [
      'x87.add',
      'x87.sub',
      'x87.mul',
      'x87.div',
      'x87.scale',
      'x87.remainder',
      'x87.remainder1',
      'x87.yl2x',
      'x87.yl2xp1',
      'x87.patan',
    ],
    step('>'),
  ),
  // destination := op a [roles]
  ...names(['x87.sqrt', 'x87.round', 'x87.f2xm1', 'x87.sin', 'x87.cos', 'x87.abs', 'x87.chs'], step('>')),
  // Replaces ST0 by the first result and pushes the second.
  ...names(['x87.xtract', 'x87.tan', 'x87.sincos'], step('>')),
  'x87.compare': step('>'), // [roles]: condition code from a ? b
  'x87.compare.flags': step('>i'), // [roles]: the arithmetic flags: ZF, PF, CF; as they were if an invalid operand forbids it
  'x87.examine': step('>'),
  // ST0 as it goes to memory. Followed by the store, if `x87.done`, and by `x87.commit`.
  'x87.result.f32': step('>i'),
  'x87.result.f64': step('>l'),
  'x87.result.i16': step('>i'), // [1: truncate]
  'x87.result.i32': step('>i'), // [1: truncate]
  'x87.result.i64': step('>l'), // [1: truncate]
  'x87.result.f80': step('>l'), // the significand
  'x87.result.bcd': step('>l'), // the low 8 bytes
  /** The two upper bytes of a result of ten. */
  'x87.result.upper': spec('read', '>i'),
  /** 1 unless an unmasked exception keeps the instruction from its effects. */
  'x87.done': spec('read', '>i'),
  /** The opposite. A translation never comes to what stands under this condition. */
  'x87.undone': spec('read', '>i'),
  'x87.commit': spec('write', '>'), // [pops]: flags of the result, and the pop
  'x87.store': step('>'), // [roles]: register to register
  'x87.exchange': step('>'), // [place]
  'x87.move': step('i>'), // [place]: FCMOVcc
  'x87.free': step('>'), // [place]
  'x87.rotate': step('>'), // [1 or 7, added to TOP]
  'x87.pop': step('>'),
  'x87.init': step('>'),
  'x87.clear': step('>'),
  'x87.control': step('i>'), // FLDCW
  'x87.status': spec('read', '>i'),
  /** Where the last instruction that is not a control one stands, and its opcode. [instruction pointer, FOP] */
  'x87.code': spec('write', '>'),
  /** The offset of its memory operand. [segment] */
  'x87.data': spec('write', 'l>'),
} as const;

export type X87Op = keyof typeof x87Ops;

/** The immediates of an x87 micro-op as they stand in an interpreter's record. */
export function x87Immediates(op: X87Op): readonly ('i32' | 'i64')[] {
  switch (op) {
    case 'x87.code':
      return ['i64', 'i32'];
    case 'x87.ready':
    case 'x87.operand.f32':
    case 'x87.operand.f64':
    case 'x87.operand.i64':
    case 'x87.operand.f80':
    case 'x87.operand.bcd':
    case 'x87.push':
    case 'x87.xtract':
    case 'x87.tan':
    case 'x87.sincos':
    case 'x87.examine':
    case 'x87.result.f32':
    case 'x87.result.f64':
    case 'x87.result.f80':
    case 'x87.result.bcd':
    case 'x87.result.upper':
    case 'x87.done':
    case 'x87.undone':
    case 'x87.pop':
    case 'x87.init':
    case 'x87.clear':
    case 'x87.control':
    case 'x87.status':
      return [];
    default:
      return ['i32'];
  }
}
export const isX87 = (op: string): op is X87Op => op.startsWith('x87.');
