/** Programs that are not certainly safe: refused with the number of the instruction, a code, and a reason in words. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BpfEnvironment } from '../../src/bpf/environment.ts';
import { BpfError } from '../../src/bpf/errors.ts';
import { verify } from '../../src/bpf/verifier.ts';
import { sourceOf, testEnvironment } from './harness.ts';

const state = 'r6 = *(u64 *)(r1 + 24)\n';
const end = '\nr0 = 0\nexit';
const key = (index: number) => `*(u32 *)(r10 - 4) = ${index}\nr1 = map 0 ll\nr2 = r10\nr2 += -4\n`;

/** Code, instruction, words of the reason, text. */
const refused: readonly (readonly [string, number | null, RegExp, string])[] = [
  // --- shape
  ['falls-through', 0, /runs off the end/, 'r0 = 0'],
  ['falls-through', 1, /runs off the end/, 'r0 = 0\nr1 = 5 ll'],
  ['falls-through', 2, /runs off the end/, 'r0 = 0\nr1 = 1\nif r1 == 0 goto -2'],
  ['falls-through', 2, /function that starts at 2/, 'call f\nexit\nf: r0 = 0'],
  ['jump-outside', 0, /goes to 11.*0 to 2/, 'goto +10\nr0 = 0\nexit'],
  ['jump-outside', 0, /goes to -4/, 'goto -5\nr0 = 0\nexit'],
  ['jump-outside', 1, /goes to 3.*0 to 2/, 'r0 = 0\nif r0 == 0 goto +1\nexit'],
  ['jump-outside', 0, /the call goes to 100/, 'call pc+99\nr0 = 0\nexit'],
  ['jump-into-constant', 0, /second half/, 'goto +1\nr1 = 5 ll\nexit'],
  ['jump-into-constant', 0, /second half/, 'call pc+1\nr1 = 5 ll\nexit'],
  ['jump-out-of-function', 2, /leaves its function, 2 to 3/, 'call f\nexit\nf: if r1 == 0 goto -2\nexit'],
  ['unreachable', 2, /no path/, 'r0 = 0\nexit\nr0 = 1\nexit'],
  ['unreachable', 1, /no path/, 'goto +1\nr0 = 0\nr0 = 1\nexit'],
  ['recursion', 2, /recurses/, 'call f\nexit\nf: call f\nexit'],
  ['recursion', 4, /recurses/, 'call f\nexit\nf: call g\nexit\ng: call f\nexit'],
  ['recursion', 0, /recurses/, 'call pc-1\nexit'],
  [
    'call-depth',
    14,
    /deeper than 8/,
    `call f1\nexit\n${[1, 2, 3, 4, 5, 6, 7].map((n) => `f${n}: call f${n + 1}\nexit`).join('\n')}\nf8: r0 = 0\nexit`,
  ],
  // --- loops
  ['endless-loop', 0, /nothing that could end it/, 'goto -1'],
  ['endless-loop', 1, /nothing that could end it/, 'r0 = 0\nloop: goto loop'],
  ['endless-loop', 1, /comes back/, 'r0 = 0\nloop: r0 += 1\ngoto loop'],
  ['endless-loop', 0, /comes back/, 'loop: r2 = *(u64 *)(r1 + 0)\nif r2 != 0 goto loop\nr0 = 0\nexit'],
  ['endless-loop', 0, /comes back/, 'loop: call 5\nif r0 != 0 goto loop\nexit'],
  ['endless-loop', 1, /comes back/, 'r0 = 0\nloop: r0 ^= 1\nif r0 != 5 goto loop\nexit'],
  ['endless-loop', 2, /comes back/, 'call f\nexit\nf: r0 = 1\nloop: if r0 == 1 goto loop2\nexit\nloop2: goto f'],
  ['too-complex', null, /a loop has no bound/, 'r0 = 1\nloop: r0 += 1\nif r0 != 0 goto loop\nexit'],
  ['too-complex', null, /200000/, 'r0 = 0\nloop: r0 += 1\nif r0 < 1000000 goto loop\nexit'],
  ['too-complex', null, /a loop/, 'r2 = *(u64 *)(r1 + 0)\nr0 = 0\nloop: r0 += 1\nif r0 != r2 goto loop\nexit'],
  // --- registers
  ['uninitialised-register', 0, /r0 is read before/, 'exit'],
  ['uninitialised-register', 0, /r2/, 'r0 = r2\nexit'],
  ['uninitialised-register', 0, /r5/, 'r5 += 1\nr0 = 0\nexit'],
  ['uninitialised-register', 0, /r9/, 'if r9 == 0 goto +0\nr0 = 0\nexit'],
  ['uninitialised-register', 1, /r1 is read before/, 'call 5\nr0 = r1\nexit'],
  ['uninitialised-register', 1, /r0/, 'call 14\nexit'],
  ['uninitialised-register', 4, /r7/, 'r2 = *(u64 *)(r1 + 0)\nif r2 == 0 goto +1\nr7 = 1\nr0 = 0\nr0 = r7\nexit'],
  ['uninitialised-register', 3, /r6/, 'r6 = 1\ncall f\nexit\nf: r0 = r6\nexit'],
  ['uninitialised-register', 1, /r0/, 'call f\nexit\nf: exit'],
  ['uninitialised-register', 2, /r3/, 'r1 = 1\nr2 = 2\ncall 6\nexit'],
  ['read-only-register', 0, /r10/, 'r10 = 0\nr0 = 0\nexit'],
  ['read-only-register', 0, /r10/, 'r10 += 8\nr0 = 0\nexit'],
  ['read-only-register', 0, /r10/, 'r10 = *(u64 *)(r1 + 0)\nr0 = 0\nexit'],
  ['read-only-register', 0, /r10/, 'r10 = 5 ll\nr0 = 0\nexit'],
  ['not-a-pointer', 1, /r2 is used as an address, but is the number 5/, 'r2 = 5\nr0 = *(u64 *)(r2 + 0)\nexit'],
  ['not-a-pointer', 1, /but is any number/, 'r2 = *(u64 *)(r1 + 0)\n*(u64 *)(r2 + 0) = 1\nr0 = 0\nexit'],
  ['result-range', 1, /r0 must be 1 to 2 at the end, but is 0/, 'r0 = 0\nexit'],
  // --- stack
  ['uninitialised-stack', 0, /byte -8 of the stack/, 'r0 = *(u64 *)(r10 - 8)\nexit'],
  ['uninitialised-stack', 1, /byte -4/, '*(u32 *)(r10 - 8) = 1\nr0 = *(u64 *)(r10 - 8)\nexit'],
  [
    'uninitialised-stack',
    5,
    /byte -15/,
    'r2 = *(u64 *)(r1 + 0)\nr2 &= 8\nr3 = r10\nr3 += -16\nr3 += r2\nr0 = *(u8 *)(r3 + 1)\nexit',
  ],
  [
    'uninitialised-stack',
    7,
    /byte -16/,
    'r2 = *(u64 *)(r1 + 0)\nr2 &= 8\nr3 = r10\nr3 += -16\nr3 += r2\n*(u64 *)(r10 - 8) = 1\nr4 = 1\nr0 = *(u64 *)(r3 + 0)\nexit',
  ],
  ['uninitialised-stack', 1, /byte -8/, `r2 = 1\nlock *(u64 *)(r10 - 8) += r2${end}`],
  ['uninitialised-stack', 3, /byte -8/, 'r1 = r10\nr1 += -8\nr2 = 8\ncall 10\nexit'],
  ['uninitialised-stack', 5, /byte -4/, 'r1 = map 0 ll\nr2 = r10\nr2 += -4\nr3 = 0\ncall 1\nr0 = 0\nexit'],
  ['uninitialised-stack', 2, /byte -8/, 'call f\nr1 = 1\nr0 = *(u64 *)(r10 - 8)\nexit\nf: *(u64 *)(r10 - 8) = 1\nexit'],
  ['stack-bounds', 0, /bytes 0 to 7/, `*(u64 *)(r10 + 0) = 1${end}`],
  ['stack-bounds', 0, /bytes -520 to -513/, `*(u64 *)(r10 - 520) = 1${end}`],
  ['stack-bounds', 0, /bytes -512 to -505 |-4 to 3/, `*(u64 *)(r10 - 4) = 1${end}`],
  ['stack-bounds', 2, /bytes -1000/, `r2 = r10\nr2 += -1000\n*(u64 *)(r2 + 0) = 1${end}`],
  [
    'stack-bounds',
    5,
    /-64 to 0/,
    `r2 = *(u64 *)(r1 + 0)\nr2 &= 63\nr3 = r10\nr3 += -64\nr3 += r2\n*(u16 *)(r3 + 0) = 1${end}`,
  ],
  ['stack-bounds', 3, /bytes -8 to 7/, 'r1 = r10\nr1 += -8\nr2 = 16\ncall 11\nr0 = 0\nexit'],
  [
    'stack-depth',
    0,
    /nested calls use 600 bytes/,
    `*(u64 *)(r10 - 304) = 1\ncall f${end}\nf: *(u64 *)(r10 - 296) = 1\nexit`,
  ],
  ['misaligned', 0, /8 bytes at offset -12 of the stack/, `*(u64 *)(r10 - 12) = 1${end}`],
  [
    'misaligned',
    5,
    /of the stack are not aligned/,
    `r2 = *(u64 *)(r1 + 0)\nr2 &= 31\nr3 = r10\nr3 += -64\nr3 += r2\n*(u32 *)(r3 + 0) = 1${end}`,
  ],
  // --- context
  ['context-access', 0, /outside of test, which has 48/, 'r0 = *(u64 *)(r1 + 48)\nexit'],
  ['context-access', 0, /offset -8/, 'r0 = *(u64 *)(r1 - 8)\nexit'],
  ['context-access', 0, /byte 40 of test, where there is no field/, 'r0 = *(u64 *)(r1 + 40)\nexit'],
  ['context-access', 0, /field state of test holds a pointer and is read whole/, 'r0 = *(u32 *)(r1 + 24)\nexit'],
  [
    'context-access',
    3,
    /must be a constant, but is 0..8/,
    'r2 = *(u64 *)(r1 + 0)\nr2 &= 8\nr1 += r2\nr0 = *(u64 *)(r1 + 0)\nexit',
  ],
  ['context-access', 1, /atomic/, `r2 = 1\nlock *(u64 *)(r1 + 8) += r2${end}`],
  ['misaligned', 0, /offset 2 of test/, 'r0 = *(u32 *)(r1 + 2)\nexit'],
  ['access-denied', 0, /field a of test must not be written/, `*(u64 *)(r1 + 0) = 1${end}`],
  ['access-denied', 0, /field d of test must not be read/, 'r0 = *(u32 *)(r1 + 20)\nexit'],
  ['access-denied', 0, /field d of test must not be read/, 'r0 = *(u64 *)(r1 + 16)\nexit'],
  ['access-denied', 0, /field state of test must not be written/, `*(u64 *)(r1 + 24) = 1${end}`],
  // --- regions and values
  ['out-of-bounds', 1, /from 64 to 65, but region state has 64 bytes/, `${state}r0 = *(u8 *)(r6 + 64)\nexit`],
  ['out-of-bounds', 1, /from 60 to 68/, `${state}r0 = *(u64 *)(r6 + 60)\nexit`],
  ['out-of-bounds', 1, /from -1 to 0/, `${state}r0 = *(u8 *)(r6 - 1)\nexit`],
  [
    'out-of-bounds',
    4,
    /region state \+ 0..255: .* from 0 to 256/,
    `r7 = *(u64 *)(r1 + 0)\n${state}r7 &= 255\nr6 += r7\nr0 = *(u8 *)(r6 + 0)\nexit`,
  ],
  [
    'out-of-bounds',
    4,
    /from 0 to 71/,
    `r7 = *(u64 *)(r1 + 0)\n${state}r7 &= 63\nr6 += r7\nr0 = *(u64 *)(r6 + 0)\nexit`,
  ],
  [
    'out-of-bounds',
    4,
    /from 0 to 66/,
    `r7 = *(u64 *)(r1 + 0)\nif r7 > 65 goto out\n${state}r6 += r7\nr0 = *(u8 *)(r6 + 0)\nexit\nout: r0 = 0\nexit`,
  ],
  [
    'out-of-bounds',
    5,
    /from -100 to 64/,
    `r7 = *(u64 *)(r1 + 0)\nif r7 s> 63 goto out\n${state}r6 += r7\nr0 = *(u8 *)(r6 + 0)\nexit\nout: r0 = 0\nexit`.replace(
      'out\n',
      'out\nif r7 s< -100 goto out\n',
    ),
  ],
  [
    'out-of-bounds',
    3,
    /from 16 to 20, but a value of map table has 16 bytes/,
    `r1 = map 0 value + 0 ll\nr2 = 3\nr0 = *(u32 *)(r1 + 16)\nexit`,
  ],
  ['out-of-bounds', 0, /offset 16 lies outside/, `r1 = map 0 value + 16 ll${end}`],
  [
    'out-of-bounds',
    8,
    /from 16 to 24/,
    `${key(1)}call 1\nif r0 == 0 goto out\nr1 = 1\nr2 = *(u64 *)(r0 + 16)\nout: r0 = 0\nexit`,
  ],
  [
    'out-of-bounds',
    7,
    /region state \+ 8: .* 64 bytes may reach from 8 to 72/,
    `r7 = *(u64 *)(r1 + 0)\n${state}r1 = r6\nr1 += 8\nr7 &= 63\nr7 += 1\nr2 = r7\ncall 10\nexit`,
  ],
  ['out-of-bounds', 4, /from 8 to 72/, `${state}r1 = r6\nr1 += 8\nr2 = 64\ncall 11\nr0 = 0\nexit`],
  [
    'out-of-bounds',
    4,
    /from 28 to 36/,
    `r1 = 1\ncall 8\nif r0 == 0 goto out\nr1 = 1\nr2 = *(u64 *)(r0 + 28)\nout: r0 = 0\nexit`,
  ],
  ['access-denied', 1, /region rom must not be written/, `r6 = *(u64 *)(r1 + 32)\n*(u64 *)(r6 + 0) = 1${end}`],
  ['access-denied', 1, /region port must not be read/, 'call 9\nr0 = *(u64 *)(r0 + 0)\nexit'],
  [
    'access-denied',
    2,
    /a value of map constants must not be written/,
    `r1 = map 1 value + 0 ll\n*(u64 *)(r1 + 0) = 1${end}`,
  ],
  [
    'access-denied',
    2,
    /region rom must not be written/,
    `r6 = *(u64 *)(r1 + 32)\nr2 = 1\nlock *(u64 *)(r6 + 0) += r2${end}`,
  ],
  [
    'access-denied',
    3,
    /region rom must not be written/,
    'r1 = *(u64 *)(r1 + 32)\nr2 = 8\nr3 = 0\ncall 11\nr0 = 0\nexit',
  ],
  ['access-denied', 2, /map table itself/, 'r1 = map 0 ll\nr0 = *(u64 *)(r1 + 0)\nexit'],
  ['misaligned', 2, /8 bytes at offset 4/, `${state}r2 = 1\nlock *(u64 *)(r6 + 4) += r2${end}`],
  [
    'misaligned',
    4,
    /offset 0..31 are not/,
    `r7 = *(u64 *)(r1 + 0)\n${state}r7 &= 31\nr6 += r7\nlock *(u32 *)(r6 + 0) += w7${end}`
      .replace('lock', 'r8 = 0\nlock')
      .replace('r8 = 0\n', ''),
  ],
  ['unknown-map', 0, /no map 2; the program has 2/, `r1 = map 2 ll${end}`],
  ['unknown-map', 0, /no map -1/, `r1 = map 0 value + 0 ll${end}`.replace('map 0', 'map 4294967295')],
  // --- null
  [
    'null-pointer',
    6,
    /r0 is null or a pointer to a value of map table; compare it with 0/,
    `${key(1)}call 1\nr0 = *(u64 *)(r0 + 0)\nexit`,
  ],
  ['null-pointer', 6, /compare it with 0/, `${key(1)}call 1\nr0 += 8\nr0 = 0\nexit`],
  [
    'not-a-pointer',
    7,
    /the number 0/,
    `${key(1)}call 1\nif r0 != 0 goto out\nr0 = *(u64 *)(r0 + 0)\nout: r0 = 0\nexit`,
  ],
  [
    'null-pointer',
    14,
    /compare it with 0/,
    `${key(1)}call 1\nr6 = r0\n${key(2)}call 1\nif r0 == 0 goto out\nr0 = *(u64 *)(r6 + 0)\nexit\nout: r0 = 0\nexit`,
  ],
  ['null-pointer', 2, /null or a pointer to region packet/, 'r1 = 1\ncall 8\nr0 = *(u8 *)(r0 + 0)\nexit'],
  // --- pointer arithmetic and comparison
  ['pointer-arithmetic', 0, /r1 \*= 2: only addition/, `r1 *= 2${end}`],
  ['pointer-arithmetic', 0, /r1 &= -8/, `r1 &= -8${end}`],
  ['pointer-arithmetic', 0, /32 bits on a pointer/, `w1 += 8${end}`],
  ['pointer-arithmetic', 0, /negation/, `r1 = -r1${end}`],
  ['pointer-arithmetic', 0, /byte swap/, `r1 = be64 r1${end}`],
  ['pointer-arithmetic', 0, /sign-extending/, `r2 = (s32)r1${end}`],
  ['pointer-arithmetic', 0, /cannot be combined/, `r1 += r10${end}`],
  ['pointer-arithmetic', 0, /cannot be combined/, `r1 -= r10${end}`],
  ['pointer-arithmetic', 1, /subtracted from a number/, `r2 = 5\nr2 -= r1${end}`],
  [
    'pointer-arithmetic',
    2,
    /any number may lead more than 536870912 bytes/,
    `r7 = *(u64 *)(r1 + 0)\n${state}r6 += r7${end}`,
  ],
  ['pointer-arithmetic', 3, /more than 536870912/, `${state}r7 = 0x20000000\nr6 += r7\nr6 += r7${end}`],
  ['pointer-arithmetic', 2, /map table itself/, `r1 = map 0 ll\nr1 += 8${end}`],
  ['pointer-comparison', 1, /cannot be compared by == with the number 5/, `r2 = 5\nif r1 == r2 goto +0${end}`],
  ['pointer-comparison', 0, /by > with/, `if r1 > 100 goto +0${end}`],
  ['pointer-comparison', 0, /by < with/, `if r1 < r10 goto +0${end}`],
  ['pointer-comparison', 0, /cannot be compared/, `if w1 == 0 goto +0${end}`],
  // --- leaks
  ['pointer-leak', 1, /would return r0, a pointer to the context/, 'r0 = r1\nexit'],
  ['pointer-leak', 1, /a pointer to the stack/, 'r0 = r10\nexit'],
  ['pointer-leak', 0, /low half of a pointer/, 'w0 = w1\nexit'],
  ['pointer-leak', 1, /would be stored in region state/, `${state}*(u64 *)(r6 + 0) = r10${end}`],
  ['pointer-leak', 0, /would be stored in the context/, `*(u64 *)(r1 + 8) = r1${end}`],
  [
    'pointer-leak',
    2,
    /would be stored in a value of map table/,
    `r2 = map 0 value + 0 ll\n*(u64 *)(r2 + 0) = r1${end}`,
  ],
  ['pointer-leak', 0, /4 bytes of a pointer/, `*(u32 *)(r10 - 8) = r1${end}`],
  ['pointer-leak', 1, /part of a pointer as a number/, '*(u64 *)(r10 - 8) = r1\nr0 = *(u32 *)(r10 - 8)\nexit'],
  [
    'pointer-leak',
    4,
    /the helper gets holds a pointer/,
    '*(u64 *)(r10 - 8) = r1\nr1 = r10\nr1 += -8\nr2 = 8\ncall 10\nexit',
  ],
  ['pointer-leak', 1, /atomic operation cannot use r1/, `*(u64 *)(r10 - 8) = 0\nlock *(u64 *)(r10 - 8) += r1${end}`],
  [
    'pointer-leak',
    2,
    /change a pointer on the stack/,
    `*(u64 *)(r10 - 8) = r1\nr2 = 1\nlock *(u64 *)(r10 - 8) += r2${end}`,
  ],
  [
    'pointer-leak',
    6,
    /unknown place/,
    `r2 = *(u64 *)(r1 + 0)\nr2 &= 8\n*(u64 *)(r10 - 8) = r1\nr3 = r10\nr3 += -16\nr3 += r2\n*(u64 *)(r3 + 0) = 1${end}`,
  ],
  ['pointer-leak', 4, /pointer to its own stack/, 'call f\nr0 = 0\nexit\nf: r0 = r10\nexit'],
  [
    'pointer-leak',
    6,
    /would outlive its frame/,
    'r1 = r10\nr1 += -8\ncall f\nr0 = 0\nexit\nf: r0 = 0\n*(u64 *)(r1 + 0) = r10\nexit',
  ],
  // --- helpers
  ['unknown-helper', 0, /no helper 99/, 'call 99\nexit'],
  ['unknown-helper', 2, /no helper 99/, 'r0 = 0\nif r0 == 0 goto +1\ncall 99\nexit'],
  ['unknown-helper', 0, /no helper -1/, 'call -1\nexit'],
  [
    'helper-argument',
    1,
    /first argument of index, r1, must be a number from 0 to 100, but is the number 101/,
    'r1 = 101\ncall 7\nexit',
  ],
  ['helper-argument', 1, /any number/, 'r1 = *(u64 *)(r1 + 0)\ncall 7\nexit'],
  [
    'helper-argument',
    2,
    /second argument of add3, r2, must be a number, but is a pointer to the context/,
    'r2 = r1\nr1 = 1\ncall 6\nexit',
  ],
  ['helper-argument', 1, /must be a pointer to the context/, 'r1 = 1\ncall 12\nexit'],
  ['helper-argument', 1, /must be a pointer to the context/, 'r1 += 8\ncall 12\nexit'],
  ['helper-argument', 2, /first argument of map_lookup_elem, r1, must be a map/, 'r2 = r10\nr1 = 0\ncall 1\nexit'],
  [
    'helper-argument',
    3,
    /the 4 bytes of a key of map table, but is the number 0/,
    'r1 = map 0 ll\nr2 = 0\ncall 1\nexit',
  ],
  ['helper-argument', 3, /must be a pointer to memory, but is the number 5/, 'r1 = 5\nr2 = 1\nr3 = 1\ncall 10\nexit'],
  [
    'helper-argument',
    3,
    /second argument of fill, r2, must be a size from 1 to 64, but is 0/,
    'r1 = r10\nr1 += -8\nr2 = 0\ncall 11\nexit',
  ],
  [
    'helper-argument',
    3,
    /must be a size from 1 to 64, but is any number/,
    'r2 = *(u64 *)(r1 + 0)\nr1 = r10\nr1 += -64\ncall 11\nr0 = 0\nexit',
  ],
  ['helper-argument', 1, /helpers take only as a whole/, 'r2 = 8\ncall 10\nexit'],
  [
    'helper-argument',
    8,
    /a map that may be written/,
    '*(u32 *)(r10 - 4) = 0\nr1 = map 1 ll\nr2 = r10\nr2 += -4\nr3 = r10\nr3 += -16\nr4 = 0\ncall 2\nexit',
  ],
];

const strict: BpfEnvironment = { ...testEnvironment, result: { min: 1n, max: 2n }, strictAlignment: true };

refused.forEach(([code, at, reason, text], index) => {
  test(`refused ${index + 1}: ${code}, ${reason.source}`, () => {
    const environment = code === 'result-range' ? strict : testEnvironment;
    assert.throws(
      () => verify(sourceOf(text), environment),
      (error) => {
        assert.ok(error instanceof BpfError, String(error));
        assert.equal(error.code, code, error.message);
        if (at !== null) assert.equal(error.instruction, at, error.message);
        assert.notEqual(error.instruction, null);
        assert.match(error.message, reason);
        assert.match(error.message, /^instruction \d+: [^\n]+$/);
        return true;
      },
    );
  });
});
