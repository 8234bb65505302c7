/**
 * The fast way of SSE floating point against the exact one: each micro-op is lowered as the interpreter and as a region
 * have it, and run on numbers from the edges of the formats. Under an MXCSR without the inexact flag the interpreter takes
 * the exact way, which recorded vectors judge (test/hardware); the others must give the same bits and exceptions.
 */
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { importLibrary } from '../../jit/arith.ts';
import { Emitter, type Expr } from '../../jit/emitter.ts';
import { lower, type Reader } from '../../jit/lower.ts';
import '../../jit/lower-families.ts';
import { type MicroOp, microOps } from '../../src/ir/micro-ops.ts';
import { sseImmediates, sseOps } from '../../src/ir/sse-ops.ts';
import { cpuBytes, offsetOf } from '../../src/state/layout.ts';
import { loadModules } from '../engines/modules.ts';

const MXCSR = offsetOf('mxcsr');
const FAULT = offsetOf('faultVector');
const CR4 = offsetOf('cr4');
const OPERANDS = 0x2000;
const RESULT = 0x2030;
const FAST = 0x1fa0;
const EXACT = 0x1f80;

type Lowered = (cpu: number) => number;
interface Case {
  readonly name: string;
  readonly op: MicroOp;
  readonly interpreted: Lowered;
  readonly translated: Lowered;
}

const memory = new WebAssembly.Memory({ initial: cpuBytes >> 16, maximum: 65536 });
const view = new DataView(memory.buffer);
const bytes = new Uint8Array(memory.buffer);
const cases: Case[] = [];

/** A function (cpu) -> 1 if the micro-op left or faulted; else its result stands in memory. */
function addFunction(e: Emitter, name: string, op: MicroOp, imm: readonly number[], inRegion: boolean): void {
  const reader: Reader = {
    e,
    inRegion,
    isInexactClear: false,
    budget: () => e.state32('budget'),
    ifInexactClear: (body) => e.if(e.op('i32.eqz', e.op('i32.and', e.state32('mxcsr'), e.i32(0x20))), body),
    exitIf: (condition, vector) => {
      e.if(condition, () => {
        e.setState32('faultVector', e.i32(vector));
        e.return(e.i32(1));
      });
    },
  };
  e.addFunction(
    name,
    ['i32'],
    'i32',
    () => {
      const { operands, result } = microOps[op];
      const args: Expr[] = operands.map((type, i) => e.load(type, e.cpu(), OPERANDS + 16 * i));
      e.store(result!, e.cpu(), lower(reader, op, args, imm), RESULT);
      e.return(e.i32(0));
    },
    true,
  );
}

before(() => {
  const e = new Emitter();
  e.importMemory({ initial: cpuBytes >> 16, maximum: 65536, shared: false });
  importLibrary(e);
  const made: { name: string; op: MicroOp }[] = [];
  for (const op of Object.keys(sseOps) as (keyof typeof sseOps)[]) {
    const immediates = sseImmediates(op);
    for (const imm of immediates.length === 0 ? [[]] : immediates.map((n) => [n])) {
      const name = `${op}${imm.length === 0 ? '' : ` ${imm[0]}`}`;
      made.push({ name, op });
      addFunction(e, `${name} interpreted`, op, imm, false);
      addFunction(e, `${name} translated`, op, imm, true);
    }
  }
  e.validate();
  const binary = e.binary();
  e.dispose();
  const { arithmetic } = loadModules();
  const instance = new WebAssembly.Instance(new WebAssembly.Module(binary as BufferSource), {
    env: { memory },
    arith: arithmetic,
  });
  const functions = instance.exports as Record<string, Lowered>;
  for (const { name, op } of made)
    cases.push({
      name,
      op,
      interpreted: functions[`${name} interpreted`]!,
      translated: functions[`${name} translated`]!,
    });
});

let seed = 0x2545f491;
const random = (): number => {
  seed ^= seed << 13;
  seed ^= seed >>> 17;
  seed ^= seed << 5;
  return seed >>> 0;
};
const pick = <T>(list: readonly T[]): T => list[random() % list.length]!;
const wide = (): bigint => (BigInt(random()) << 32n) | BigInt(random());

/** Exponent fields near the ends, in the middle, and where two operands add up to an end. */
function number(exponentBits: number, fractionBits: number): bigint {
  const top = (1 << exponentBits) - 1;
  const bias = top >> 1;
  const exponent = pick([
    0,
    0,
    1,
    2,
    3,
    top,
    top - 1,
    top - 2,
    bias,
    bias + 1,
    bias - 1,
    bias >> 1,
    (bias >> 1) + 1,
    bias + (bias >> 1),
    bias + 31,
    bias + 63,
    bias + 52,
    random() % (top + 1),
  ]);
  const ones = (1n << BigInt(fractionBits)) - 1n;
  const fraction = pick([
    0n,
    0n,
    1n,
    ones,
    ones - 1n,
    1n << BigInt(fractionBits - 1),
    wide() & ones,
    (wide() & ones) >> BigInt(random() % fractionBits),
  ]);
  return (
    (BigInt(random() & 1) << BigInt(exponentBits + fractionBits)) |
    (BigInt(exponent) << BigInt(fractionBits)) |
    fraction
  );
}
const drawDouble = (): bigint => number(11, 52);
const drawSingle = (): bigint => number(8, 23);

/** Draws one operand; ordinary ones have moderate exponents and no special case. */
function draw(op: MicroOp, i: number, ordinary: boolean): void {
  const at = OPERANDS + 16 * i;
  const type = microOps[op].operands[i]!;
  const doubles =
    type === 'f64' ||
    (type === 'v128' && /f64x2(\.(add|sub|mul|div|min|max|sqrt|cmp|round|fma))|from_f64x2|f32x4\.demote/.test(op));
  const plain = (): number => (random() / 2 ** 32 + 0.25) * (random() % 1000);
  const positive = op.endsWith('.sqrt');
  const value = (): number => (positive || (random() & 1) === 0 ? plain() : -plain());
  for (let k = 0; k < 16; k += doubles ? 8 : 4) {
    if (doubles) ordinary ? view.setFloat64(at + k, value(), true) : view.setBigUint64(at + k, drawDouble(), true);
    else ordinary ? view.setFloat32(at + k, value(), true) : view.setUint32(at + k, Number(drawSingle()), true);
  }
  if (type === 'i64')
    view.setBigUint64(at, BigInt.asUintN(64, BigInt.asIntN(64, wide()) >> BigInt(random() % 64)), true);
  if (type === 'i32') view.setUint32(at, random() >>> (random() % 32), true);
  // Halves: no NaN, if they are to be ordinary.
  if (ordinary && op.endsWith('.from_f16x4'))
    for (let k = 0; k < 16; k += 2) view.setUint16(at + k, (random() % 0xfc00) & 0xfbff, true);
  // Now and then both operands the same, or a pair of lanes equal: sums of zero, equal comparisons.
  if (i === 1 && random() % 8 === 0) bytes.copyWithin(at, at - 16, at);
}

interface Run {
  readonly left: number;
  readonly result: string;
  readonly mxcsr: number;
  readonly fault: number;
}
function run(f: Lowered, mxcsr: number): Run {
  view.setUint32(MXCSR, mxcsr, true);
  view.setUint32(FAULT, 0, true);
  bytes.fill(0, RESULT, RESULT + 16);
  const left = f(0);
  return {
    left,
    result: left ? '' : Buffer.from(bytes.subarray(RESULT, RESULT + 16)).toString('hex'),
    mxcsr: view.getUint32(MXCSR, true),
    fault: view.getUint32(FAULT, true),
  };
}
const operandsText = (op: MicroOp): string =>
  microOps[op].operands
    .map((_, i) => Buffer.from(bytes.slice(OPERANDS + 16 * i, OPERANDS + 16 * i + 16).reverse()).toString('hex'))
    .join(' ');

test('the fast way of the interpreter and of a region is the exact one', () => {
  const wrong: string[] = [];
  let stayed = 0;
  let exactly = 0;
  for (const { name, op, interpreted, translated } of cases) {
    for (let n = 0; n < 3000; n++) {
      microOps[op].operands.forEach((_, i) => {
        draw(op, i, false);
      });
      const exact = run(interpreted, EXACT);
      const fast = run(interpreted, FAST);
      const region = run(translated, FAST);
      const careful = run(translated, EXACT);
      if (exact.left !== 0 || exact.fault !== 0) wrong.push(`${name}: a masked exception faulted, ${operandsText(op)}`);
      if (fast.result !== exact.result || fast.mxcsr !== (exact.mxcsr | 0x20))
        wrong.push(
          `${name}: interpreter ${fast.result} ${fast.mxcsr.toString(16)}, exact ${exact.result} ${exact.mxcsr.toString(16)}, of ${operandsText(op)}`,
        );
      if (careful.left === 0) {
        exactly++;
        if (careful.result !== exact.result || exact.mxcsr !== EXACT)
          wrong.push(
            `${name}: carefully ${careful.result}, exact ${exact.result} ${exact.mxcsr.toString(16)}, of ${operandsText(op)}`,
          );
      }
      if (region.left) continue;
      stayed++;
      if (region.result !== exact.result || (exact.mxcsr & 0x1f) !== 0)
        wrong.push(
          `${name}: region ${region.result}, exact ${exact.result} ${exact.mxcsr.toString(16)}, of ${operandsText(op)}`,
        );
      // With FTZ and DAZ on, what stays in the region must be what they give, too.
      const flushed = run(interpreted, EXACT | 0x8040);
      if (flushed.result !== region.result)
        wrong.push(`${name}: region ${region.result}, with FTZ and DAZ ${flushed.result}, of ${operandsText(op)}`);
    }
  }
  assert.ok(stayed > 10_000 && exactly > 10_000, `${stayed} and ${exactly}`);
  assert.deepEqual(wrong.slice(0, 10), [], `${wrong.length} differ`);
});

test('a region does small whole numbers itself while the inexact flag is clear', () => {
  const left: string[] = [];
  for (const { name, op, translated } of cases) {
    if (/from_|sqrt|div/.test(op)) continue;
    for (let n = 0; n < 200; n++) {
      microOps[op].operands.forEach((type, i) => {
        const at = OPERANDS + 16 * i;
        const doubles = type === 'f64' || /f64x2\.(add|sub|mul|min|max|cmp|round|fma)|f32x4\.demote/.test(op);
        for (let k = 0; k < 16; k += doubles ? 8 : 4) {
          const whole = (random() % 2000) - 1000;
          if (doubles) view.setFloat64(at + k, whole, true);
          else view.setFloat32(at + k, whole, true);
        }
      });
      if (run(translated, EXACT).left) left.push(`${name} of ${operandsText(op)}`);
    }
  }
  assert.deepEqual(left.slice(0, 10), []);
});

test('a region does ordinary numbers itself', () => {
  const left: string[] = [];
  for (const { name, op, translated } of cases) {
    for (let n = 0; n < 500; n++) {
      microOps[op].operands.forEach((_, i) => {
        draw(op, i, true);
      });
      if (run(translated, FAST).left) left.push(`${name} of ${operandsText(op)}`);
    }
  }
  // A quotient by a zero is no ordinary number, nor is a single that is too small for a normal half.
  assert.deepEqual(
    left.filter((text) => !/\.div|from_f32x4 of .*/.test(text) || text.includes('i32x4')).slice(0, 10),
    [],
  );
});

test('a fused multiply-add is rounded once where the sum is nearly halfway between two numbers', () => {
  const wrong: string[] = [];
  let stayed = 0;
  for (const { name, op, interpreted, translated } of cases.filter((c) => c.op.endsWith('.fma'))) {
    const double = op.includes('f64');
    const digits = double ? 52 : 23;
    // One or two, and a few units in the last place more or less.
    const near = (scale: number): number => {
      const unit = 2 ** -digits;
      const few = (random() % 9) - 4;
      return (random() & 1 ? -scale : scale) * ((random() & 1 ? 1 : 2) + few * unit);
    };
    for (let n = 0; n < 20_000; n++) {
      const half = 2 ** -(digits + (random() % 4));
      const factors = [near(1), near(half)];
      if (random() & 1) factors.reverse();
      [...factors, near(1)].forEach((value, i) => {
        const at = OPERANDS + 16 * i;
        for (let k = 0; k < 16; k += double ? 8 : 4)
          if (double) view.setFloat64(at + k, value, true);
          else view.setFloat32(at + k, value, true);
      });
      const exact = run(interpreted, EXACT);
      const region = run(translated, FAST);
      const careful = run(translated, EXACT);
      if (careful.left === 0 && (careful.result !== exact.result || exact.mxcsr !== EXACT))
        wrong.push(`${name}: carefully ${careful.result}, exact ${exact.result} of ${operandsText(op)}`);
      if (region.left) continue;
      stayed++;
      if (region.result !== exact.result)
        wrong.push(`${name}: region ${region.result}, exact ${exact.result} of ${operandsText(op)}`);
    }
  }
  assert.ok(stayed > 100_000, `${stayed}`);
  assert.deepEqual(wrong.slice(0, 10), [], `${wrong.length} differ`);
});

test('an exception that is not masked is #XM, or #UD without CR4.OSXMMEXCPT, with the flag set and no result', () => {
  const divide = cases.find((c) => c.name === 'sse.f64.div')!;
  view.setFloat64(OPERANDS, 1, true);
  view.setFloat64(OPERANDS + 16, 0, true);
  view.setBigUint64(CR4, 0x400n, true);
  assert.deepEqual(run(divide.interpreted, 0x1d80), { left: 1, result: '', mxcsr: 0x1d84, fault: 19 });
  view.setBigUint64(CR4, 0n, true);
  assert.deepEqual(run(divide.interpreted, 0x1d80), { left: 1, result: '', mxcsr: 0x1d84, fault: 6 });
});
