/** Programs that are safe, and that the verifier sees to be; each runs in both engines. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { verify } from '../../src/bpf/verifier.ts';
import { type Inputs, runBoth, sourceOf, testEnvironment } from './harness.ts';

const state = 'r6 = *(u64 *)(r1 + 24)\n';
const key = (register: number) => `*(u32 *)(r10 - 4) = r${register}\nr1 = map 0 ll\nr2 = r10\nr2 += -4\ncall 1\n`;

/** Name, text, r0, inputs. */
const accepted: readonly (readonly [string, string, bigint, Inputs?])[] = [
  ['a constant', 'r0 = 1\nexit', 1n],
  ['the context is read', 'r0 = *(u64 *)(r1 + 0)\nexit', 9n, { a: 9n }],
  ['a part of a field', 'r0 = *(u8 *)(r1 + 3)\nexit', 4n, { a: 0x04030201n }],
  ['a field is written', 'r2 = 5\n*(u64 *)(r1 + 8) = r2\nr0 = *(u64 *)(r1 + 8)\nexit', 5n],
  ['a field that can only be written', '*(u32 *)(r1 + 20) = 5\nr0 = 0\nexit', 0n],
  ['a copy of the context, moved by a constant', 'r2 = r1\nr2 += 8\nr0 = *(u64 *)(r2 - 8)\nexit', 3n, { a: 3n }],
  [
    'the context on the stack',
    '*(u64 *)(r10 - 8) = r1\nr2 = *(u64 *)(r10 - 8)\nr0 = *(u64 *)(r2 + 0)\nexit',
    3n,
    { a: 3n },
  ],
  [
    'an index bounded by and',
    `r7 = *(u64 *)(r1 + 0)\n${state}r7 &= 63\nr6 += r7\nr0 = *(u8 *)(r6 + 0)\nexit`,
    0n,
    { a: 255n },
  ],
  [
    'an index bounded by a condition',
    `r7 = *(u64 *)(r1 + 0)\nr0 = 1\nif r7 > 56 goto out\n${state}r6 += r7\nr0 = *(u64 *)(r6 + 0)\nout: exit`,
    1n,
    { a: 57n },
  ],
  [
    'an index bounded on both sides as a signed number',
    `r7 = *(u64 *)(r1 + 0)\nr0 = 1\nif r7 s< 0 goto out\nif r7 s>= 64 goto out\n${state}r6 += r7\nr0 = *(u8 *)(r6 + 0)\nout: exit`,
    0n,
    { a: 63n },
  ],
  [
    'an index bounded in its low half',
    `r7 = *(u64 *)(r1 + 0)\nw7 = w7\nr0 = 1\nif w7 > 63 goto out\n${state}r6 += r7\nr0 = *(u8 *)(r6 + 0)\nout: exit`,
    0n,
    { a: 5n << 32n },
  ],
  [
    'a bound found out through a copy',
    `r7 = *(u64 *)(r1 + 0)\nr8 = r7\nr0 = 1\nif r8 > 63 goto out\n${state}r6 += r7\nr0 = *(u8 *)(r6 + 0)\nout: exit`,
    0n,
    { a: 63n },
  ],
  [
    'a bound found out through a copy on the stack',
    `r7 = *(u64 *)(r1 + 0)\n*(u64 *)(r10 - 8) = r7\nr0 = 1\nif r7 > 63 goto out\n${state}r7 = *(u64 *)(r10 - 8)\nr6 += r7\nr0 = *(u8 *)(r6 + 0)\nout: exit`,
    0n,
    { a: 63n },
  ],
  [
    'a bound found out by comparing with a register',
    `r7 = *(u64 *)(r1 + 0)\nr8 = 64\nr0 = 1\nif r7 >= r8 goto out\n${state}r6 += r7\nr0 = *(u8 *)(r6 + 0)\nout: exit`,
    1n,
    { a: 64n },
  ],
  [
    'an index of a remainder',
    `r7 = *(u64 *)(r1 + 0)\n${state}r7 %= 8\nr7 <<= 3\nr6 += r7\nr0 = *(u64 *)(r6 + 0)\nexit`,
    0n,
    { a: 15n },
  ],
  [
    'an index of a shift',
    `r7 = *(u64 *)(r1 + 0)\n${state}r7 >>= 58\nr6 += r7\nr0 = *(u8 *)(r6 + 0)\nexit`,
    0n,
    { a: -1n },
  ],
  [
    'shifts there and back',
    `r7 = *(u64 *)(r1 + 0)\n${state}r7 <<= 58\nr7 >>= 58\nr6 += r7\nr0 = *(u8 *)(r6 + 0)\nexit`,
    0n,
    { a: -1n },
  ],
  [
    'an index subtracted',
    `r7 = *(u64 *)(r1 + 0)\n${state}r7 &= 31\nr6 += 40\nr6 -= r7\nr0 = *(u64 *)(r6 + 0)\nexit`,
    0n,
    { a: 31n },
  ],
  [
    'a pointer added to an index',
    `r7 = *(u64 *)(r1 + 0)\n${state}r7 &= 7\nr7 += r6\nr0 = *(u8 *)(r7 + 56)\nexit`,
    0n,
    { a: 31n },
  ],
  ['the distance of two pointers', `${state}r7 = r6\nr7 += 24\nr7 -= r6\nr0 = r7\nexit`, 24n],
  [
    'pointers compared',
    `${state}r7 = r6\nr7 += 8\nr0 = 1\nif r6 < r7 goto out\nr0 = *(u64 *)(r6 + 1000)\nout: exit`,
    1n,
  ],
  ['pointers to different things compared', `${state}r0 = 1\nif r6 != r10 goto out\nr0 = 2\nout: exit`, 1n],
  ['a pointer is never null', `${state}r0 = 1\nif r6 != 0 goto out\nr0 = *(u64 *)(r1 + 1000)\nout: exit`, 1n],
  [
    'a loop over a region by pointers',
    `${state}r7 = r6\nr7 += 64\nr0 = 0\nloop: r1 = *(u8 *)(r6 + 0)\nr0 += r1\nr0 += 1\nr6 += 1\nif r6 != r7 goto loop\nexit`,
    64n,
  ],
  [
    'a loop over a region by pointers in order',
    `${state}r7 = r6\nr7 += 64\nr0 = 0\nloop: r1 = *(u64 *)(r6 + 0)\nr0 += 1\nr6 += 8\nif r6 < r7 goto loop\nexit`,
    8n,
  ],
  [
    'the stack at a variable place',
    'r2 = *(u64 *)(r1 + 0)\nr2 &= 8\n*(u64 *)(r10 - 8) = 1\n*(u64 *)(r10 - 16) = 2\nr3 = r10\nr3 += -16\nr3 += r2\nr0 = *(u64 *)(r3 + 0)\nexit',
    1n,
    { a: 8n },
  ],
  [
    'the stack written at a variable place',
    'r2 = *(u64 *)(r1 + 0)\nr2 &= 8\n*(u64 *)(r10 - 8) = 1\n*(u64 *)(r10 - 16) = 2\nr3 = r10\nr3 += -16\nr3 += r2\n*(u64 *)(r3 + 0) = 7\nr0 = *(u64 *)(r10 - 16)\nexit',
    7n,
    { a: 0n },
  ],
  ['bytes of the stack one by one', '*(u8 *)(r10 - 1) = 1\n*(u8 *)(r10 - 2) = 2\nr0 = *(u16 *)(r10 - 2)\nexit', 0x102n],
  ['the whole stack', '*(u64 *)(r10 - 512) = 3\nr0 = *(u64 *)(r10 - 512)\nexit', 3n],
  ['a value that may be null', `r7 = 3\n${key(7)}if r0 == 0 goto out\n*(u64 *)(r0 + 8) = 5\nr0 = 5\nout: exit`, 5n],
  [
    'null seen by the opposite condition',
    `r7 = 9\n${key(7)}if r0 != 0 goto there\nr0 = 4\nexit\nthere: r0 = *(u64 *)(r0 + 0)\nexit`,
    4n,
  ],
  ['a copy of what may be null', `r7 = 3\n${key(7)}r8 = r0\nif r0 == 0 goto out\nr0 = *(u64 *)(r8 + 0)\nout: exit`, 0n],
  [
    'null kept on the stack while it is not known',
    `r7 = 3\n${key(7)}*(u64 *)(r10 - 16) = r0\nif r0 == 0 goto out\nr1 = *(u64 *)(r10 - 16)\nr0 = *(u64 *)(r1 + 0)\nout: exit`,
    0n,
  ],
  ['null is a number', `r7 = 9\n${key(7)}if r0 != 0 goto out\nr0 += 5\nexit\nout: r0 = 1\nexit`, 5n],
  ['a result with bounds is an index', `${state}r1 = 4\ncall 7\nr6 += r0\nr0 = *(u8 *)(r6 + 48)\nexit`, 0n],
  [
    'sizes of memory that vary',
    `r7 = *(u64 *)(r1 + 0)\n${state}r7 &= 63\nr1 = r6\nr2 = r7\ncall 10\nexit`,
    0n,
    { a: 17n },
  ],
  [
    'registers that calls keep',
    'r6 = 1\nr7 = 2\nr8 = 3\nr9 = 4\ncall 5\nr0 = r6\nr0 += r7\nr0 += r8\nr0 += r9\nexit',
    10n,
  ],
  [
    'a function with a pointer to the stack of its caller',
    'r1 = r10\nr1 += -8\ncall f\nr0 = *(u64 *)(r10 - 8)\nexit\nf: *(u64 *)(r1 + 0) = 6\nr0 = 0\nexit',
    6n,
  ],
  [
    'a function that gives back a pointer',
    '*(u64 *)(r10 - 8) = 6\nr1 = r10\nr1 += -16\ncall f\nr0 = *(u64 *)(r0 + 0)\nexit\nf: r0 = r1\nr0 += 8\nexit',
    6n,
  ],
  ['a function that gives back nothing', 'r6 = 3\ncall f\nr0 = r6\nexit\nf: exit', 3n],
  [
    'a function called from two places',
    'r1 = 3\ncall f\nr6 = r0\nr1 = 5\ncall f\nr0 += r6\nexit\nf: r0 = r1\nr0 *= r1\nexit',
    34n,
  ],
  [
    'eight frames',
    `r0 = 0\ncall f1\nexit\n${[1, 2, 3, 4, 5, 6].map((n) => `f${n}: call f${n + 1}\nr0 += 1\nexit`).join('\n')}\nf7: r0 = 0\nexit`,
    6n,
  ],
  ['a counted loop', 'r0 = 0\nr1 = 100\nloop: r0 += 3\nr1 -= 1\nif r1 != 0 goto loop\nexit', 300n],
  [
    'a loop in a loop',
    'r0 = 0\nr1 = 20\nouter: r2 = 20\ninner: r0 += 1\nr2 -= 1\nif r2 != 0 goto inner\nr1 -= 1\nif r1 != 0 goto outer\nexit',
    400n,
  ],
  [
    'a loop with a bound that is not known but limited',
    `r7 = *(u64 *)(r1 + 0)\nr7 &= 63\n${state}r0 = 0\nr8 = 0\nloop: if r8 >= r7 goto out\nr9 = r6\nr9 += r8\nr1 = *(u8 *)(r9 + 0)\nr0 += r1\nr0 += 2\nr8 += 1\ngoto loop\nout: exit`,
    20n,
    { a: 10n },
  ],
  [
    'a loop left in its middle',
    `${state}r8 = 0\nloop: r9 = r6\nr9 += r8\nr1 = *(u8 *)(r9 + 0)\nif r1 != 0 goto out\nr8 += 1\nif r8 < 64 goto loop\nout: r0 = r8\nexit`,
    64n,
  ],
  [
    'a loop whose counter is on the stack',
    '*(u64 *)(r10 - 8) = 0\nloop: r1 = *(u64 *)(r10 - 8)\nr1 += 1\n*(u64 *)(r10 - 8) = r1\nif r1 < 50 goto loop\nr0 = r1\nexit',
    50n,
  ],
  [
    'a loop whose counter is a part of a slot',
    '*(u32 *)(r10 - 4) = 0\nloop: r1 = *(u32 *)(r10 - 4)\nr1 += 1\n*(u32 *)(r10 - 4) = r1\nif r1 < 50 goto loop\nr0 = r1\nexit',
    50n,
  ],
  [
    'a loop entered at two places',
    'r2 = *(u64 *)(r1 + 0)\nr1 = 10\nr0 = 0\nif r2 == 0 goto second\nfirst: r0 += 1\nsecond: r0 += 2\nr1 -= 1\nif r1 != 0 goto first\nexit',
    29n,
  ],
  [
    'a value that nobody writes decides',
    'r1 = map 1 value + 0 ll\nr2 = *(u8 *)(r1 + 3)\nif r2 == 4 goto out\nr0 = *(u64 *)(r9 + 0)\nout: r0 = 1\nexit',
    1n,
  ],
  ['a shift by an unknown count', 'r2 = *(u64 *)(r1 + 0)\nr0 = 1\nr0 <<= r2\nexit', 8n, { a: 67n }],
  [
    'a register minus itself is known',
    `${state}r2 = *(u64 *)(r1 + 0)\nr2 -= r2\nr6 += r2\nr0 = *(u64 *)(r6 + 56)\nexit`,
    0n,
    { a: 5n },
  ],
  [
    'a comparison that rules out the only bad value',
    `r7 = *(u64 *)(r1 + 0)\nr7 &= 64\nr0 = 1\nif r7 == 64 goto out\n${state}r6 += r7\nr0 = *(u64 *)(r6 + 56)\nout: exit`,
    0n,
    { a: 1n },
  ],
  [
    'a bit that was tested',
    `r7 = *(u64 *)(r1 + 0)\nr7 &= 127\nr0 = 1\nif r7 & 64 goto out\n${state}r6 += r7\nr0 = *(u8 *)(r6 + 0)\nout: exit`,
    0n,
    { a: 63n },
  ],
];

for (const [name, text, expected, inputs] of accepted) {
  test(`accepted: ${name}`, () => {
    assert.equal(runBoth(verify(sourceOf(text), testEnvironment), inputs), expected);
  });
}

test('many branches that decide nothing cost little: states are compared by what matters', () => {
  const lines = ['r6 = *(u64 *)(r1 + 0)', 'r0 = 0'];
  for (let bit = 0; bit < 60; bit++)
    lines.push(`r2 = r6`, `r2 >>= ${bit}`, 'r2 &= 1', `if r2 == 0 goto n${bit}`, `r7 = ${bit}`, `n${bit}: r3 = 1`);
  lines.push('r0 = r6', 'exit');
  const program = verify(sourceOf(lines.join('\n')), testEnvironment);
  assert.ok(program.complexity < 2500, `${program.complexity} instructions looked at`);
  assert.equal(runBoth(program, { a: 77n }), 77n);
});

test('a sum over many branches does not explode either', () => {
  const lines = ['r6 = *(u64 *)(r1 + 0)', 'r7 = 0'];
  for (let bit = 0; bit < 40; bit++)
    lines.push('r2 = r6', `r2 >>= ${bit}`, 'r2 &= 1', `if r2 == 0 goto n${bit}`, `r7 += ${bit + 1}`, `n${bit}: r3 = 1`);
  lines.push('*(u64 *)(r1 + 8) = r7', 'r0 = 0', 'exit');
  const program = verify(sourceOf(lines.join('\n')), testEnvironment);
  assert.ok(program.complexity < 5000, `${program.complexity} instructions looked at`);
});

test('the complexity of loops is what they execute', () => {
  const text = (turns: number) => `r0 = 0\nr1 = ${turns}\nloop: r0 += 3\nr1 -= 1\nif r1 != 0 goto loop\nexit`;
  assert.ok(verify(sourceOf(text(30_000)), testEnvironment).complexity < 91_000);
});

test('pointers may leak where the embedder allows it', () => {
  const environment = { ...testEnvironment, pointersMayLeak: true };
  verify(sourceOf('r0 = r10\nexit'), environment);
  verify(sourceOf('r2 = *(u64 *)(r1 + 24)\n*(u64 *)(r2 + 0) = r10\nr0 = 0\nexit'), environment);
  verify(sourceOf('w0 = w1\nexit'), environment);
});

test('stack of nested calls is counted', () => {
  const program = verify(
    sourceOf('*(u64 *)(r10 - 40) = 1\ncall f\nr0 = 0\nexit\nf: *(u8 *)(r10 - 9) = 1\nexit'),
    testEnvironment,
  );
  assert.deepEqual(
    [...program.frameBytes],
    [
      [0, 40],
      [4, 16],
    ],
  );
  assert.equal(program.stackBytes, 56);
});
