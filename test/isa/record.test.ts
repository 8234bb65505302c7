/** What holds of every instruction's micro-ops, whatever it does. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Builder, type ExecutionContext, faultAfterChange } from '../../src/ir/builder.ts';
import { microOps, type Node } from '../../src/ir/micro-ops.ts';
import { forms } from '../../src/isa/all.ts';
import { decode } from '../../src/isa/decode.ts';
import type { Mode } from '../hardware/vectors.ts';
import { instructionsOf } from './form-bytes.ts';
import { userContext } from './vector-run.ts';

const modes: readonly Mode[] = [64, 32, 16];

/** User code, and the same as the kernel sees it in other kinds of segments. */
function contextsOf(mode: Mode): ExecutionContext[] {
  const user = userContext(mode);
  if (mode === 64) return [user, { ...user, cpl: 0 }];
  const real = { cpl: 0, protectedMode: false, flat: false, stackSize: 16 } as const;
  return [
    user,
    { ...user, flat: !user.flat, stackSize: mode === 32 ? 16 : 32 },
    { ...user, ...real },
    { ...user, ...real, cpl: 3, protectedMode: true, virtual8086: true },
  ];
}

/** The first use of a value of the wrong type, or of one that was made in a `when` which has ended. */
function misuse(nodes: readonly Node[]): string | null {
  const scopes: number[][] = [[]];
  const scopeOf = new Map<number, readonly number[]>();
  for (const [i, node] of nodes.entries()) {
    const { operands, result } = microOps[node.op];
    if (node.args.length !== operands.length) return `${node.op} (${i}) has ${node.args.length} operands`;
    for (const [k, arg] of node.args.entries()) {
      const type = microOps[nodes[arg]!.op].result;
      if (type !== operands[k]) return `${node.op} (${i}) takes ${type ?? 'nothing'} for ${operands[k]}`;
      if (!scopes.includes(scopeOf.get(arg)! as number[]))
        return `${node.op} (${i}) uses ${arg}, which a 'when' has ended`;
    }
    if (result !== null) scopeOf.set(i, scopes.at(-1)!);
    if (node.op === 'when') scopes.push([]);
    else if (node.op === 'end') scopes.pop();
  }
  return scopes.length === 1 ? null : "a 'when' has no end";
}

test('every form decodes, and what it records keeps to the types, the scopes and the order of faults', () => {
  const seen = new Set<string>();
  const wrong: string[] = [];
  for (const form of forms) {
    const { name } = form.definition;
    for (const mode of modes) {
      for (const { insn, definition } of instructionsOf(form, mode)) {
        seen.add(form.text);
        for (const context of contextsOf(mode)) {
          const builder = new Builder(context);
          const where = () => `${name} '${form.text}' in mode ${mode}, width ${insn.width}`;
          try {
            definition.record(builder, insn);
          } catch (e) {
            wrong.push(`${where()}: ${String(e)}`);
            continue;
          }
          const late = faultAfterChange(builder.nodes);
          if (late !== null) wrong.push(`${where()}: ${late.op} may fault after a change`);
          const bad = misuse(builder.nodes);
          if (bad !== null) wrong.push(`${where()}: ${bad}`);
        }
      }
    }
  }
  assert.deepEqual([...new Set(wrong)].slice(0, 20), []);
  const never = forms.filter((form) => !seen.has(form.text)).map((form) => `${form.definition.name} '${form.text}'`);
  assert.deepEqual(never, []);
});

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

test('a micro-op that may fault after a change of registers is found', () => {
  const builder = new Builder(userContext(64));
  const address = builder.register(0, 64);
  builder.setRegister(1, 64, address);
  builder.load(address as never, 8);
  assert.equal(faultAfterChange(builder.nodes)?.op, 'load.8');
});

test('a value that is used after the end of its `when`, or with a wrong type, is found', () => {
  const node = (op: Node['op'], args: number[] = [], ...imm: (number | bigint)[]): Node => ({ op, args, imm });
  const inside = [
    node('flags.test', [], 2),
    node('when', [0]),
    node('reg.get', [], 0),
    node('end'),
    node('reg.set', [2], 1),
  ];
  assert.match(misuse(inside)!, /which a 'when' has ended/);
  assert.match(misuse([node('flags.test', [], 2), node('reg.set', [0], 1)])!, /takes i32 for i64/);
});
