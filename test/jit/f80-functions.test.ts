/** The additions and multiplications of translated code against the library's, bit for bit. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { importLibrary } from '../../jit/arith.ts';
import { Emitter } from '../../jit/emitter.ts';
import { offerF80Functions } from '../../jit/f80-functions.ts';
import '../../jit/lower-x87.ts';
import { loadModules } from '../engines/modules.ts';
import { randomNumbers } from '../isa/random.ts';

type Operation = (am: bigint, ase: number, bm: bigint, bse: number, control: number) => bigint;

/** `add`, `sub` and `mul` give the significand; `rest` then what goes with it. */
function own(arithmetic: WebAssembly.Exports): Record<string, Operation> & { rest(): number } {
  const e = new Emitter();
  e.importMemory({ initial: 1, maximum: 1, shared: false });
  importLibrary(e);
  offerF80Functions(e);
  for (const name of ['add', 'sub', 'mul']) {
    e.addFunction(
      name,
      ['i64', 'i32', 'i64', 'i32', 'i32'],
      'i64',
      () => {
        const arguments_ = [e.get(0, 'i64'), e.get(1, 'i32'), e.get(2, 'i64'), e.get(3, 'i32'), e.get(4, 'i32')];
        const { first, second } = e.callPair(`f80.${name}`, arguments_);
        e.store('i32', e.i32(0), second());
        e.return(first());
      },
      true,
    );
  }
  e.addFunction('rest', [], 'i32', () => e.return(e.load('i32', e.i32(0))), true);
  e.addOffered();
  e.validate();
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1 });
  const imports = { env: { memory }, arith: { ...arithmetic } } as WebAssembly.Imports;
  return new WebAssembly.Instance(new WebAssembly.Module(e.binary() as BufferSource), imports).exports as never;
}

test('a translation adds, subtracts and multiplies as the library does', () => {
  const { arithmetic } = loadModules();
  const mine = own(arithmetic);
  const library = arithmetic as unknown as Record<string, Operation> & Record<'raised' | 'resultSe', { value: number }>;
  const random = randomNumbers(0xf80);
  const bits = () =>
    (BigInt(random(0x10000)) << 48n) | (BigInt(random(0x10000)) << 32n) | BigInt(random(0x1_0000_0000));
  const significand = (): bigint => {
    const m = bits() | (1n << 63n);
    const kind = random(8);
    if (kind < 3) return BigInt.asUintN(64, m & (-1n << BigInt(random(64)))) | (1n << 63n); // few bits: exact and halfway results
    if (kind === 3) return BigInt.asUintN(64, -1n << BigInt(random(64)));
    if (kind === 4 && random(4) === 0) return bits() >> BigInt(random(64)); // denormals, zeros, unnormals
    return m;
  };
  for (let i = 0; i < 60_000; i++) {
    const am = significand();
    const bm = random(8) === 0 ? am : significand();
    const sign = () => (random(2) === 0 ? 0x8000 : 0);
    const ase = sign() | (random(16) === 0 ? random(0x8000) : 0x3fff - 40 + random(80));
    const near = Math.max(0, Math.min(0x7fff, (ase & 0x7fff) - 70 + random(140)));
    const bse = sign() | (random(3) === 0 ? ase & 0x7fff : near);
    const control = random(6) === 0 ? 0x3f | (random(16) << 8) : 0x37f;
    for (const [name, theirs] of [
      ['add', 'f80Add'],
      ['sub', 'f80Sub'],
      ['mul', 'f80Mul'],
    ] as const) {
      const m = library[theirs]!(am, ase, bm, bse, control);
      const rest = ((library.raised.value << 16) | library.resultSe.value) >>> 0;
      const got = mine[name]!(am, ase, bm, bse, control ^ 0x300);
      const text = (significand_: bigint, other: number) =>
        `${BigInt.asUintN(64, significand_).toString(16)} ${(other >>> 0).toString(16)}`;
      const what = `${name} ${ase.toString(16)}:${am.toString(16)} ${bse.toString(16)}:${bm.toString(16)} under ${control.toString(16)}`;
      if (got !== m || mine.rest() >>> 0 !== rest) assert.equal(text(got, mine.rest()), text(m, rest), what);
    }
  }
});
