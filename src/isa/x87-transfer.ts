/** FLD, FST, FILD, FIST, FISTTP, FBLD, FBSTP, FXCH, FCMOVcc and the constants. SDM volume 1, 8.3.3 and 8.3.4; volume 2. */
import type { MemoryOperand } from '../ir/operand.ts';
import { roles } from '../ir/x87-ops.ts';
import { defineX87, type Format, operand, place, result } from './x87.ts';

const loads: readonly (readonly [name: string, form: string, format: Format])[] = [
  ['FLD', 'D9 /0 Md', 'f32'],
  ['FLD', 'DD /0 Mq', 'f64'],
  ['FLD', 'DB /5 Mt', 'f80'],
  ['FILD', 'DF /0 Mw', 'i16'],
  ['FILD', 'DB /0 Md', 'i32'],
  ['FILD', 'DF /5 Mq', 'i64'],
  ['FBLD', 'DF /4 Mt', 'bcd'],
];
for (const [name, form, format] of loads) {
  defineX87(name, [form], (b, { dst }) => {
    operand(b, dst as MemoryOperand, format);
    b.emit('x87.push');
  });
}

const stores: readonly (readonly [name: string, form: string, format: Format, pops: number])[] = [
  ['FST', 'D9 /2 Md', 'f32', 0],
  ['FST', 'DD /2 Mq', 'f64', 0],
  ['FSTP', 'D9 /3 Md', 'f32', 1],
  ['FSTP', 'DD /3 Mq', 'f64', 1],
  ['FSTP', 'DB /7 Mt', 'f80', 1],
  ['FIST', 'DF /2 Mw', 'i16', 0],
  ['FIST', 'DB /2 Md', 'i32', 0],
  ['FISTP', 'DF /3 Mw', 'i16', 1],
  ['FISTP', 'DB /3 Md', 'i32', 1],
  ['FISTP', 'DF /7 Mq', 'i64', 1],
  ['FBSTP', 'DF /6 Mt', 'bcd', 1],
];
for (const [name, form, format, pops] of stores) {
  defineX87(name, [form], (b, { dst }) => result(b, dst as MemoryOperand, format, pops));
}

for (const [form, format] of [
  ['DF /1 Mw', 'i16'],
  ['DB /1 Md', 'i32'],
  ['DD /1 Mq', 'i64'],
] as const)
  defineX87('FISTTP', [form], (b, { dst }) => result(b, dst as MemoryOperand, format, 1, true), 'sse3');

defineX87('FLD', ['D9 C0+r STi'], (b, x) => b.emit('x87.load', [], place(x.dst)));
defineX87('FST', ['DD D0+r STi'], (b, x) => b.emit('x87.store', [], roles(place(x.dst), 0, 0)));
// The later ones are duplicates that the manual does not have, by the names that they go by.
for (const [name, form] of [
  ['FSTP', 'DD D8+r STi'],
  ['FSTP1', 'D9 D8+r STi'],
  ['FSTP8', 'DF D0+r STi'],
  ['FSTP9', 'DF D8+r STi'],
] as const)
  defineX87(name, [form], (b, x) => b.emit('x87.store', [], roles(place(x.dst), 0, 0, 1)));
for (const [name, form] of [
  ['FXCH', 'D9 C8+r STi'],
  ['FXCH4', 'DD C8+r STi'],
  ['FXCH7', 'DF C8+r STi'],
] as const)
  defineX87(name, [form], (b, x) => b.emit('x87.exchange', [], place(x.dst)));

const constants = ['FLD1', 'FLDL2T', 'FLDL2E', 'FLDPI', 'FLDLG2', 'FLDLN2', 'FLDZ'];
constants.forEach((name, n) =>
  defineX87(name, [`D9 ${(0xe8 + n).toString(16).toUpperCase()}`], (b) => {
    b.emit('x87.operand.constant', [], n);
    b.emit('x87.push');
  }),
);

// Conditions B, E, BE, U as the condition codes of Jcc, and their opposites.
[2, 4, 6, 10].forEach((code, n) => {
  const opcode = (0xc0 + 8 * n).toString(16).toUpperCase();
  const names = ['FCMOVB', 'FCMOVE', 'FCMOVBE', 'FCMOVU'];
  const opposites = ['FCMOVNB', 'FCMOVNE', 'FCMOVNBE', 'FCMOVNU'];
  defineX87(
    names[n]!,
    [`DA ${opcode}+r ST0,STi`],
    (b, x) => b.emit('x87.move', [b.condition(code)], place(x.src)),
    'cmov',
  );
  defineX87(
    opposites[n]!,
    [`DB ${opcode}+r ST0,STi`],
    (b, x) => b.emit('x87.move', [b.condition(code | 1)], place(x.src)),
    'cmov',
  );
});
