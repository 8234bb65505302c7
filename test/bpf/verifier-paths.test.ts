/**
 * Two paths meet, and what one of them brought along makes the rest unsafe: whichever of the two is followed first, the
 * verifier must not take the other for known.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BpfError } from '../../src/bpf/errors.ts';
import { verify } from '../../src/bpf/verifier.ts';
import { sourceOf, testEnvironment } from './harness.ts';

const before =
  'r6 = *(u64 *)(r1 + 24)\nr9 = r1\nr2 = *(u64 *)(r1 + 0)\nr3 = *(u64 *)(r1 + 8)\nr2 &= 127\nr3 &= 127\nr8 = *(u64 *)(r1 + 0)\n';
/** Far enough from the start that the state is remembered where the paths meet. */
const pause = (label: string): string => `${'r7 = 1\n'.repeat(9)}if r8 == 77 goto ${label}\nr7 = 2\n${label}: r7 = 3\n`;
const use = 'r0 = *(u8 *)(r6 + 0)\nexit';
const key = '*(u32 *)(r10 - 4) = 1\nr1 = map 0 ll\nr2 = r10\nr2 += -4\ncall 1\n';

/** What is told apart, code of the refusal, the safe way, the unsafe way, what follows; functions at the end. */
const cases: readonly (readonly [string, string, string, string, string])[] = [
  ['a number that is added to a pointer', 'out-of-bounds', 'r4 = 0', 'r4 = 1000', `r6 += r4\n${use}`],
  ['a number through arithmetic', 'out-of-bounds', 'r4 = 0', 'r4 = 500', `r4 <<= 1\nr5 = r4\nr6 += r5\n${use}`],
  ['the low half of a number', 'out-of-bounds', 'w4 = 0', 'w4 = 500', `w5 = w4\nr6 += r5\n${use}`],
  ['the offset of a pointer', 'out-of-bounds', 'r6 += 1', 'r6 += 64', use],
  [
    'a number on the stack',
    'out-of-bounds',
    '*(u64 *)(r10 - 8) = 3',
    '*(u64 *)(r10 - 8) = 64',
    `r4 = *(u64 *)(r10 - 8)\nr6 += r4\n${use}`,
  ],
  [
    'a part of a slot',
    'out-of-bounds',
    '*(u16 *)(r10 - 6) = 3',
    '*(u16 *)(r10 - 6) = 64',
    `r4 = *(u16 *)(r10 - 6)\nr6 += r4\n${use}`,
  ],
  [
    'a number of an unknown place on the stack',
    'out-of-bounds',
    '*(u64 *)(r10 - 8) = 3',
    '*(u64 *)(r10 - 8) = 64',
    `r5 = r10\nr5 += -8\nr4 = *(u64 *)(r5 + 0)\nr6 += r4\n${use}`,
  ],
  [
    'a pointer on the stack',
    'out-of-bounds',
    '*(u64 *)(r10 - 8) = r6',
    'r6 += 64\n*(u64 *)(r10 - 8) = r6',
    'r4 = *(u64 *)(r10 - 8)\nr0 = *(u8 *)(r4 + 0)\nexit',
  ],
  [
    'what was written on the stack',
    'uninitialised-stack',
    '*(u64 *)(r10 - 8) = 3',
    'r4 = 3',
    'r0 = *(u64 *)(r10 - 8)\nexit',
  ],
  [
    'some bytes on the stack',
    'uninitialised-stack',
    '*(u64 *)(r10 - 8) = 3',
    '*(u32 *)(r10 - 8) = 3',
    'r0 = *(u8 *)(r10 - 1)\nexit',
  ],
  ['a register that was set', 'uninitialised-register', 'r4 = 3', 'r5 = 3', 'r0 = r4\nexit'],
  ['a number and a pointer', 'pointer-leak', 'r4 = 3', 'r4 = r9', '*(u64 *)(r6 + 0) = r4\nr0 = 0\nexit'],
  [
    'a number and a pointer on the stack',
    'pointer-leak',
    '*(u64 *)(r10 - 8) = 3',
    '*(u64 *)(r10 - 8) = r9',
    'r0 = *(u32 *)(r10 - 8)\nexit',
  ],
  [
    'a pointer that is not null',
    'null-pointer',
    `${key}if r0 != 0 goto +2\nr0 = 0\nexit\nr4 = r0`,
    `${key}r4 = r0`,
    'r0 = *(u64 *)(r4 + 0)\nexit',
  ],
  [
    'pointers to different things',
    'access-denied',
    'r4 = r6',
    'r4 = *(u64 *)(r9 + 32)',
    '*(u64 *)(r4 + 0) = 1\nr0 = 0\nexit',
  ],
  [
    'values that are one and the same',
    'out-of-bounds',
    'r3 = r2',
    'r4 = 0',
    `if r2 > 10 goto out\nr6 += r3\nr0 = *(u8 *)(r6 + 0)\nexit\nout: r0 = 0\nexit`,
  ],
  [
    'values that are the same on the stack',
    'out-of-bounds',
    '*(u64 *)(r10 - 8) = r2',
    '*(u64 *)(r10 - 8) = r3',
    `if r2 > 10 goto out\nr3 = *(u64 *)(r10 - 8)\nr6 += r3\nr0 = *(u8 *)(r6 + 0)\nexit\nout: r0 = 0\nexit`,
  ],
  [
    'pointers that are null together',
    'null-pointer',
    `${key}r4 = r0\nr5 = r0`,
    `${key}*(u64 *)(r10 - 16) = r0\n${key}r4 = r0\nr5 = *(u64 *)(r10 - 16)`,
    'if r4 == 0 goto out\nr0 = *(u64 *)(r5 + 0)\nexit\nout: r0 = 0\nexit',
  ],
  [
    'a number that a condition needs',
    'out-of-bounds',
    'r4 = 1',
    'r4 = 2',
    'if r4 == 1 goto out\nr0 = *(u64 *)(r6 + 64)\nexit\nout: r0 = 0\nexit',
  ],
  ['the size that a helper gets', 'helper-argument', 'r4 = 8', 'r4 = 100', 'r1 = r6\nr2 = r4\ncall 10\nexit'],
  ['the number that a helper gets', 'helper-argument', 'r4 = 8', 'r4 = 101', 'r1 = r4\ncall 7\nexit'],
  [
    'what the function gets',
    'out-of-bounds',
    'r4 = 0',
    'r4 = 64',
    `r1 = r6\nr2 = r4\ncall f\nexit\nf: r1 += r2\nr0 = *(u8 *)(r1 + 0)\nexit`,
  ],
  [
    'what the caller keeps while a function runs',
    'out-of-bounds',
    'r7 = 0\nr4 = 0\n*(u64 *)(r10 - 8) = 0',
    'r7 = 0\nr4 = 64\n*(u64 *)(r10 - 8) = 64',
    `r9 = r4\nr1 = r8\ncall f\nr6 += r9\n${use}\nf: r0 = 0\n${'r7 = 1\n'.repeat(9)}if r1 == 5 goto g\nr0 = 1\ng: r2 = 0\nexit`,
  ],
  [
    'what the caller keeps on its stack',
    'out-of-bounds',
    '*(u64 *)(r10 - 8) = 0',
    '*(u64 *)(r10 - 8) = 64',
    `r1 = r8\ncall f\nr4 = *(u64 *)(r10 - 8)\nr6 += r4\n${use}\nf: r0 = 0\n${'r7 = 1\n'.repeat(9)}if r1 == 5 goto g\nr0 = 1\ng: r2 = 0\nexit`,
  ],
  [
    'what a function finds on the stack of its caller',
    'out-of-bounds',
    '*(u64 *)(r10 - 8) = 0',
    '*(u64 *)(r10 - 8) = 64',
    'r1 = r10\nr1 += -8\nr2 = r6\ncall f\nexit\nf: r1 = *(u64 *)(r1 + 0)\nr2 += r1\nr0 = *(u8 *)(r2 + 0)\nexit',
  ],
  [
    'what a function gives back',
    'out-of-bounds',
    'r4 = 0',
    'r4 = 64',
    `r1 = r4\ncall f\nr6 += r0\n${use}\nf: r0 = r1\nexit`,
  ],
  ['the kind of what a helper gets', 'helper-argument', 'r1 = r9', 'r1 = 3', 'call 12\nexit'],
  [
    'a number that is stored later',
    'out-of-bounds',
    'r4 = 0',
    'r4 = 64',
    `*(u64 *)(r10 - 8) = r4\nr5 = *(u64 *)(r10 - 8)\nr6 += r5\n${use}`,
  ],
  [
    'the number of turns',
    'out-of-bounds',
    'r4 = 4',
    'r4 = 65',
    'loop: r0 = *(u8 *)(r6 + 0)\nr6 += 1\nr4 -= 1\nif r4 != 0 goto loop\nexit',
  ],
];

for (const [name, code, safe, unsafe, rest] of cases) {
  test(`paths that differ in ${name}`, () => {
    const main = rest.search(/\nf: /);
    const [body, functions] = main < 0 ? [rest, ''] : [rest.slice(0, main), rest.slice(main)];
    const of = (first: string, second: string) =>
      sourceOf(
        `${before}${'r7 = 1\n'.repeat(9)}if r8 == 5 goto second\n${first}\ngoto join\nsecond: ${second}\njoin: r0 = 0\n${pause('meet')}${body}${functions}`,
      );
    verify(of(safe, safe), testEnvironment);
    for (const source of [of(safe, unsafe), of(unsafe, safe)]) {
      assert.throws(
        () => verify(source, testEnvironment),
        (error) => error instanceof BpfError && error.code === code,
      );
    }
  });
}
