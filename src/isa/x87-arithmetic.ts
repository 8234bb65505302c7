/** x87 arithmetic, comparisons and transcendental functions. SDM volume 1, 8.3.5 to 8.3.10; volume 2. */
import type { Builder } from '../ir/builder.ts';
import { ARITHMETIC_FLAGS } from '../ir/flags.ts';
import type { MemoryOperand } from '../ir/operand.ts';
import { OPERAND, QUIET_COMPARE, roles, type X87Op } from '../ir/x87-ops.ts';
import { defineX87, type Format, operand, place } from './x87.ts';

const hex = (n: number): string => n.toString(16).toUpperCase();
const memoryForms: readonly (readonly [prefix: string, opcode: string, format: Format])[] = [
  ['F', 'D8 /n Md', 'f32'],
  ['F', 'DC /n Mq', 'f64'],
  ['FI', 'DA /n Md', 'i32'],
  ['FI', 'DE /n Mw', 'i16'],
];

/** The four operations with their reversed kinds, by ModRM.reg; `turned`: the operand is on the left. */
const operations: readonly (readonly [n: number, name: string, op: X87Op, turned: boolean])[] = [
  [0, 'ADD', 'x87.add', false],
  [1, 'MUL', 'x87.mul', false],
  [4, 'SUB', 'x87.sub', false],
  [5, 'SUBR', 'x87.sub', true],
  [6, 'DIV', 'x87.div', false],
  [7, 'DIVR', 'x87.div', true],
];
for (const [n, name, op, turned] of operations) {
  for (const [prefix, form, format] of memoryForms) {
    defineX87(`${prefix}${name}`, [form.replace('n', `${n}`)], (b, { dst }) => {
      operand(b, dst as MemoryOperand, format);
      b.emit(op, [], turned ? roles(0, OPERAND, 0) : roles(0, 0, OPERAND));
    });
  }
  defineX87(`F${name}`, [`D8 ${hex(0xc0 + 8 * n)}+r ST0,STi`], (b, x) => {
    const i = place(x.src);
    b.emit(op, [], turned ? roles(0, i, 0) : roles(0, 0, i));
  });
  // With the register as destination the two kinds of subtraction and division stand the other way round.
  const code = hex(0xc0 + 8 * (n < 4 ? n : n ^ 1));
  defineX87(`F${name}`, [`DC ${code}+r STi,ST0`], (b, x) => {
    const i = place(x.dst);
    b.emit(op, [], turned ? roles(i, 0, i) : roles(i, i, 0));
  });
  defineX87(`F${name}P`, [`DE ${code}+r STi,ST0`], (b, x) => {
    const i = place(x.dst);
    b.emit(op, [], turned ? roles(i, 0, i, 1) : roles(i, i, 0, 1));
  });
}

// --- on ST0, or on ST0 and ST1
const simple: readonly (readonly [name: string, code: number, op: X87Op, roles: number | null])[] = [
  ['FCHS', 0xe0, 'x87.chs', roles(0, 0, 0)],
  ['FABS', 0xe1, 'x87.abs', roles(0, 0, 0)],
  ['F2XM1', 0xf0, 'x87.f2xm1', roles(0, 0, 0)],
  ['FYL2X', 0xf1, 'x87.yl2x', roles(1, 0, 1, 1)],
  ['FPTAN', 0xf2, 'x87.tan', null],
  ['FPATAN', 0xf3, 'x87.patan', roles(1, 0, 1, 1)],
  ['FXTRACT', 0xf4, 'x87.xtract', null],
  ['FPREM1', 0xf5, 'x87.remainder1', roles(0, 0, 1)],
  ['FPREM', 0xf8, 'x87.remainder', roles(0, 0, 1)],
  ['FYL2XP1', 0xf9, 'x87.yl2xp1', roles(1, 0, 1, 1)],
  ['FSQRT', 0xfa, 'x87.sqrt', roles(0, 0, 0)],
  ['FSINCOS', 0xfb, 'x87.sincos', null],
  ['FRNDINT', 0xfc, 'x87.round', roles(0, 0, 0)],
  ['FSCALE', 0xfd, 'x87.scale', roles(0, 0, 1)],
  ['FSIN', 0xfe, 'x87.sin', roles(0, 0, 0)],
  ['FCOS', 0xff, 'x87.cos', roles(0, 0, 0)],
];
for (const [name, code, op, of] of simple) {
  defineX87(name, [`D9 ${hex(code)}`], (b) => b.emit(op, [], ...(of === null ? [] : [of])));
}

// --- comparisons
const compare = (b: Builder, i: number, pops: number, quiet: boolean): void => {
  b.emit('x87.compare', [], roles(0, 0, i, pops) | (quiet ? QUIET_COMPARE : 0));
};
for (const [name, n, pops] of [
  ['COM', 2, 0],
  ['COMP', 3, 1],
] as const) {
  for (const [prefix, form, format] of memoryForms) {
    defineX87(`${prefix}${name}`, [form.replace('n', `${n}`)], (b, { dst }) =>
      compare(b, operand(b, dst as MemoryOperand, format), pops, false),
    );
  }
}
// FCOM2, FCOMP3 and FCOMP5 are duplicates that the manual does not have.
for (const [name, form, pops] of [
  ['FCOM', 'D8 D0+r STi', 0],
  ['FCOM2', 'DC D0+r STi', 0],
  ['FCOMP', 'D8 D8+r STi', 1],
  ['FCOMP3', 'DC D8+r STi', 1],
  ['FCOMP5', 'DE D0+r STi', 1],
] as const)
  defineX87(name, [form], (b, x) => compare(b, place(x.dst), pops, false));
defineX87('FCOMPP', ['DE D9'], (b) => compare(b, 1, 2, false));
defineX87('FUCOM', ['DD E0+r STi'], (b, x) => compare(b, place(x.dst), 0, true));
defineX87('FUCOMP', ['DD E8+r STi'], (b, x) => compare(b, place(x.dst), 1, true));
defineX87('FUCOMPP', ['DA E9'], (b) => compare(b, 1, 2, true));
defineX87('FTST', ['D9 E4'], (b) => {
  b.emit('x87.operand.constant', [], 6);
  compare(b, OPERAND, 0, false);
});
defineX87('FXAM', ['D9 E5'], (b) => b.emit('x87.examine'));

/** The comparisons that set ZF, PF and CF and clear the other arithmetic flags. */
for (const [name, form, pops, quiet] of [
  ['FUCOMI', 'DB E8+r ST0,STi', 0, true],
  ['FCOMI', 'DB F0+r ST0,STi', 0, false],
  ['FUCOMIP', 'DF E8+r ST0,STi', 1, true],
  ['FCOMIP', 'DF F0+r ST0,STi', 1, false],
] as const) {
  defineX87(
    name,
    [form],
    (b, { src }) => {
      const i = place(src);
      const flags = b.emit<'i32'>('x87.compare.flags', [], roles(0, 0, i, pops) | (quiet ? QUIET_COMPARE : 0));
      b.mergeFlags(ARITHMETIC_FLAGS, flags);
    },
    'cmov',
  );
}
