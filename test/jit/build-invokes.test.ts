/** binaryen's calls of its own table, made of WebAssembly in bundles. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import binaryen from 'binaryen';
import { invokeNames, withDirectInvokes } from '../../jit/build-invokes.ts';

const script =
  'var I={b:other,v:call2,f:call1};function other(r,G){var t=R();return t}' +
  'function call2(r,G){var t=R();try{return l(r)(G)}catch(F){if(i(t),!(F instanceof Q))throw F;a(1,0)}}' +
  'function call1(r){var t=R();try{l(r)()}catch(F){if(i(t),!(F instanceof Q))throw F;a(1,0)}}' +
  'function swapped(r,G,H){var t=R();try{l(r)(H,G)}catch(F){if(i(t),!(F instanceof Q))throw F;a(1,0)}}';

/** A module that calls its table's first entry by way of an import. */
function caller(from: string): Uint8Array {
  const m = new binaryen.Module();
  try {
    const two = binaryen.createType([binaryen.i32, binaryen.i32]);
    m.addFunctionImport('v', from, 'v', two, binaryen.i32);
    m.addFunctionImport('b', 'a', 'b', binaryen.i32, binaryen.i32);
    m.addTable('t', 1, 1);
    m.addFunction('twice', binaryen.i32, binaryen.i32, [], m.i32.mul(m.i32.const(2), m.local.get(0, binaryen.i32)));
    m.addActiveElementSegment('t', 'e', ['twice'], m.i32.const(0));
    const called = m.call(
      'v',
      [m.i32.const(0), m.call('b', [m.local.get(0, binaryen.i32)], binaryen.i32)],
      binaryen.i32,
    );
    m.addFunction('run', binaryen.i32, binaryen.i32, [], called);
    m.addFunctionExport('run', 'run');
    return m.emitBinary();
  } finally {
    m.dispose();
  }
}

describe('calls of the table by way of the script', () => {
  it('are told from other functions by what they do', () => {
    assert.deepEqual([...invokeNames(script)].sort(), ['f', 'v']);
  });
  it('are made by WebAssembly', () => {
    const direct = withDirectInvokes(caller('a'), invokeNames(script));
    assert.ok(direct !== null);
    assert.equal(direct.from, 'a');
    assert.deepEqual(direct.table, { initial: 1, maximum: 1 });
    const table = new WebAssembly.Table({ element: 'anyfunc', ...direct.table });
    const module = (bytes: Uint8Array) => new WebAssembly.Module(bytes as BufferSource);
    const invokes = new WebAssembly.Instance(module(direct.invokes), { a: { table } }).exports;
    assert.deepEqual(Object.keys(invokes), ['v']);
    const imports = { a: { b: (n: number) => n + 1, ...invokes, table } } as unknown as WebAssembly.Imports;
    const { run } = new WebAssembly.Instance(module(direct.module), imports).exports;
    assert.equal((run as (n: number) => number)(20), 42);
  });
  it('are left where the module is of another shape', () => {
    assert.equal(withDirectInvokes(caller('a'), new Set()), null);
    assert.equal(withDirectInvokes(caller('other'), new Set(['v'])), null);
  });
});
