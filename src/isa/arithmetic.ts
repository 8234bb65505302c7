/** ADD, ADC, SUB, SBB, AND, OR, XOR, CMP, TEST, INC, DEC, NEG, NOT. SDM volume 2. */

import type { Builder } from '../ir/builder.ts';
import type { FlagKind } from '../ir/flags.ts';
import type { Int, Width } from '../ir/types.ts';
import { define } from './define.ts';

/** The forms that the eight classic instructions share; `n` is the instruction's place among them. */
const classicForms = (n: number, lock: string): string[] => {
  const op = (k: number) => (n * 8 + k).toString(16).toUpperCase().padStart(2, '0');
  return [
    `${op(0)} Eb,Gb ${lock}`,
    `${op(1)} Ev,Gv ${lock}`,
    `${op(2)} Gb,Eb`,
    `${op(3)} Gv,Ev`,
    `${op(4)} AL,Ib`,
    `${op(5)} rAX,Iz`,
    `80 /${n} Eb,Ib ${lock}`,
    `81 /${n} Ev,Iz ${lock}`,
    `82 /${n} Eb,Ib i64 ${lock}`,
    `83 /${n} Ev,Ibs ${lock}`,
  ];
};

type Compute = (b: Builder, a: Int, c: Int, width: Width) => Int;

function classic(name: string, n: number, kind: FlagKind, compute: Compute, logic = false): void {
  define(name, classicForms(n, 'lock'), (b, { dst, src, width }) => {
    const c = b.read(src);
    const { old, value } = b.modify(dst, (a) => compute(b, a, c, width));
    if (logic) b.setFlags('logic', width, value);
    else b.setFlags(kind, width, old, c);
  });
}

classic('ADD', 0, 'add', (b, a, c) => b.add(a, c));
classic('OR', 1, 'logic', (b, a, c) => b.or(a, c), true);
classic('AND', 4, 'logic', (b, a, c) => b.and(a, c), true);
classic('SUB', 5, 'sub', (b, a, c) => b.sub(a, c));
classic('XOR', 6, 'logic', (b, a, c) => b.xor(a, c), true);

function withCarry(name: string, n: number, kind: 'adc' | 'sbb'): void {
  define(name, classicForms(n, 'lock'), (b, { dst, src, width }) => {
    const c = b.read(src);
    const carry = b.carry();
    const wide = width === 64 ? b.extendU(carry) : carry;
    const { old } = b.modify(dst, (a) => (kind === 'adc' ? b.add(b.add(a, c), wide) : b.sub(b.sub(a, c), wide)));
    b.setFlags(kind, width, old, c, carry);
  });
}
withCarry('ADC', 2, 'adc');
withCarry('SBB', 3, 'sbb');

define('CMP', classicForms(7, ''), (b, { dst, src, width }) => {
  b.setFlags('sub', width, b.read(dst), b.read(src));
});

define('TEST', [
  '84 Eb,Gb',
  '85 Ev,Gv',
  'A8 AL,Ib',
  'A9 rAX,Iz',
  'F6 /0 Eb,Ib',
  'F6 /1 Eb,Ib',
  'F7 /0 Ev,Iz',
  'F7 /1 Ev,Iz',
], (b, { dst, src, width }) => {
  b.setFlags('logic', width, b.and(b.read(dst), b.read(src)));
});

for (const [name, n, plus, kind] of [
  ['INC', 0, 0x40, 'inc'],
  ['DEC', 1, 0x48, 'dec'],
] as const) {
  define(name, [`${plus.toString(16)}+r Zv i64`, `FE /${n} Eb lock`, `FF /${n} Ev lock`], (b, { dst, width }) => {
    const carry = b.carry();
    const { old } = b.modify(dst, (a) =>
      kind === 'inc' ? b.add(a, b.constant(width, 1)) : b.sub(a, b.constant(width, 1)),
    );
    b.setFlags(kind, width, old, undefined, carry);
  });
}

define('NEG', ['F6 /3 Eb lock', 'F7 /3 Ev lock'], (b, { dst, width }) => {
  const zero = b.constant(width, 0);
  const { old } = b.modify(dst, (a) => b.sub(zero, a));
  b.setFlags('sub', width, zero, old);
});

define('NOT', ['F6 /2 Eb lock', 'F7 /2 Ev lock'], (b, { dst }) => {
  b.modify(dst, (a) => b.not(a));
});
