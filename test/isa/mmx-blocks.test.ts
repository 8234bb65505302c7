/** Blocks of MMX instructions: what they do to the x87 unit is done once, and not across x87 instructions or EMMS. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Builder } from '../../src/ir/builder.ts';
import { optimise } from '../../src/ir/optimise.ts';
import { decode } from '../../src/isa/decode.ts';
import { userContext } from './vector-run.ts';

const PADDD_0_1 = [0x0f, 0xfe, 0xc1];
const PADDD_0_2 = [0x0f, 0xfe, 0xc2];
const EMMS = [0x0f, 0x77];
const FLD1 = [0xd9, 0xe8];

function unitOps(...instructions: readonly (readonly number[])[]): string[] {
  const context = userContext(64);
  const b = new Builder(context);
  let rip = 0x1000n;
  for (const bytes of instructions) {
    const code = new Uint8Array(16);
    code.set(bytes);
    const decoded = decode(code, 0, 16, rip, 64);
    if (decoded.failure !== null) return assert.fail(decoded.failure);
    b.emit('insn', [], rip, 0);
    decoded.definition.record(b, decoded.insn);
    rip = decoded.insn.next;
  }
  b.jump(b.i64(rip));
  return optimise(b.nodes, context)
    .filter(({ op }) => /^(?:mmx|x87)\./.test(op))
    .map(({ op, imm }) => (op.endsWith('et') ? `${op} ${imm[0]}` : op))
    .filter((op) => !/^x87\.(?:code|operand)/.test(op));
}

test('a block of MMX instructions enters MMX use once, and reads a register once', () => {
  assert.deepEqual(unitOps(PADDD_0_1, PADDD_0_2), [
    'mmx.ready',
    'mmx.get 1',
    'mmx.get 0',
    'mmx.set 0',
    'mmx.enter',
    'mmx.get 2',
    'mmx.set 0',
  ]);
});

test('behind EMMS it enters it again, behind x87 instructions it asks for exceptions again, too', () => {
  assert.deepEqual(unitOps(PADDD_0_1, EMMS, PADDD_0_1).slice(4), ['mmx.enter', 'mmx.empty', 'mmx.set 0', 'mmx.enter']);
  assert.deepEqual(unitOps(PADDD_0_1, FLD1, PADDD_0_1).slice(4), [
    'mmx.enter',
    'x87.ready',
    'x87.push',
    'mmx.ready',
    'mmx.get 1',
    'mmx.get 0',
    'mmx.set 0',
    'mmx.enter',
  ]);
});
