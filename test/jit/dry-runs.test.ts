/** What the compiler's thread makes is compiled by the engine before anybody calls it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { DryRuns } from '../../jit/dry-runs.ts';
import { translate } from '../../jit/translate.ts';
import type { Context } from '../../src/execute/context.ts';
import '../../src/isa/all.ts';
import { userContext } from '../isa/vector-run.ts';

const context: Context = {
  ...userContext(64),
  cpl: 0,
  id: 7,
  stable: true,
  csBase: 0,
  csLimit: 0xffffffff,
  lacks: [],
  watched: false,
};

setFlagsFromString('--allow-natives-syntax');
const isUncompiled = new Function('main', 'return %IsUncompiledWasmFunction(main)') as (main: unknown) => boolean;
isUncompiled(new WebAssembly.Instance(new WebAssembly.Module(nothing())).exports.nothing); // parsed while the flag is set
setFlagsFromString('--no-allow-natives-syntax');

/** (module (func (export "nothing"))) */
function nothing(): Uint8Array<ArrayBuffer> {
  const head = [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0];
  const name = [...new TextEncoder().encode('nothing')];
  const sections = [1, 4, 1, 0x60, 0, 0, 3, 2, 1, 0, 7, 4 + name.length, 1, name.length, ...name, 0, 0];
  return new Uint8Array([...head, ...sections, 10, 4, 1, 2, 0, 0x0b]);
}

function stub(name: string, kind: string): WebAssembly.ImportValue {
  if (kind === 'memory') return new WebAssembly.Memory({ initial: 1, maximum: 65536 });
  if (kind === 'table') return new WebAssembly.Table({ element: 'anyfunc', initial: 1 });
  if (kind === 'global' && name === 'result2M') return new WebAssembly.Global({ value: 'i64', mutable: true }, 0n);
  if (kind === 'global') return new WebAssembly.Global({ value: 'i32', mutable: true }, 0);
  return () => 0;
}
/** The region of a module in other surroundings, as the guest's thread has them. */
function elsewhere(module: WebAssembly.Module): unknown {
  const imports: WebAssembly.Imports = {};
  for (const { module: from, name, kind } of WebAssembly.Module.imports(module))
    (imports[from] ??= {})[name] = stub(name, kind);
  return new WebAssembly.Instance(module, imports).exports.region;
}

const regions: Readonly<Record<string, readonly number[]>> = {
  'a loop': [0x48, 0x03, 0x06, 0xff, 0xc9, 0x75, 0xf9, 0xc3], // add rax, [rsi]; dec ecx; jnz; ret
  'a call': [0xe8, 0x10, 0, 0, 0, 0xff, 0xc0, 0xc3], // call; inc eax; ret
  'an indirect jump': [0xff, 0xe0], // jmp rax
  'x87 arithmetic': [0xd8, 0xc1, 0xd9, 0xfa, 0xd8, 0xd1, 0xdf, 0xe0, 0xc3], // fadd; fsqrt; fcom; fnstsw ax; ret
  doubles: [0xf2, 0x0f, 0x58, 0xc1, 0xf2, 0x0f, 0x51, 0xc0, 0xc3], // addsd; sqrtsd; ret
  'a port': [0xff, 0xc1, 0xed, 0xff, 0xc1, 0xc3], // inc ecx; in eax, dx; inc ecx; ret
  'the time stamp': [0xff, 0xc1, 0x0f, 0x31, 0xff, 0xc1, 0xc3], // inc ecx; rdtsc; inc ecx; ret
};
for (const [name, mode] of [
  ['a machine', { shared: false, x87: 'exact' }],
  ['a machine of one processor', { shared: false, x87: 'exact', cpu: 0x80000 }],
  ['memory that is shared', { shared: true, x87: 'exact' }],
] as const)
  test(`${name}: regions of all kinds are compiled when they have been called in vain`, () => {
    const dryRuns = new DryRuns();
    for (const [what, code] of Object.entries(regions)) {
      const bytes = new Uint8Array(4096).fill(0xcc);
      bytes.set(code);
      const source = { page: (at: bigint) => (at >> 12n === 0x400n ? bytes : null), executed: () => true };
      const made = translate(source, context, 0x40_0000n, mode, new Map(), new Set(), 'either');
      assert.ok(made !== null, what);
      const module = new WebAssembly.Module(made.bytes as Uint8Array<ArrayBuffer>);
      if (!mode.shared) assert.ok(isUncompiled(elsewhere(module)), `${what}: before`);
      dryRuns.run(module, mode);
      if (!mode.shared) assert.ok(!isUncompiled(elsewhere(structuredClone(module))), `${what}: after`);
    }
  });
