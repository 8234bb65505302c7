/*
 * `node bench/softfloat.ts [name...]`: nanoseconds per call of the functions in softfloat.wasm, called from another wasm module (as
 * translated code does) in a loop over 1,024 pairs of operands in memory. The cost of the loop itself is subtracted.
 */
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { buildSoftfloat } from '../src/softfloat/build.ts';

const I32 = 0x7f;
const I64 = 0x7e;
const PAIRS = 1024;
/** A pair in memory: significand, other significand, se, other se, control, argument. */
const STRIDE = 32;

/** What a parameter is loaded from. */
type Source = 'am' | 'ase' | 'bm' | 'bse' | 'cm' | 'control' | 'argument' | 'a32' | 'b32';

const offsets: Record<Source, number> = {
  am: 0,
  bm: 8,
  cm: 8,
  ase: 16,
  bse: 20,
  control: 24,
  argument: 28,
  a32: 0,
  b32: 8,
};
const is64 = (source: Source): boolean => source === 'am' || source === 'bm' || source === 'cm';

function leb(value: number): number[] {
  const bytes: number[] = [];
  for (;;) {
    const byte = value & 0x7f;
    value >>>= 7;
    if (value === 0) return [...bytes, byte];
    bytes.push(byte | 0x80);
  }
}

const section = (id: number, body: number[]): number[] => [id, ...leb(body.length), ...body];
const text = (name: string): number[] => [name.length, ...Buffer.from(name)];

/** A module whose `run(count)` calls the import for each pair in turn, or (without `called`) only loads the operands. */
function loopModule(sources: readonly Source[], result: number, called: boolean): WebAssembly.Module {
  const load = (source: Source): number[] => [
    0x20,
    1,
    is64(source) ? 0x29 : 0x28,
    is64(source) ? 3 : 2,
    ...leb(offsets[source]),
  ];
  const widen = (type: number): number[] => (type === I32 ? [0xad] : []);
  const work = called
    ? [...sources.flatMap(load), 0x10, 0, ...widen(result), 0x20, 2, 0x85, 0x21, 2]
    : sources.flatMap((source) => [...load(source), ...widen(is64(source) ? I64 : I32), 0x20, 2, 0x85, 0x21, 2]);
  // loop: pointer = (count & 1023) * 32; sink ^= f(...); count -= 1; again while count
  const code = [
    ...[2, 1, I32, 1, I64, 0x03, 0x40],
    ...[0x20, 0, 0x41, ...leb(PAIRS - 1), 0x71, 0x41, 5, 0x74, 0x21, 1],
    ...work,
    ...[0x20, 0, 0x41, 1, 0x6b, 0x22, 0, 0x0d, 0, 0x0b, 0x20, 2, 0x0b],
  ];
  const bytes = [
    ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, [
      2,
      0x60,
      sources.length,
      ...sources.map((s) => (is64(s) ? I64 : I32)),
      1,
      result,
      0x60,
      1,
      I32,
      1,
      I64,
    ]),
    ...section(2, [2, ...text('m'), ...text('f'), 0, 0, ...text('m'), ...text('memory'), 2, 0, 1]),
    ...section(3, [1, 1]),
    ...section(7, [1, ...text('run'), 0, 1]),
    ...section(10, [1, ...leb(code.length), ...code]),
  ];
  return new WebAssembly.Module(new Uint8Array(bytes));
}

const f80: readonly Source[] = ['am', 'ase', 'bm', 'bse', 'control'];
const f80One: readonly Source[] = ['am', 'ase', 'control'];
const f64: readonly Source[] = ['am', 'bm', 'control'];
const f32: readonly Source[] = ['a32', 'b32', 'control'];
const cases: readonly { name: string; sources: readonly Source[]; control: number; note?: string }[] = [
  ...['f80Add', 'f80Sub', 'f80Mul', 'f80Div'].map((name) => ({ name, sources: f80, control: 0x37f })),
  { name: 'f80Add', sources: f80, control: 0x27f, note: '53 bits' },
  { name: 'f80Mul', sources: f80, control: 0x27f, note: '53 bits' },
  { name: 'f80Mul', sources: f80, control: 0x77f, note: 'rounding down' },
  ...['f80Sqrt', 'f80RoundToInt', 'f80ToF32', 'f80ToF64'].map((name) => ({ name, sources: f80One, control: 0x37f })),
  { name: 'f80ToI32', sources: [...f80One, 'argument'], control: 0x37f },
  { name: 'f80FromF64', sources: ['am'], control: 0 },
  { name: 'f80FromI64', sources: ['am'], control: 0 },
  { name: 'f80Compare', sources: ['am', 'ase', 'bm', 'bse', 'argument'], control: 0 },
  { name: 'f80Rem', sources: ['am', 'ase', 'bm', 'bse', 'argument', 'control'], control: 0x37f },
  ...['f80F2xm1', 'f80Sin', 'f80Cos', 'f80SinCos', 'f80Ptan'].map((name) => ({
    name,
    sources: f80One,
    control: 0x37f,
  })),
  ...['f80Patan', 'f80Yl2x', 'f80Yl2xp1'].map((name) => ({ name, sources: f80, control: 0x37f })),
  ...['f64Add', 'f64Mul', 'f64Div'].map((name) => ({ name, sources: f64, control: 0x1f80 })),
  ...['f64Add', 'f64Mul', 'f64Div'].map((name) => ({ name, sources: f64, control: 0x3f80, note: 'rounding down' })),
  { name: 'f64Sqrt', sources: ['am', 'control'], control: 0x1f80 },
  { name: 'f64Compare', sources: ['am', 'bm', 'control', 'argument'], control: 0x1f80 },
  { name: 'f64ToI32', sources: ['am', 'control', 'argument'], control: 0x1f80 },
  { name: 'f64Fma', sources: ['am', 'bm', 'cm', 'control'], control: 0x1f80 },
  ...['f32Add', 'f32Mul', 'f32Div'].map((name) => ({ name, sources: f32, control: 0x1f80 })),
];

/** Ordinary numbers between 1/16 and 16 in each format. */
function fillOperands(memory: WebAssembly.Memory, name: string, control: number): void {
  const view = new DataView(memory.buffer);
  let seed = 12345;
  const random = (): number => (seed = (Math.imul(seed, 1103515245) + 12345) >>> 0) / 0x1_0000_0000;
  for (let i = 0; i < PAIRS; i++) {
    const at = i * STRIDE;
    for (let k = 0; k < 2; k++) {
      const exponent =
        Math.floor(random() * (/F2xm1|Yl2xp1/.test(name) ? -4 : 8)) - (/F2xm1|Yl2xp1/.test(name) ? 2 : 4);
      const sign = random() < (/Sqrt|Yl2x$/.test(name) ? 0 : 0.5) ? 1 : 0;
      const high = Math.floor(random() * 0x8000_0000);
      const low = Math.floor(random() * 0x1_0000_0000);
      view.setUint32(at + 8 * k, low, true);
      if (/^f80From/.test(name)) view.setFloat64(at + 8 * k, (1 + random()) * 2 ** exponent, true);
      else if (name.startsWith('f80')) {
        view.setUint32(at + 8 * k + 4, high + 0x8000_0000, true);
        view.setUint32(at + 16 + 4 * k, (sign << 15) | (16383 + exponent), true);
      } else if (name.startsWith('f64'))
        view.setFloat64(at + 8 * k, (sign ? -1 : 1) * (1 + random()) * 2 ** exponent, true);
      else view.setFloat32(at + 8 * k, (sign ? -1 : 1) * (1 + random()) * 2 ** exponent, true);
    }
    view.setUint32(at + 24, control, true);
  }
}

function nanosPerCall(run: (count: number) => bigint, count: number): number {
  run(200_000);
  let best = Number.POSITIVE_INFINITY;
  for (let i = 0; i < 5; i++) {
    const start = process.hrtime.bigint();
    run(count);
    best = Math.min(best, Number(process.hrtime.bigint() - start) / count);
  }
  return best;
}

async function main(names: readonly string[]): Promise<void> {
  const file = fileURLToPath(new URL('../dist/softfloat.wasm', import.meta.url));
  if (!existsSync(file)) await buildSoftfloat(file);
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(readFileSync(file)), {});
  for (const { name, sources, control, note } of cases) {
    const f = exports[name];
    if (f === undefined || (names.length > 0 && !names.includes(name))) continue;
    const result = /^f80(To(I16|I32|F32)|Compare|Examine)|^f32|^f64(ToI32|Compare)/.test(name) ? I32 : I64;
    const memory = new WebAssembly.Memory({ initial: 1 });
    fillOperands(memory, name, control);
    const start = (called: boolean): ((count: number) => bigint) => {
      const instance = new WebAssembly.Instance(loopModule(sources, result, called), { m: { f, memory } });
      return instance.exports.run as (count: number) => bigint;
    };
    const nanos = nanosPerCall(start(true), 2_000_000) - nanosPerCall(start(false), 2_000_000);
    console.log(`${`${name}${note ? ` (${note})` : ''}`.padEnd(28)} ${nanos.toFixed(1).padStart(6)} ns`);
  }
}

await main(process.argv.slice(2));
