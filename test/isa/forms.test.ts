/** Form strings: what they mean, and that wrong ones do not get through. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { allForms, texts } from '../../src/isa/all.ts';
import { createDecoder, type DecodedInstruction } from '../../src/isa/decode.ts';
import { DecodeTable } from '../../src/isa/decode-table.ts';
import type { Definition } from '../../src/isa/define.ts';
import { FormText, parseForm } from '../../src/isa/forms.ts';

const definition = (name: string, ...texts: string[]): Definition => ({
  name,
  forms: texts,
  feature: 'base',
  record() {},
});
const formsOf = (name: string, ...texts: string[]) => {
  const d = definition(name, ...texts);
  return texts.map((text) => new FormText(d, text));
};
const parse = (text: string) => parseForm(definition('TEST', text), text);
const bytes = (hex: string) => Uint8Array.from(Buffer.from(hex.replaceAll(' ', ''), 'hex'));

function decodeWith(
  list: ReturnType<typeof formsOf>,
  hex: string,
  mode: 16 | 32 | 64 = 64,
): DecodedInstruction | string {
  const code = bytes(hex);
  const decoded = createDecoder(() => list)(code, 0, code.length, 0x1000n, mode);
  return decoded.failure === null ? decoded : decoded.failure;
}
const nameOf = (d: DecodedInstruction | string) => (typeof d === 'string' ? d : d.definition.name);

test('a form string says map, opcode, prefix, extension and operands', () => {
  const f = parse('66 0F 38 F6 Gy,Ey');
  assert.deepEqual([f.map, f.opcode, f.prefix, f.modrm, f.operands.length], [2, 0xf6, '66', true, 2]);
  assert.deepEqual(f.widths, [32, 32, 64, 32, 32, 64]);
  const g = parse('83 /5 Ev,Ibs lock');
  assert.deepEqual([g.extension, g.lock, g.immediateBytes[0], g.operands[1]!.signed], [5, true, 1, true]);
  const v = parse('VEX.NP.0F38.L0 F2 Gy,By,Ey');
  assert.deepEqual(
    [v.map, v.opcode, v.vex, v.usesVvvv, v.protectedOnly],
    [2, 0xf2, { length: 0, w: 'size' }, true, true],
  );
  const x = parse('D8 C0+r ST0,STi');
  assert.deepEqual([x.map, x.opcode, x.fixedModrm, x.fixedModrms], [0, 0xd8, 0xc0, 8]);
});

test('the width of an instruction is that of the operand that follows the operand size', () => {
  const widths = (text: string) => parse(text).widths.slice(0, 3);
  assert.deepEqual(widths('0F B6 Gv,Eb'), [16, 32, 64]);
  assert.deepEqual(widths('E4 AL,Ib'), [8, 8, 8]);
  assert.deepEqual(widths('EE DX,AL'), [8, 8, 8]);
  assert.deepEqual(widths('ED eAX,DX'), [16, 32, 32]);
  assert.deepEqual(widths('6D Yz,DX rep'), [16, 32, 32]);
  assert.deepEqual(widths('6A Ibs d64'), [16, 32, 64]);
  assert.deepEqual(widths('C8 Iw,Ib d64'), [16, 32, 64]);
  assert.deepEqual(widths('70+cc Jb f64'), [16, 32, 64]);
  assert.deepEqual(widths('FF /3 Mp'), [16, 32, 64]);
  assert.deepEqual(widths('F2 0F 2A Vsd,Ey'), [32, 32, 64]);
});

test('a wrong form string is an error that quotes it', () => {
  const wrong = [
    '',
    'GG',
    '0F',
    '50+x Zv',
    '51+r Zv',
    '71+cc Jb',
    '80 /8 Eb,Ib',
    '00 Eb,Gb lok',
    '00 Eb,Gq9',
    '00 Eb Gb',
    '50+r Ev',
    '90 Zv',
    'E8 Jq',
    '9A Av',
    '00 Ew,Iq',
    'D8 C1+r ST0,STi',
    'D8 C0 ST0,STi',
    '0F 01 D0 Eb',
    '80 /1 Eb,Gb',
    '00 Eb,Ew',
    '0F F2 By,Ey',
    'VEX.NP F2 Gy,By,Ey',
    'VEX.0F.Q 10 Vx',
    '0F 01 10',
    '00 /1! M',
    '40 x64 i64',
    '40 d64 f64',
    '40 w0 w1',
    '00 Et,Gb',
    '00 /0@ Rd',
  ];
  for (const text of wrong) {
    assert.throws(
      () => parse(text),
      (e: Error) => e.name === 'FormError' && e.message.includes(`'${text}'`),
      text,
    );
  }
});

test('every form is what it is taken for at a glance', () => {
  assert.equal(allForms().length, texts().length);
  const other = new FormText(definition('TEST', '80 Ib'), '80 Ib');
  Object.assign(other, { opcode: 0x81 });
  assert.throws(() => other.form, /taken for opcode 129/);
  assert.throws(() => new FormText(definition('TEST', 'xyz'), 'xyz').form, /form 'xyz'/);
});

test('no two forms of equal rank match the same bytes', () => {
  for (const long of [true, false]) new DecodeTable(texts(), long).workOutAll();
  const clash = [...formsOf('ONE', '80 /1 Eb,Ib'), ...formsOf('TWO', '80 /1 Eb,Ib lock')];
  assert.throws(() => new DecodeTable(clash, true).workOutAll(), /ONE '80 \/1 Eb,Ib', TWO '80 \/1 Eb,Ib lock'/);
  const mixed = [...formsOf('ONE', '80 Eb,Ib'), ...formsOf('TWO', '80 Ib')];
  assert.throws(() => new DecodeTable(mixed, true).workOutAll(), /with and without ModRM/);
});

test('an exact opcode byte wins over +r, but not with REX.B', () => {
  const list = [...formsOf('XCHG', '90+r Zv,rAX'), ...formsOf('NOP', '90'), ...formsOf('PAUSE', 'F3 90')];
  assert.equal(nameOf(decodeWith(list, '90')), 'NOP');
  assert.equal(nameOf(decodeWith(list, '4090')), 'NOP');
  assert.equal(nameOf(decodeWith(list, 'f390')), 'PAUSE');
  assert.equal(nameOf(decodeWith(list, '91')), 'XCHG');
  assert.equal(nameOf(decodeWith(list, '4190')), 'XCHG');
  assert.equal(nameOf(decodeWith(list, 'f34190')), 'XCHG');
});

test('a mandatory prefix wins over a form without one, F2 and F3 hide 66', () => {
  const list = [
    ...formsOf('BSF', '0F BC Gv,Ev'),
    ...formsOf('TZCNT', 'F3 0F BC Gv,Ev'),
    ...formsOf('MOVQ', 'NP 0F 6F Pq,Qq'),
    ...formsOf('MOVDQA', '66 0F 6F Vdq,Wdq'),
    ...formsOf('MOVDQU', 'F3 0F 6F Vdq,Wdq'),
  ];
  assert.equal(nameOf(decodeWith(list, '0fbcc1')), 'BSF');
  assert.equal(nameOf(decodeWith(list, 'f20fbcc1')), 'BSF');
  assert.equal(nameOf(decodeWith(list, 'f30fbcc1')), 'TZCNT');
  assert.equal(nameOf(decodeWith(list, 'f3f20fbcc1')), 'BSF');
  assert.equal(nameOf(decodeWith(list, 'f2f30fbcc1')), 'TZCNT');
  assert.equal((decodeWith(list, '66f30fbcc1') as DecodedInstruction).insn.width, 16);
  assert.equal(nameOf(decodeWith(list, '0f6fc1')), 'MOVQ');
  assert.equal(nameOf(decodeWith(list, '660f6fc1')), 'MOVDQA');
  assert.equal(nameOf(decodeWith(list, 'f3660f6fc1')), 'MOVDQU');
  assert.equal(nameOf(decodeWith(list, 'f2660f6fc1')), 'undefined');
});

test('NFx takes 66 as the operand size and no F2 or F3', () => {
  const list = formsOf('MOVBE', 'NFx 0F 38 F0 Gv,Mv');
  assert.equal((decodeWith(list, '0f38f003') as DecodedInstruction).insn.width, 32);
  assert.equal((decodeWith(list, '660f38f003') as DecodedInstruction).insn.width, 16);
  assert.equal(nameOf(decodeWith(list, 'f30f38f003')), 'undefined');
  assert.equal(nameOf(decodeWith(list, '66f20f38f003')), 'undefined');
});

test('fixed ModRM bytes, extensions and mod select among the forms of one opcode', () => {
  const list = [
    ...formsOf('SGDT', '0F 01 /0 Ms'),
    ...formsOf('VMCALL', '0F 01 C1'),
    ...formsOf('LFENCE', 'NP 0F AE /5!'),
    ...formsOf('FADD', 'D8 C0+r ST0,STi', 'D8 /0 Md'),
    ...formsOf('FLD1', 'D9 E8'),
    ...formsOf('MOVHLPS', 'NP 0F 12 Vq,Uq'),
    ...formsOf('MOVLPS', 'NP 0F 12 Vq,Mq'),
    ...formsOf('CX8', '0F C7 /1 Mq w0 lock'),
    ...formsOf('CX16', '0F C7 /1 Mdq w1 lock'),
  ];
  assert.equal(nameOf(decodeWith(list, '0f0100')), 'SGDT');
  assert.equal((decodeWith(list, '0f0100') as DecodedInstruction).insn.operands[0]!.width, 80);
  assert.equal((decodeWith(list, '0f0100', 32) as DecodedInstruction).insn.operands[0]!.width, 48);
  assert.equal(nameOf(decodeWith(list, '0f01c1')), 'VMCALL');
  assert.equal((decodeWith(list, '0f01c1') as DecodedInstruction).insn.opcode, 0x0f01c1);
  assert.equal(nameOf(decodeWith(list, '0f01c0')), 'undefined');
  assert.equal(nameOf(decodeWith(list, '0faeef')), 'LFENCE');
  assert.equal(nameOf(decodeWith(list, '0fae28')), 'undefined');
  const fadd = decodeWith(list, 'd8c3') as DecodedInstruction;
  assert.deepEqual(
    fadd.insn.operands.map((o) => [o.kind, (o as { index: number }).index]),
    [
      ['st', 0],
      ['st', 3],
    ],
  );
  assert.equal((decodeWith(list, 'd803') as DecodedInstruction).insn.dst.width, 32);
  assert.equal(nameOf(decodeWith(list, 'd9e8')), 'FLD1');
  assert.equal(nameOf(decodeWith(list, '0f12c1')), 'MOVHLPS');
  assert.equal(nameOf(decodeWith(list, '0f1201')), 'MOVLPS');
  assert.equal(nameOf(decodeWith(list, '0fc709')), 'CX8');
  assert.equal(nameOf(decodeWith(list, '480fc709')), 'CX16');
});
