/** The instruction set of RFC 9669, table by table: what each instruction computes, in both engines, and how it is encoded. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { assemble, BpfSyntaxError } from '../../src/bpf/assemble.ts';
import { decode } from '../../src/bpf/decode.ts';
import { disassemble } from '../../src/bpf/disassemble.ts';
import { BpfError } from '../../src/bpf/errors.ts';
import { muldiv64 } from '../../src/bpf/intrinsics.ts';
import { verify } from '../../src/bpf/verifier.ts';
import { withoutClang } from './clang.ts';
import { engines, Place, result, setInputs, sourceOf, testEnvironment } from './harness.ts';

const M = (1n << 64n) - 1n;

/** Operation, left, right, and what the RFC says comes out, of 64 bits and of 32. */
const arithmetic: readonly (readonly [string, bigint, bigint, bigint, bigint])[] = [
  ['+=', 5n, 7n, 12n, 12n],
  ['+=', M, 1n, 0n, 0n],
  ['+=', 0xffffffffn, 1n, 0x100000000n, 0n],
  ['-=', 5n, 7n, M - 1n, 0xfffffffen],
  ['-=', 0x100000000n, 1n, 0xffffffffn, 0xffffffffn],
  ['*=', 0x123456789n, 0x10n, 0x1234567890n, 0x34567890n],
  ['*=', M, M, 1n, 1n],
  ['/=', 100n, 7n, 14n, 14n],
  ['/=', M, 2n, M >> 1n, 0x7fffffffn],
  ['/=', 100n, 0n, 0n, 0n],
  ['s/=', -100n, 7n, -14n, 0xfffffff2n],
  ['s/=', -100n, -7n, 14n, 14n],
  ['s/=', 100n, 0n, 0n, 0n],
  ['s/=', -(1n << 63n), -1n, 1n << 63n, 0n],
  ['s/=', 0x80000000n, -1n, -0x80000000n, 0x80000000n],
  ['%=', 100n, 7n, 2n, 2n],
  ['%=', M, 0n, M, 0xffffffffn],
  ['s%=', -13n, 3n, -1n, 0xffffffffn],
  ['s%=', -13n, -3n, -1n, 0xffffffffn],
  ['s%=', 13n, -3n, 1n, 1n],
  ['s%=', -13n, 0n, -13n, 0xfffffff3n],
  ['s%=', -(1n << 63n), -1n, 0n, 0n],
  ['s%=', 0x80000000n, -1n, 0n, 0n],
  ['|=', 0xf0f0n, 0x0f00n, 0xfff0n, 0xfff0n],
  ['|=', 0n, -1n, M, 0xffffffffn],
  ['&=', 0x123456789abcdef0n, 0xff00ff00n, 0x9a00de00n, 0x9a00de00n],
  ['&=', M, -2n, M - 1n, 0xfffffffen],
  ['^=', 0x5555n, 0xffffn, 0xaaaan, 0xaaaan],
  ['<<=', 1n, 33n, 1n << 33n, 2n],
  ['<<=', 3n, 65n, 6n, 6n],
  ['>>=', -1n, 60n, 15n, 0xfn],
  ['>>=', 0x80000000n, 31n, 1n, 1n],
  ['s>>=', -16n, 2n, -4n, 0xfffffffcn],
  ['s>>=', 0x80000000n, 31n, 1n, 0xffffffffn],
  ['s>>=', 0x7fffffffn, 32n, 0n, 0x7fffffffn],
  ['=', 1n, 0x123456789n, 0x123456789n, 0x23456789n],
  ['=', 1n, -1n, M, 0xffffffffn],
];

test('table 5: arithmetic of 64 and of 32 bits, with registers and with immediates', () => {
  for (const [symbol, left, right, wide, low] of arithmetic) {
    for (const [prefix, expected] of [
      ['r', BigInt.asUintN(64, wide)],
      ['w', low],
    ] as const) {
      const named = `${prefix}: ${left} ${symbol} ${right}`;
      const values = `r1 = ${left} ll\nr2 = ${right} ll\n`;
      assert.equal(result(`${values}${prefix}1 ${symbol} ${prefix}2\nr0 = r1\nexit`), expected, named);
      // The verifier does not know these, so that it cannot have computed them.
      const loaded = 'r2 = *(u64 *)(r1 + 8)\nr1 = *(u64 *)(r1 + 0)\n';
      const text = `${loaded}${prefix}1 ${symbol} ${prefix}2\nr0 = r1\nexit`;
      assert.equal(result(text, { a: left, b: right }), expected, `${named}, unknown`);
      if (BigInt.asIntN(32, right) !== right) continue;
      assert.equal(
        result(`r1 = ${left} ll\n${prefix}1 ${symbol} ${right}\nr0 = r1\nexit`),
        expected,
        `${named}, immediate`,
      );
    }
  }
});

test('negation, sign-extending moves and byte swaps', () => {
  const value = 0x1122334455f788f9n;
  const cases: readonly (readonly [string, bigint])[] = [
    ['r1 = -r1', M - value + 1n],
    ['w1 = -w1', 0x100000000n - 0x55f788f9n],
    ['r1 = (s8)r1', M - 6n],
    ['r1 = (s16)r1', BigInt.asUintN(64, BigInt.asIntN(16, 0x88f9n))],
    ['r1 = (s32)r1', 0x55f788f9n],
    ['w1 = (s8)w1', 0xfffffff9n],
    ['w1 = (s16)w1', 0xffff88f9n],
    ['r1 = le16 r1', 0x88f9n],
    ['r1 = le32 r1', 0x55f788f9n],
    ['r1 = le64 r1', value],
    ['r1 = be16 r1', 0xf988n],
    ['r1 = be32 r1', 0xf988f755n],
    ['r1 = be64 r1', 0xf988f75544332211n],
    ['r1 = bswap16 r1', 0xf988n],
    ['r1 = bswap32 r1', 0xf988f755n],
    ['r1 = bswap64 r1', 0xf988f75544332211n],
  ];
  for (const [text, expected] of cases) {
    assert.equal(result(`r1 = ${value} ll\n${text}\nr0 = r1\nexit`), expected, text);
    assert.equal(result(`r1 = *(u64 *)(r1 + 0)\n${text}\nr0 = r1\nexit`, { a: value }), expected, `${text}, unknown`);
  }
});

/** Condition, left, right, whether it holds in 64 bits and in 32. */
const conditions: readonly (readonly [string, bigint, bigint, boolean, boolean])[] = [
  ['==', 5n, 5n, true, true],
  ['==', 0x100000005n, 5n, false, true],
  ['!=', 5n, 5n, false, false],
  ['!=', 0x100000005n, 5n, true, false],
  ['>', -1n, 5n, true, true],
  ['>', 5n, 5n, false, false],
  ['>=', 5n, 5n, true, true],
  ['>=', 0x100000000n, 5n, true, false],
  ['<', 4n, 5n, true, true],
  ['<', -1n, 5n, false, false],
  ['<=', 5n, 5n, true, true],
  ['<=', 0x100000001n, 5n, false, true],
  ['&', 6n, 2n, true, true],
  ['&', 5n, 2n, false, false],
  ['&', 0x100000000n, -1n, true, false],
  ['s>', -1n, 5n, false, false],
  ['s>', 0x80000000n, 5n, true, false],
  ['s>=', -1n, -1n, true, true],
  ['s>=', 0xffffffffn, 0n, true, false],
  ['s<', -1n, 0n, true, true],
  ['s<', 0x80000000n, 0n, false, true],
  ['s<=', -2n, -1n, true, true],
  ['s<=', 0xffffffffn, 0n, false, true],
];

test('table 8: conditions of 64 and of 32 bits, with registers and with immediates', () => {
  for (const [symbol, left, right, wide, low] of conditions) {
    for (const [prefix, expected] of [
      ['r', wide],
      ['w', low],
    ] as const) {
      const named = `${prefix}: ${left} ${symbol} ${right}`;
      const end = 'goto yes\nr0 = 0\nexit\nyes: r0 = 1\nexit';
      const loaded = 'r2 = *(u64 *)(r1 + 8)\nr1 = *(u64 *)(r1 + 0)\n';
      const inputs = { a: left, b: right };
      assert.equal(result(`${loaded}if ${prefix}1 ${symbol} ${prefix}2 ${end}`, inputs), expected ? 1n : 0n, named);
      const known = `r1 = ${left} ll\nr2 = ${right} ll\n`;
      assert.equal(result(`${known}if ${prefix}1 ${symbol} ${prefix}2 ${end}`), expected ? 1n : 0n, `${named}, known`);
      assert.equal(
        result(`${loaded}if ${prefix}1 ${symbol} ${right} ${end}`, inputs),
        expected ? 1n : 0n,
        `${named}, immediate`,
      );
    }
  }
});

test('jumps: short, long, backwards, calls of functions, nested and with stack', () => {
  assert.equal(result('goto +1\nexit_: exit\nr0 = 7\ngoto exit_'), 7n);
  assert.equal(result('r0 = 1\ngotol over\nback: r0 += 10\nexit\nover: r0 += 100\ngotol back'), 111n);
  assert.equal(result('r0 = 0\nr1 = 10\nloop: r0 += r1\nr1 -= 1\nif r1 != 0 goto loop\nexit'), 55n);
  const calls = `
    r6 = 1000
    *(u64 *)(r10 - 8) = 3
    r1 = 4
    r2 = r10
    r2 += -8
    call double
    r0 += r6
    r1 = *(u64 *)(r10 - 8)
    r0 += r1
    exit
  double:
    r6 = r1
    *(u64 *)(r10 - 8) = r2
    call add
    r0 += r6
    r2 = *(u64 *)(r10 - 8)
    *(u64 *)(r2 + 0) = 50
    exit
  add:
    r0 = *(u64 *)(r2 + 0)
    *(u64 *)(r10 - 16) = r1
    r1 = *(u64 *)(r10 - 16)
    r0 += r1
    exit`;
  assert.equal(result(calls), 1000n + 4n + 4n + 3n + 50n);
});

test('section 5: loads and stores of each size, sign-extending loads, constants', () => {
  const store = 'r1 = 0x8182838485868788 ll\n*(u64 *)(r10 - 8) = r1\n';
  const loads: readonly (readonly [string, bigint])[] = [
    ['r0 = *(u8 *)(r10 - 8)', 0x88n],
    ['r0 = *(u16 *)(r10 - 8)', 0x8788n],
    ['r0 = *(u32 *)(r10 - 8)', 0x85868788n],
    ['r0 = *(u64 *)(r10 - 8)', 0x8182838485868788n],
    ['r0 = *(u8 *)(r10 - 5)', 0x85n],
    ['r0 = *(u16 *)(r10 - 4)', 0x8384n],
    ['r0 = *(s8 *)(r10 - 8)', BigInt.asUintN(64, -0x78n)],
    ['r0 = *(s16 *)(r10 - 8)', 0xffffffffffff8788n],
    ['r0 = *(s32 *)(r10 - 8)', 0xffffffff85868788n],
  ];
  for (const [text, expected] of loads) assert.equal(result(`${store}${text}\nexit`), expected, text);
  const stores: readonly (readonly [string, bigint])[] = [
    ['*(u8 *)(r10 - 8) = -2', 0x81828384858687fen],
    ['*(u16 *)(r10 - 6) = 0x1234', 0x8182838412348788n],
    ['*(u32 *)(r10 - 4) = -1', 0xffffffff85868788n],
    ['*(u64 *)(r10 - 8) = -1', M],
    ['*(u8 *)(r10 - 1) = r1', 0x8882838485868788n],
    ['*(u16 *)(r10 - 2) = r1', 0x8788838485868788n],
    ['*(u32 *)(r10 - 4) = r1', 0x8586878885868788n],
  ];
  for (const [text, expected] of stores)
    assert.equal(result(`${store}${text}\nr0 = *(u64 *)(r10 - 8)\nexit`), expected, text);
  const map = 'r1 = map 0 value + 8 ll\n*(u32 *)(r1 + 4) = 77\nr0 = *(u32 *)(r1 + 4)\nexit';
  assert.equal(result(map), 77n);
  assert.equal(result('r1 = map 1 value + 0 ll\nr0 = *(u64 *)(r1 + 0)\nexit'), 0x8807060504030201n);
  assert.equal(result('r1 = map 1 value + 4 ll\nr0 = *(s32 *)(r1 + 0)\nexit'), 0xffffffff88070605n);
  const state = 'r2 = *(u64 *)(r1 + 24)\n*(u64 *)(r2 + 56) = -5\nr0 = *(s8 *)(r2 + 57)\n*(u64 *)(r1 + 8) = r0\nexit';
  assert.equal(result(state), M);
});

/** Instruction on 0x1_0000_0005 in memory, r2 = 3, r0 = 5; what r2, r0 and the memory are then. */
const atomics: readonly (readonly [string, bigint, bigint, bigint])[] = [
  ['lock *(u64 *)(r3 + 0) += r2', 3n, 5n, 0x100000008n],
  ['lock *(u32 *)(r3 + 0) += w2', 3n, 5n, 0x100000008n],
  ['lock *(u64 *)(r3 + 0) |= r2', 3n, 5n, 0x100000007n],
  ['lock *(u64 *)(r3 + 0) &= r2', 3n, 5n, 1n],
  ['lock *(u32 *)(r3 + 0) &= w2', 3n, 5n, 0x100000001n],
  ['lock *(u64 *)(r3 + 0) ^= r2', 3n, 5n, 0x100000006n],
  ['r2 = atomic_fetch_add((u64 *)(r3 + 0), r2)', 0x100000005n, 5n, 0x100000008n],
  ['w2 = atomic_fetch_add((u32 *)(r3 + 0), w2)', 5n, 5n, 0x100000008n],
  ['w2 = atomic_fetch_or((u32 *)(r3 + 4), w2)', 1n, 5n, 0x300000005n],
  ['r2 = atomic_fetch_or((u64 *)(r3 + 0), r2)', 0x100000005n, 5n, 0x100000007n],
  ['r2 = atomic_fetch_and((u64 *)(r3 + 0), r2)', 0x100000005n, 5n, 1n],
  ['r2 = atomic_fetch_xor((u64 *)(r3 + 0), r2)', 0x100000005n, 5n, 0x100000006n],
  ['r2 = xchg_64(r3 + 0, r2)', 0x100000005n, 5n, 3n],
  ['w2 = xchg32_32(r3 + 0, w2)', 5n, 5n, 0x100000003n],
  ['r0 = cmpxchg_64(r3 + 0, r0, r2)', 3n, 0x100000005n, 0x100000005n],
  ['w0 = cmpxchg32_32(r3 + 0, w0, w2)', 3n, 5n, 0x100000003n],
];

test('table 12: atomic operations, in a region and on the stack', () => {
  for (const [text, source, zero, memory] of atomics) {
    for (const place of ['r3 = *(u64 *)(r1 + 24)', 'r3 = r10\nr3 += -16']) {
      const start = `${place}\nr2 = 0x100000005 ll\n*(u64 *)(r3 + 0) = r2\nr2 = 3\nr0 = 5\n${text}\n`;
      assert.equal(result(`${start}r0 = r2\nexit`), source, `${text}: source`);
      assert.equal(result(`${start}exit`), zero, `${text}: r0`);
      assert.equal(result(`${start}r0 = *(u64 *)(r3 + 0)\nexit`), memory, `${text}: memory`);
    }
  }
});

test('helpers: numbers, memory, regions, maps', () => {
  assert.equal(result('call 5\nexit'), 123456789n);
  assert.equal(result('r1 = -1\nr2 = 3\nr3 = 5\ncall 6\nexit'), 7n);
  assert.equal(result('r1 = 21\ncall 7\nexit'), 5n);
  assert.equal(
    result('r1 = 1\ncall 8\nif r0 == 0 goto +3\n*(u8 *)(r0 + 31) = 9\nr0 = *(u8 *)(r0 + 31)\nexit\nr0 = 1\nexit'),
    9n,
  );
  assert.equal(result('r1 = 2\ncall 8\nif r0 == 0 goto +2\nr0 = 5\nexit\nr0 = 1\nexit'), 1n);
  assert.equal(result('call 9\n*(u64 *)(r0 + 0) = 1\nr0 = 3\nexit'), 3n);
  assert.equal(result('*(u64 *)(r10 - 8) = 0x01010101\nr1 = r10\nr1 += -8\nr2 = 3\ncall 10\nexit'), 3n);
  assert.equal(result('r1 = 0\nr2 = 0\ncall 10\nexit'), 0n);
  assert.equal(result('r1 = r10\nr1 += -16\nr2 = 16\ncall 11\nr0 = *(u16 *)(r10 - 2)\nexit'), 0xa5a5n);
  assert.equal(result('call 12\nexit', { a: 0x99n }), 0x99n);
  const key = (n: number) => `*(u32 *)(r10 - 4) = ${n}\nr1 = map 0 ll\nr2 = r10\nr2 += -4\n`;
  const value = '*(u64 *)(r10 - 24) = 12\n*(u64 *)(r10 - 16) = 34\nr3 = r10\nr3 += -24\n';
  const read = `${key(3)}call 1\nif r0 == 0 goto +2\nr0 = *(u64 *)(r0 + 8)\nexit\nr0 = -1\nexit`;
  assert.equal(result(`${value}${key(3)}r4 = 0\ncall 2\n${read}`), 34n);
  const update = (index: number, flags: number) => result(`${value}${key(index)}r4 = ${flags}\ncall 2\nexit`);
  assert.equal(update(3, 2), 0n);
  assert.equal(update(3, 1), M - 16n);
  assert.equal(update(4, 0), M - 6n);
  assert.equal(update(0, 3), M - 21n);
  assert.equal(result(`${key(4)}call 1\nif r0 == 0 goto +2\nr0 = 1\nexit\nr0 = 2\nexit`), 2n);
});

test('muldiv64 keeps all bits in between', () => {
  const cases: [bigint, bigint, bigint][] = [
    [123456789012n, 1193182n, 1000000000n],
    [5n, 6n, 0n],
    [M, M, M],
    [M, M, 1n],
    [M, M, M - 1n],
    [1n << 63n, 3n, 7n],
    [0xfedcba9876543210n, 0x123456789abcdefn, 0xfedcba9876543211n],
    [0xffffffff00000001n, 0xffffffff00000001n, 0xfffffffffffffff1n],
    [0n, M, 5n],
    [M, 2n, M - 5n],
  ];
  for (const [a, b, c] of cases) {
    const exact = c === 0n || (a * b) / c > M ? M : (a * b) / c;
    assert.equal(muldiv64(a, b, c), exact);
    assert.equal(result(`r1 = ${a} ll\nr2 = ${b} ll\nr3 = ${c} ll\ncall 13\nexit`), exact, `${a} * ${b} / ${c}`);
  }
});

/** One of each form, in the text that LLVM uses; of them clang 14 knows all but the last group. */
const known = [
  ...['+=', '-=', '*=', '/=', '|=', '&=', '<<=', '>>=', '^=', '=', 's>>='].flatMap((symbol) => [
    `r1 ${symbol} r2`,
    `w3 ${symbol} w4`,
    `r5 ${symbol} -6`,
    `w7 ${symbol} 8`,
  ]),
  'r1 = -r1',
  'w2 = -w2',
  ...[16, 32, 64].flatMap((bits) => [`r1 = be${bits} r1`, `r2 = le${bits} r2`]),
  'r1 = 0x123456789abcdef0 ll',
  ...[8, 16, 32, 64].flatMap((bits) => [`r1 = *(u${bits} *)(r2 + 8)`, `*(u${bits} *)(r10 - 8) = r3`]),
  ...['==', '!=', '>', '>=', '<', '<=', 's>', 's>=', 's<', 's<='].flatMap((symbol) => [
    `if r1 ${symbol} r2 goto +0`,
    `if w1 ${symbol} w2 goto +0`,
    `if r1 ${symbol} -5 goto +0`,
    `if w1 ${symbol} 5 goto +0`,
  ]),
  'goto +0',
  'call 7',
  'lock *(u64 *)(r1 + 8) += r2',
  'lock *(u32 *)(r1 + 8) += w2',
  'r2 = atomic_fetch_add((u64 *)(r1 + 8), r2)',
  'r2 = atomic_fetch_or((u64 *)(r1 + 8), r2)',
  'w2 = atomic_fetch_and((u32 *)(r1 + 8), w2)',
  'w2 = atomic_fetch_xor((u32 *)(r1 - 8), w2)',
  'r2 = xchg_64(r1 + 8, r2)',
  'w2 = xchg32_32(r1 + 8, w2)',
  'r0 = cmpxchg_64(r1 + 8, r0, r2)',
  'w0 = cmpxchg32_32(r1 + 8, w0, w2)',
  'exit',
];
const newer = [
  'r1 %= r2',
  'w3 %= -6',
  'r1 s/= r2',
  'w1 s/= -3',
  'r1 s%= r2',
  'w1 s%= 3',
  'r1 = (s8)r2',
  'r1 = (s16)r2',
  'r1 = (s32)r2',
  'w1 = (s8)w2',
  'w1 = (s16)w2',
  'r1 = bswap16 r1',
  'r1 = bswap32 r1',
  'r1 = bswap64 r1',
  'r1 = *(s8 *)(r2 + 1)',
  'r1 = *(s16 *)(r2 + 2)',
  'r1 = *(s32 *)(r2 + 4)',
  '*(u8 *)(r10 - 8) = 1',
  '*(u64 *)(r10 - 8) = -1',
  'if r1 & r2 goto +0',
  'if w1 & 4 goto +0',
  'gotol +0',
  'call pc+0',
  'r1 = map 0 ll',
  'r1 = map 0 value + 8 ll',
  'r1 = fd 2 ll',
];

test('what is assembled is decoded and disassembled to the same text', () => {
  for (const text of [...known, ...newer]) assert.deepEqual(disassemble(decode(assemble(text))), [text]);
  assert.throws(() => assemble('r0 = 0\nr1 <> r2\nexit'), BpfSyntaxError);
  assert.throws(() => assemble('goto nowhere'), /no label nowhere/);
  assert.throws(() => assemble('r1 += w2'), BpfSyntaxError);
});

test("LLVM's disassembler reads the assembler's bytes as the text that they were made from", {
  skip: withoutClang,
}, () => {
  const folder = mkdtempSync(join(tmpdir(), 'bpf-'));
  try {
    const [source, object] = [join(folder, 'a.s'), join(folder, 'a.o')];
    writeFileSync(source, `.byte ${assemble(known.join('\n')).join()}\n`);
    execFileSync('clang', ['-target', 'bpfel', '-c', source, '-o', object], { stdio: 'pipe' });
    const options = ['-d', '--mattr=+alu32', '--no-show-raw-insn', object];
    const lines = execFileSync('llvm-objdump', options, { encoding: 'utf8' })
      .split('\n')
      .flatMap((line) => /^\s*\d+:\s+(.*?)(?: <\S+>)?$/.exec(line)?.[1] ?? []);
    // It names the registers of narrow loads and stores by their halves.
    const same = (text: string) =>
      text
        .replace(/0x[0-9a-f]+/, (digits) => `${BigInt(digits)}`)
        .replace(/^w(?=\d+ = \*)/, 'r')
        .replace(/^(\*.* = )w/, '$1r');
    assert.deepEqual(lines.map(same), known.map(same));
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('what is no instruction is refused with its number and a code', () => {
  const exit = [0x95, 0, 0, 0, 0, 0, 0, 0];
  const cases: readonly (readonly [string, number | null, readonly number[]])[] = [
    ['empty-program', null, []],
    ['truncated-instruction', 1, [...exit, 1, 2, 3]],
    ['unknown-opcode', 1, [...exit, 0xff, 0, 0, 0, 0, 0, 0, 0]],
    ['unknown-opcode', 0, [0xe7, 0, 0, 0, 0, 0, 0, 0]],
    ['unknown-opcode', 0, [0x8f, 0, 0, 0, 0, 0, 0, 0]],
    ['unknown-opcode', 0, [0xe5, 0, 0, 0, 0, 0, 0, 0]],
    ['unknown-opcode', 0, [0x0d, 0, 0, 0, 0, 0, 0, 0]],
    ['unknown-opcode', 0, [0x86, 0, 0, 0, 0, 0, 0, 0]],
    ['unknown-opcode', 0, [0x96, 0, 0, 0, 0, 0, 0, 0]],
    ['unknown-opcode', 0, [0x00, 0, 0, 0, 0, 0, 0, 0]],
    ['unknown-opcode', 0, [0x99, 0x10, 0, 0, 0, 0, 0, 0]],
    ['unknown-opcode', 0, [0xdf, 0, 0, 0, 16, 0, 0, 0]],
    ['unknown-opcode', 0, [0xd3, 0x10, 0, 0, 0, 0, 0, 0]],
    ['bad-register', 0, [0xb7, 11, 0, 0, 0, 0, 0, 0]],
    ['bad-register', 0, [0xbf, 0xf0, 0, 0, 0, 0, 0, 0]],
    ['reserved-field', 0, [0x95, 1, 0, 0, 0, 0, 0, 0]],
    ['reserved-field', 0, [0x95, 0, 0, 0, 1, 0, 0, 0]],
    ['reserved-field', 0, [0x0f, 0x10, 0, 0, 1, 0, 0, 0]],
    ['reserved-field', 0, [0x07, 0x10, 0, 0, 1, 0, 0, 0]],
    ['reserved-field', 0, [0x07, 0, 1, 0, 1, 0, 0, 0]],
    ['reserved-field', 0, [0x37, 0, 2, 0, 1, 0, 0, 0]],
    ['reserved-field', 0, [0xbf, 0x10, 7, 0, 0, 0, 0, 0]],
    ['reserved-field', 0, [0xbc, 0x10, 32, 0, 0, 0, 0, 0]],
    ['reserved-field', 0, [0xb7, 0, 8, 0, 0, 0, 0, 0]],
    ['reserved-field', 0, [0xd4, 0, 0, 0, 24, 0, 0, 0]],
    ['reserved-field', 0, [0xdb, 0x10, 0, 0, 0x20, 0, 0, 0]],
    ['reserved-field', 0, [0xdb, 0x10, 0, 0, 0xe0, 0, 0, 0]],
    ['reserved-field', 0, [0x05, 0, 0, 0, 1, 0, 0, 0]],
    ['reserved-field', 0, [0x18, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]],
    ['reserved-field', 0, [0x61, 0x10, 0, 0, 1, 0, 0, 0]],
    ['truncated-constant', 0, [0x18, 0, 0, 0, 0, 0, 0, 0]],
    ['unsupported-constant', 0, [0x18, 0x30, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]],
    ['unsupported-constant', 0, [0x18, 0x40, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]],
    ['unsupported-constant', 0, [0x18, 0x70, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]],
    ['unsupported-call', 0, [0x8d, 0, 0, 0, 1, 0, 0, 0]],
    ['unsupported-call', 0, [0x85, 0x20, 0, 0, 1, 0, 0, 0]],
    ['unsupported-call', 0, [0x85, 0x30, 0, 0, 1, 0, 0, 0]],
    ['legacy-packet-access', 0, [0x20, 0, 0, 0, 0, 0, 0, 0]],
    ['legacy-packet-access', 0, [0x48, 0x10, 0, 0, 0, 0, 0, 0]],
  ];
  for (const [code, at, bytes] of cases) {
    const named = bytes.map((byte) => byte.toString(16)).join(' ');
    assert.throws(
      () => decode(Uint8Array.from(bytes)),
      (error) => {
        assert.ok(error instanceof BpfError, named);
        const expected = code === 'reserved-field' && bytes.length === 16 ? 1 : at;
        assert.deepEqual([error.code, error.instruction], [code, expected], `${named}: ${error.message}`);
        return true;
      },
    );
  }
  assert.throws(() => decode(new Uint8Array(8 * 65537)), /65537 instructions are more than 65536/);
});

test('a helper that breaks its promise ends the call in both engines, and the context is free again', () => {
  const program = verify(sourceOf('r1 = 5\ncall 7\nexit'), testEnvironment);
  let answer = 16;
  for (const { name, place, program: engine } of engines(program, { index: () => answer })) {
    answer = 16;
    assert.throws(() => engine.run(place.context), name);
    answer = 15;
    assert.equal(engine.run(place.context), 15n, name);
  }
});

test('a context serves one call at a time', () => {
  const program = verify(sourceOf('r1 = 5\ncall 7\nexit'), testEnvironment);
  const again: { run: () => unknown } = { run: () => 0 };
  for (const { name, place, program: engine } of engines(program, { index: () => again.run() })) {
    again.run = () => engine.run(place.context);
    assert.throws(() => engine.run(place.context), { code: 'already-running' }, name);
    again.run = () => 3;
    assert.equal(engine.runSmall(place.context), 3, name);
  }
});

test('long functions: straight ones, many branches, many loops; what is too long is left to the interpreter', () => {
  const list = (count: number, line: (n: number) => string) =>
    Array.from({ length: count }, (_, n) => line(n)).join('\n');
  assert.equal(result(`r0 = 0\n${'r0 += 3\n'.repeat(5000)}exit`), 15_000n);
  const loops = (count: number) =>
    `r0 = 0\n${list(count, (n) => `r1 = 3\nl${n}: r0 += 1\nr1 -= 1\nif r1 != 0 goto l${n}`)}\nexit`;
  assert.equal(result(loops(100)), 300n);
  assert.equal(result(loops(700)), 2100n);
  const start = 'r6 = *(u64 *)(r1 + 0)\nr0 = 0\n';
  const exits = (count: number) =>
    `${start}${list(count, (n) => `if r6 == ${n} goto a${n}`)}\nexit\n${list(count, (n) => `a${count - 1 - n}: r0 += 1`)}\nexit`;
  for (const count of [200, 1000]) {
    assert.equal(result(exits(count), { a: 5n }), 6n);
    assert.equal(result(exits(count), { a: BigInt(count) }), 0n);
  }
  const program = verify(sourceOf(exits(3000)), testEnvironment);
  const place = new Place(program);
  setInputs(place, { a: 2999n });
  assert.equal(place.interpreter(program).run(place.context), 3000n);
  assert.throws(() => place.translation(program), { code: 'too-long-to-translate', instruction: 0 });
});
