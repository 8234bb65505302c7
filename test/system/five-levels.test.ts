/** 5-level paging: addresses as numbers, and a guest that lives beyond 48 bits (test/guests/five-levels64.c), in both engines. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { addressOf, addressOfBig, bigOf, fitsLinear, highOf, lowOf, moved, sumOf } from '../../src/mmu/linear.ts';
import { randomNumbers } from '../isa/random.ts';
import { attempt, longMode, protectedMode } from './machine.ts';

const signed = (value: bigint): bigint => BigInt.asIntN(64, value);
const halves = (value: bigint): [number, number] => [
  Number(BigInt.asUintN(32, value)),
  Number(BigInt.asIntN(32, signed(value) >> 32n)),
];
/** Around the powers of two where something changes, and anywhere. */
function* addresses(): Iterable<bigint> {
  for (const bits of [0n, 31n, 32n, 47n, 48n, 52n, 53n, 54n, 56n, 57n])
    for (let by = -40n; by <= 40n; by++) for (const sign of [1n, -1n]) yield sign * (1n << bits) + by;
  const random = randomNumbers(5);
  for (let i = 0; i < 20_000; i++)
    yield BigInt.asIntN(57, (BigInt(random(2 ** 30)) << 30n) | BigInt(random(2 ** 30))) >> BigInt(random(30));
}
const representable = (value: bigint): boolean => value >= -(1n << 57n) && value < 1n << 57n;

test('an address of 57 bits is one exact number, and the halves of it come back', () => {
  const seen = new Map<number, bigint>();
  for (const value of addresses()) {
    const [low, high] = halves(value);
    const number = addressOf(low, high);
    if (!representable(value)) {
      assert.equal(number, value < 0n ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY, `${value}`);
      assert.ok(!fitsLinear(number, 57));
      continue;
    }
    assert.equal(addressOfBig(value), number, `${value}`);
    assert.equal(lowOf(number), low, `${value}`);
    assert.equal(highOf(number), high, `${value}`);
    assert.equal(bigOf(number), value);
    assert.equal(fitsLinear(number, 48), value === BigInt.asIntN(48, value));
    assert.equal(fitsLinear(number, 57), value === BigInt.asIntN(57, value));
    if (value >= -(2n ** 53n) && value < 2n ** 53n) assert.equal(number, Number(value));
    assert.equal(seen.get(number) ?? value, value, 'no two addresses are one number');
    seen.set(number, value);
  }
});

test('sums of addresses are exact, and wrap at 64 bits', () => {
  const random = randomNumbers(6);
  for (const value of addresses()) {
    if (!representable(value)) continue;
    const number = addressOf(...halves(value));
    for (const by of [1, -1, 8, -8, 4096, random(2 ** 32), -random(2 ** 31)]) {
      const sum = value + BigInt(by);
      assert.equal(moved(number, by), addressOf(...halves(sum)), `${value} + ${by}`);
    }
    const other = BigInt.asIntN(64, (BigInt(random(2 ** 32)) << 32n) | BigInt(random(2 ** 32)));
    assert.equal(sumOf(...halves(value), ...halves(other)), addressOf(...halves(value + other)));
  }
});

test('CR4.LA57 exists where the model has it, and changes outside IA-32e mode alone', () => {
  const LA57 = 1 << 12;
  const m = protectedMode();
  assert.ok(!m.p.features.has('la57'), 'the model max does without');
  assert.equal(attempt(m, 'mov-to-cr', 4, 0x20 | LA57), '#13(0)');
  const with57 = protectedMode(0, 'max-la57');
  assert.equal(attempt(with57, 'mov-to-cr', 4, 0x20 | LA57), 'done');
  assert.equal(attempt(with57, 'mov-to-cr', 4, 0x20), 'done');
  const long = longMode(0, 'max-la57');
  assert.equal(attempt(long, 'mov-to-cr', 4, 0x20 | LA57), '#13(0)');
});

test('registers take 57 bits on a processor that knows 5 levels, memory only while CR4.LA57 is set', () => {
  const far = 0x12_3456_7890_1234n;
  const msr = (m: ReturnType<typeof longMode>): string => {
    m.p.setGpr(1, 64, 0xc000_0102);
    m.p.setGpr(0, 64, Number(far & 0xffff_ffffn));
    m.p.setGpr(2, 64, Number(far >> 32n));
    return attempt(m, 'wrmsr');
  };
  assert.equal(msr(longMode()), '#13(0)');
  const m = longMode(0, 'max-la57');
  assert.equal(msr(m), 'done');
  assert.equal(m.state.get64('kernelGsBase'), far);
  assert.ok(!m.p.mmu.slowRead(...halves(far), 4, 'read', false));
  assert.equal(m.state.get32('faultVector'), 13);
  m.p.setGpr(1, 64, Number(far & 0xffff_ffffn), Number(far >> 32n));
  assert.equal(attempt(m, 'sysret', 8), '#13(0)');
});

const guest = fileURLToPath(new URL('../guests/five-levels64.elf', import.meta.url));
const cli = fileURLToPath(new URL('../../dist/runtime/cli/main.js', import.meta.url));
for (const engine of ['interpreter', 'jit'])
  test(`pages, faults, code, stacks and tables beyond 48 bits, in the ${engine}`, () => {
    const options = ['--cpu', 'max-la57', '--engine', engine, '--no-cache', '--memory', '16M'];
    const output = ['--debugcon', 'stdio', '--serial', 'none', '--timeout', '200'];
    const { status, stdout, stderr } = spawnSync(process.execPath, [cli, 'run', guest, ...options, ...output], {
      encoding: 'utf8',
    });
    assert.equal(stdout, '2e2 cases, 0 differences\n', stderr);
    assert.equal(status, 1, 'the guest wrote 0 to the exit port');
  });
