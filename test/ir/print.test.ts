import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Builder } from '../../src/ir/builder.ts';
import { ZF } from '../../src/ir/flags.ts';
import { type MicroOp, microOps, type Node, nodeOf } from '../../src/ir/micro-ops.ts';
import { printByInstruction, printNode, printNodes } from '../../src/ir/print.ts';
import { decode } from '../../src/isa/decode.ts';

const context = {
  codeSize: 32,
  stackSize: 32,
  flat: true,
  cpl: 3,
  protectedMode: true,
  virtual8086: false,
  iopl: 0,
  x87: 'available',
  mmx: 'available',
  waitFaults: false,
  sse: 'available',
  avx: 'available',
  linearBits: 48,
  baseBits: 48,
} as const;

function block(hex: string): Node[] {
  const b = new Builder(context);
  const bytes = Uint8Array.from(Buffer.from(hex, 'hex'));
  for (let at = 0, n = 0; at < bytes.length; n++) {
    const decoded = decode(bytes, at, bytes.length - at, BigInt(0x1000 + at), 32);
    if (decoded.failure !== null) assert.fail(decoded.failure);
    b.emit('insn', [], decoded.insn.rip, n);
    decoded.definition.record(b, decoded.insn);
    at += decoded.insn.length;
  }
  return b.nodes;
}

test('micro-ops print one line each, constants where they are used', () => {
  const lines = printNodes(block('83c005'));
  assert.deepEqual(
    lines.map((line) => line.replace(/v\d+/g, 'v')),
    [
      'insn 0x1000',
      'v = reg.get rax',
      'v = i32.wrap v',
      'v = i32.add v, 5',
      'v = i64.extend_u v',
      'reg.set rax, v',
      'v = i64.extend_u v',
      'flags.set add32, v, 5, 0',
    ],
  );
});

test('addresses, loads, stores and conditions print in words', () => {
  const text = printNodes(block('018c8b2010000075fe')).join('\n');
  assert.match(text, /address\.index v\d+, v\d+, << 2, 0x1020, 32-bit/);
  assert.match(text, /modify\.32 v\d+$/m);
  assert.match(text, /store\.32 v\d+, v\d+$/m);
  assert.match(text, /flags\.test ne/);
  assert.match(text, /branch v\d+, 0x1007, 0x1009/);
});

test('what a `when` brackets is indented', () => {
  const b = new Builder(context);
  b.when(b.condition(4), () => b.mergeFlags(ZF, b.i32(-1)));
  assert.deepEqual(printNodes(b.nodes), ['v0 = flags.test e', 'when v0', '  flags.merge -1, ZF', 'end']);
});

test('a block prints by guest instruction', () => {
  const listing = printByInstruction(block('83c00583c105'));
  assert.deepEqual(
    listing.map((x) => x.rip),
    [0x1000n, 0x1003n],
  );
  assert.ok(listing[1]!.lines.some((line) => line.startsWith('reg.set rcx')));
});

test('every micro-op has a text that names it', () => {
  for (const [op, spec] of Object.entries(microOps)) {
    const operands = spec.operands.map((type): Node => nodeOf(type === 'i32' ? 'reg.get' : 'xmm.get', [], [0]));
    const places = operands.map((_, i) => i);
    const node = nodeOf(op as MicroOp, places, [1n, 1, 1]);
    assert.ok(printNode([...operands, node], operands.length).includes(op), op);
  }
});
