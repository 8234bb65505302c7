/** The decoder's rules one by one. Each expectation about prefixes was tried on a real processor. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Insn, MemoryOperand } from '../../src/ir/operand.ts';
import { createDecoder, type Decoded } from '../../src/isa/decode.ts';
import type { Definition } from '../../src/isa/define.ts';
import { disassemble } from '../../src/isa/disassemble.ts';
import { FormText } from '../../src/isa/forms.ts';

type Mode = 16 | 32 | 64;

const list: readonly (readonly [string, ...string[]])[] = [
  [
    'ADD',
    '00 Eb,Gb lock',
    '01 Ev,Gv lock',
    '02 Gb,Eb',
    '03 Gv,Ev',
    '05 rAX,Iz',
    '83 /0 Ev,Ibs lock',
    '81 /0 Ev,Iz lock',
  ],
  [
    'MOV',
    '88 Eb,Gb',
    '89 Ev,Gv',
    '8A Gb,Eb',
    '8B Gv,Ev',
    'A0 AL,Ob',
    'A1 rAX,Ov',
    'B8+r Zv,Iv',
    'B0+r Zb,Ib',
    'C7 /0 Ev,Iz',
    '8C Ev,Sw',
    '8E Sw,Ew',
  ],
  ['MOVCR', '0F 20 Rd,Cd i64', '0F 20 Rq,Cq x64'],
  ['PUSH', '50+r Zv d64', '68 Iz d64', '6A Ibs d64'],
  ['JMP', 'EB Jb f64', 'E9 Jz f64', 'EA Ap i64', 'FF /4 Ev f64', 'FF /5 Mp'],
  ['Jcc', '70+cc Jb f64', '0F 80+cc Jz f64'],
  ['LES', 'C4 Gv,Mp i64'],
  ['LDS', 'C5 Gv,Mp i64'],
  ['MOVS', 'A4 Yb,Xb rep', 'A5 Yv,Xv rep'],
  ['LEA', '8D Gv,M'],
  ['INC', '40+r Zv i64'],
  ['DEC', '48+r Zv i64'],
  ['ANDN', 'VEX.NP.0F38.L0 F2 Gy,By,Ey'],
  ['VZEROUPPER', 'VEX.NP.0F.L0.WIG 77'],
  ['VMOVAPS', 'VEX.NP.0F.WIG 28 Vx,Wx'],
  ['UD2', '0F 0B'],
  ['ADCX', '66 0F 38 F6 Gy,Ey'],
  ['ENTER', 'C8 Iw,Ib d64'],
  ['MOVQ', 'NP 0F 6F Pq,Qq'],
  ['MOVAPS', 'NP 0F 28 Vps,Wps'],
];
const forms = list.flatMap(([name, ...texts]) => {
  const definition: Definition = { name, forms: texts, feature: 'base', record() {} };
  return texts.map((text) => new FormText(definition, text));
});
const decoder = createDecoder(() => forms);

const bytes = (hex: string) => Uint8Array.from(Buffer.from(hex.replaceAll(' ', ''), 'hex'));
function decode(hex: string, mode: Mode = 64, rip = 0x1000n): Decoded {
  const code = bytes(hex);
  return decoder(code, 0, code.length, rip, mode);
}
function insn(hex: string, mode: Mode = 64, rip = 0x1000n): Insn {
  const decoded = decode(hex, mode, rip);
  if (decoded.failure !== null) assert.fail(`${hex}: ${decoded.failure}`);
  assert.equal(decoded.insn.length, bytes(hex).length);
  return decoded.insn;
}
function text(hex: string, mode: Mode = 64, rip = 0x1000n): string {
  const decoded = decode(hex, mode, rip);
  return decoded.failure === null ? disassemble(decoded) : decoded.failure;
}
const failure = (hex: string, mode: Mode = 64) => decode(hex, mode).failure;

test('66 changes the operand size, REX.W beats it', () => {
  assert.equal(text('01c8'), 'add eax, ecx');
  assert.equal(text('6601c8'), 'add ax, cx');
  assert.equal(text('664801c8'), 'add rax, rcx');
  assert.equal(text('01c8', 16), 'add ax, cx');
  assert.equal(text('6601c8', 16), 'add eax, ecx');
  assert.equal(text('6601c8', 32), 'add ax, cx');
  assert.equal(text('00c8', 16), 'add al, cl');
  assert.equal(insn('0500000080', 32).src.kind, 'immediate');
  assert.equal(insn('66050080', 32).length, 4);
});

test('a mandatory 66 is no operand size', () => {
  assert.equal(text('660f38f6c1'), 'adcx eax, ecx');
  assert.equal(text('66480f38f6c1'), 'adcx rax, rcx');
});

test('67 changes the address size in every mode', () => {
  assert.equal(text('678b03'), 'mov eax, dword ptr [ebx]');
  assert.equal(text('678b03', 32), 'mov eax, dword ptr [bp+di]');
  assert.equal(text('678b03', 16), 'mov ax, word ptr [ebx]');
  assert.equal(text('67a178563412', 64), 'mov eax, dword ptr [0x12345678]');
  assert.equal(text('a1f0debc9a78563412', 64), 'mov eax, dword ptr [0x123456789abcdef0]');
  assert.equal(text('a13412', 16), 'mov ax, word ptr [0x1234]');
  assert.equal(insn('67a4').addressWidth, 32);
});

test('16-bit addresses', () => {
  const expected = ['bx+si', 'bx+di', 'bp+si', 'bp+di', 'si', 'di', null, 'bx'];
  expected.forEach((inside, rm) => {
    if (inside !== null) assert.equal(text(`8b0${rm}`, 16), `mov ax, word ptr [${inside}]`);
    assert.equal(text(`8b4${rm}fe`, 16), `mov ax, word ptr [${inside ?? 'bp'}-0x2]`);
    assert.equal(text(`8b8${rm}3412`, 16), `mov ax, word ptr [${inside ?? 'bp'}+0x1234]`);
    const stack = rm === 2 || rm === 3 || rm === 6;
    assert.equal((insn(`8b4${rm}fe`, 16).src as MemoryOperand).segment, stack ? 2 : 3);
  });
  assert.equal(text('8b0634f2', 16), 'mov ax, word ptr [0xf234]');
  assert.equal((insn('8b0634f2', 16).src as MemoryOperand).segment, 3);
});

test('SIB: no index, no base, scale and the upper registers', () => {
  assert.equal(text('8b048b'), 'mov eax, dword ptr [rbx+rcx*4]');
  assert.equal(text('8b0424'), 'mov eax, dword ptr [rsp]');
  assert.equal(text('8b04e4'), 'mov eax, dword ptr [rsp]');
  assert.equal(text('428b0424'), 'mov eax, dword ptr [rsp+r12*1]');
  assert.equal(text('8b0425f0ffffff'), 'mov eax, dword ptr [0xfffffffffffffff0]');
  assert.equal(text('8b048df0ffffff'), 'mov eax, dword ptr [rcx*4-0x10]');
  assert.equal(text('418b450a'), 'mov eax, dword ptr [r13+0xa]');
  assert.equal(text('438b048a'), 'mov eax, dword ptr [r10+r9*4]');
  assert.equal(text('8b0425f0ffffff', 32), 'mov eax, dword ptr [0xfffffff0]');
});

test('a RIP-relative operand holds its target', () => {
  const operand = insn('8b0510000000').src as MemoryOperand;
  assert.deepEqual([operand.base, operand.index, operand.displacement], [-1, -1, 0x1016n]);
  // counted from the end of the instruction, immediate included
  assert.equal((insn('c7051000000078563412').dst as MemoryOperand).displacement, 0x101an);
  assert.equal((insn('418b0510000000').src as MemoryOperand).displacement, 0x1017n);
  assert.equal((insn('8b05f0ffffff', 64, 0n).src as MemoryOperand).displacement, 0xfffffffffffffff6n);
  assert.equal((insn('678b0510000000', 64, 0xfffffff8n).src as MemoryOperand).displacement, 0xfn);
  assert.equal((insn('8b0510000000', 32).src as MemoryOperand).displacement, 0x10n);
});

test('segments: SS for rBP and rSP, overrides, and only FS and GS in 64-bit mode', () => {
  const segment = (hex: string, mode: Mode) => (insn(hex, mode).src as MemoryOperand).segment;
  assert.equal(segment('8b03', 32), 3);
  assert.equal(segment('8b4500', 32), 2);
  assert.equal(segment('8b0424', 32), 2);
  assert.equal(segment('8b0505000000', 32), 3);
  for (const [prefix, number] of [
    ['26', 0],
    ['2e', 1],
    ['36', 2],
    ['3e', 3],
    ['64', 4],
    ['65', 5],
  ] as const) {
    assert.equal(segment(`${prefix}8b4500`, 32), number);
    assert.equal(segment(`${prefix}8b4500`, 64), number < 4 ? 2 : number);
    assert.equal(segment(`${prefix}8b03`, 64), number < 4 ? 3 : number);
  }
  assert.equal(segment('26658b03', 32), 5);
  assert.equal(segment('65268b03', 32), 0);
  assert.equal(segment('653e8b03', 64), 5);
  assert.equal(segment('65648b03', 64), 4);
  // r12 and r13 stand in rSP's and rBP's places and use DS
  assert.equal(segment('418b4500', 64), 3);
  assert.equal(segment('418b0424', 64), 3);
  // an index of rBP does not count
  assert.equal(segment('8b046b', 32), 3);
});

test('string operands: the override moves the source and not the destination', () => {
  const x = insn('64a5', 32);
  assert.deepEqual([(x.dst as MemoryOperand).segment, (x.src as MemoryOperand).segment, x.segment], [0, 4, 4]);
  assert.deepEqual([(x.dst as MemoryOperand).base, (x.src as MemoryOperand).base], [7, 6]);
  assert.equal(insn('2ea5', 64).segment, 3);
});

test('F2 and F3: the last one counts, and only where the form repeats', () => {
  assert.equal(insn('f3a4').repeat, 'rep');
  assert.equal(insn('f2a4').repeat, 'repne');
  assert.equal(insn('f2f3a4').repeat, 'rep');
  assert.equal(insn('f3f2a4').repeat, 'repne');
  assert.equal(insn('f301c8').repeat, 'none');
  assert.equal(text('f348a5'), 'rep movsq');
});

test('REX counts directly before the opcode only', () => {
  assert.equal(text('4801c8'), 'add rax, rcx');
  assert.equal(text('486601c8'), 'add ax, cx');
  assert.equal(text('484101c8'), 'add r8d, ecx');
  assert.equal(text('482e01c8'), 'add eax, ecx');
  assert.equal(text('48', 32), 'dec eax');
});

test('byte registers 4-7 are AH..BH without REX and SPL..DIL with', () => {
  assert.equal(text('00e5'), 'add ch, ah');
  assert.equal(text('4000e5'), 'add bpl, spl');
  assert.equal(text('4400e5'), 'add bpl, r12b');
  assert.equal(text('b705'), 'mov bh, 0x5');
  assert.equal(text('40b705'), 'mov dil, 0x5');
  assert.equal(text('41b705'), 'mov r15b, 0x5');
});

test('LOCK needs a form that allows it and a memory operand', () => {
  assert.equal(insn('f00003').lock, true);
  assert.equal(failure('f000c8'), 'undefined');
  assert.equal(failure('f00203'), 'undefined');
  assert.equal(failure('f089c8'), 'undefined');
  assert.equal(decode('f08103ffffffff').failure, null);
  assert.deepEqual(decode('f081c0ffffffff'), { failure: 'undefined', length: 7 });
});

test('operand sizes of pushes and near branches in 64-bit mode', () => {
  assert.equal(insn('50').width, 64);
  assert.equal(insn('6650').width, 16);
  assert.equal(insn('6650', 16).width, 32);
  assert.deepEqual([insn('68ffffffff').dst.width, (insn('68ffffffff').dst as { value: bigint }).value], [64, -1n]);
  assert.equal(insn('6668ffff').length, 4);
  assert.equal(insn('66e900000000').target, 0x1006n);
  assert.equal(text('66ffe0'), 'jmp rax');
  assert.equal(insn('ebfe', 64, 0n).target, 0n);
});

test('relative targets are cut to the operand size', () => {
  assert.equal(insn('eb10', 16, 0xfff8n).target, 0x000an);
  assert.equal(insn('eb80', 16, 0x10n).target, 0xff92n);
  assert.equal(insn('66e900000100', 16, 0xfff0n).target, 0x1fff6n);
  assert.equal(insn('66eb10', 32, 0x12345678n).target, 0x568bn);
  assert.equal(insn('eb80', 32, 0n).target, 0xffffff82n);
  assert.equal(insn('eb80', 64, 0n).target, 0xffffffffffffff82n);
  assert.equal(text('7510', 32), 'jne 0x1012');
  assert.equal(insn('0f8510000000', 32).cc, 5);
});

test('the next instruction pointer wraps with the mode', () => {
  assert.equal(insn('01c8', 32, 0xffffffffn).next, 1n);
  assert.equal(insn('01c8', 64, 0xffffffffn).next, 0x100000001n);
  assert.equal(insn('01c8', 64, 0xffffffffffffffffn).next, 1n);
});

test('immediates are extended as their form says', () => {
  const value = (hex: string, mode: Mode = 64) => (insn(hex, mode).src as { value: bigint }).value;
  assert.equal(value('83c0ff'), -1n);
  assert.equal(value('4881c000000080'), -0x80000000n);
  assert.equal(value('b0ff'), 0xffn);
  assert.equal(value('48b8f0debc9a78563492'), BigInt.asIntN(64, 0x923456789abcdef0n));
  assert.equal(insn('b834120000', 32).length, 5);
  assert.equal(text('c8341205'), 'enter 0x1234, 0x5');
});

test('far pointers', () => {
  assert.equal(text('ea785634121000', 32), 'jmp 0x10:0x12345678');
  assert.equal(text('ea34121000', 16), 'jmp 0x10:0x1234');
  assert.equal(failure('ea785634121000'), 'undefined');
  assert.equal(text('48ff28'), 'jmp tbyte ptr [rax]');
});

test('segment, control and MMX registers', () => {
  assert.equal(text('8cd8'), 'mov eax, ds');
  assert.equal(text('448ed8'), 'mov ds, ax');
  assert.equal(failure('8ef0'), 'undefined');
  assert.equal(failure('8cf8'), 'undefined');
  assert.equal(text('440f20c0'), 'movcr rax, cr8');
  assert.equal(text('0f2018'), 'movcr rax, cr3');
  assert.equal(text('0f20c0', 32), 'movcr eax, cr0');
  assert.equal(text('450f6fc1'), 'movq mm0, mm1');
  assert.equal(text('450f28c1'), 'movaps xmm8, xmm9');
});

test('VEX: registers, conditions, and no prefixes before it', () => {
  assert.equal(text('c4e270f2c2'), 'andn eax, ecx, edx');
  assert.equal(text('c46230f2c2'), 'andn r8d, r9d, edx');
  assert.equal(text('c4e2f0f2c2'), 'andn rax, rcx, rdx');
  assert.equal(text('c4c230f2c2', 64), 'andn eax, r9d, r10d');
  assert.equal(failure('c4e274f2c2'), 'undefined'); // L = 1
  assert.equal(failure('c4e271f2c2'), 'undefined'); // pp = 66
  assert.equal(text('c5f877'), 'vzeroupper');
  assert.equal(failure('c57077'), 'undefined'); // vvvv is not used
  assert.equal(failure('c5b877'), 'undefined');
  assert.equal(text('c5f828c1'), 'vmovaps xmm0, xmm1');
  assert.equal(text('c5fc2803'), 'vmovaps ymm0, ymmword ptr [rbx]');
  for (const prefix of ['66', 'f2', 'f3', 'f0', '48', '40'])
    assert.equal(failure(`${prefix}c5f877`), 'undefined', prefix);
  assert.equal(text('65c5f82803'), 'vmovaps xmm0, xmmword ptr gs:[rbx]');
  assert.equal(failure('c4e0f0f2c2'), 'undefined'); // map 0
});

test('outside 64-bit mode C4 and C5 are VEX only where LES and LDS would have a register', () => {
  assert.equal(text('c5f877', 32), 'vzeroupper');
  assert.equal(text('c57800', 32), 'lds edi, fword ptr [eax]');
  assert.equal(text('c403', 32), 'les eax, fword ptr [ebx]');
  assert.equal(text('c4e278f2c1', 32), 'andn eax, eax, ecx');
  assert.equal(text('c4e2f8f2c1', 32), 'andn eax, eax, ecx'); // W is ignored
  assert.equal(text('c4e238f2c1', 32), 'andn eax, eax, ecx'); // so is the top bit of vvvv
  assert.equal(text('c4c278f2c1', 32), 'andn eax, eax, ecx'); // and B
  assert.equal(failure('c4e13877', 32), 'undefined'); // but not where vvvv is unused
  assert.equal(decode('c5', 32).failure, 'truncated');
});

test('bytes that are missing make it truncated, more than 15 too long', () => {
  const whole = bytes('66670f8484242000');
  for (let n = 0; n < 4; n++) assert.deepEqual(decoder(whole, 0, n, 0n, 64), { failure: 'truncated', length: n });
  for (const hex of [
    '01',
    '8b05',
    '8b0510',
    '8b04',
    '8b0425000000',
    '81c0ffffff',
    'b8000000',
    '48b800000000000000',
    'c5',
    'c4e2',
    'c4e270',
    'c5f8',
    '0f',
    '66',
  ]) {
    assert.equal(failure(hex), 'truncated', hex);
  }
  assert.equal(text(`${'66'.repeat(13)}01c8`), 'add ax, cx');
  assert.equal(failure(`${'66'.repeat(14)}01c8`), 'too-long');
  assert.equal(failure('66'.repeat(16)), 'too-long');
  assert.equal(failure('66'.repeat(15)), 'too-long');
  assert.equal(failure('66'.repeat(14)), 'truncated');
  // 15 bytes are enough to know that the immediate stands beyond them
  assert.equal(failure(`${'2e'.repeat(10)}81840000000000`), 'too-long');
  assert.equal(failure(`${'66'.repeat(13)}0f0b`), null);
  assert.equal(failure(`${'66'.repeat(14)}0f0b`), 'too-long');
});

test('an undefined opcode says how far it was looked at', () => {
  assert.deepEqual(decode('0f04'), { failure: 'undefined', length: 2 });
  assert.deepEqual(decode('06'), { failure: 'undefined', length: 1 });
  assert.deepEqual(decode('83c8'), { failure: 'undefined', length: 2 });
});

test('decoding honours the offset', () => {
  const code = bytes('9001c890');
  const decoded = decoder(code, 1, 2, 0x10n, 64);
  assert.equal(decoded.failure === null && disassemble(decoded), 'add eax, ecx');
});
