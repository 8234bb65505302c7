/** How many micro-ops the most frequent instructions record: the interpreter pays for each. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Builder } from '../../src/ir/builder.ts';
import { decode } from '../../src/isa/decode.ts';
import type { Mode } from '../hardware/vectors.ts';
import { userContext } from './vector-run.ts';

/** Micro-ops that cost something: constants, widening and narrowing are free. */
function cost(bytes: readonly number[], mode: Mode): string[] {
  const code = new Uint8Array(16);
  code.set(bytes);
  const decoded = decode(code, 0, 16, 0x1000n, mode);
  assert.equal(decoded.failure, null);
  if (decoded.failure !== null) return [];
  const builder = new Builder(userContext(mode));
  decoded.definition.record(builder, decoded.insn);
  const free = ['i32.const', 'i64.const', 'i64.extend_u', 'i64.extend_s', 'i32.wrap'];
  return builder.nodes.map((n) => n.op).filter((op) => !free.includes(op));
}

test('common instructions record few micro-ops', () => {
  assert.deepEqual(cost([0x89, 0xc8], 32), ['reg.get', 'reg.set']); // mov eax, ecx
  assert.deepEqual(cost([0x8d, 0x43, 0x04], 32), ['reg.get', 'address.base', 'reg.set']); // lea eax, [ebx + 4]
  assert.deepEqual(cost([0x83, 0xc0, 0x01], 32), ['reg.get', 'i32.add', 'reg.set', 'flags.set']); // add eax, 1
  assert.deepEqual(cost([0xc1, 0xe0, 0x04], 32), ['reg.get', 'i32.shl', 'reg.set', 'flags.set']); // shl eax, 4
  assert.deepEqual(cost([0x74, 0x04], 32), ['flags.test', 'branch']); // je
  assert.deepEqual(cost([0x50], 64), ['reg.get', 'reg.get', 'address.base', 'store.64', 'reg.set']); // push rax
  assert.deepEqual(cost([0x58], 64), ['reg.get', 'load.64', 'address.base', 'reg.set', 'reg.set']); // pop rax
  assert.deepEqual(cost([0x90], 64), []);
});
