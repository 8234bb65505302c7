/** Every definition, in every form, mode and operand kind, recorded in the execution contexts that it may meet. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Builder, type ExecutionContext, faultAfterChange } from '../../src/ir/builder.ts';
import { microOps, type Node } from '../../src/ir/micro-ops.ts';
import { allForms } from '../../src/isa/all.ts';
import { decode } from '../../src/isa/decode.ts';
import { disassemble } from '../../src/isa/disassemble.ts';
import { sampleEncodings } from '../../src/isa/samples.ts';
import { spread } from './random.ts';

const forms = allForms();

const narrow = { linearBits: 48, baseBits: 48 } as const;
const usual = {
  ...narrow,
  x87: 'available',
  mmx: 'available',
  waitFaults: false,
  sse: 'available',
  avx: 'available',
} as const;
const flat = { flat: true, protectedMode: true, virtual8086: false, iopl: 0 } as const;
const real = {
  ...usual,
  flat: false,
  codeSize: 16,
  stackSize: 16,
  cpl: 0,
  protectedMode: false,
  virtual8086: false,
  iopl: 0,
} as const;
const contexts: Readonly<Record<string, ExecutionContext>> = {
  '64-bit user': { ...usual, ...flat, codeSize: 64, stackSize: 64, cpl: 3 },
  '64-bit supervisor': { ...usual, ...flat, codeSize: 64, stackSize: 64, cpl: 0 },
  '64-bit, 57-bit addresses': {
    ...usual,
    ...flat,
    codeSize: 64,
    stackSize: 64,
    cpl: 3,
    linearBits: 57,
    baseBits: 57,
  },
  '64-bit, x87 and SSE off': {
    ...narrow,
    ...flat,
    codeSize: 64,
    stackSize: 64,
    cpl: 0,
    x87: 'device-not-available',
    mmx: 'device-not-available',
    waitFaults: true,
    sse: 'device-not-available',
    avx: 'device-not-available',
  },
  'flat 32-bit user': { ...usual, ...flat, codeSize: 32, stackSize: 32, cpl: 3 },
  'flat 32-bit supervisor': { ...usual, ...flat, codeSize: 32, stackSize: 32, cpl: 0 },
  '32-bit with segments, 16-bit stack': {
    ...usual,
    ...flat,
    flat: false,
    codeSize: 32,
    stackSize: 16,
    cpl: 3,
    iopl: 3,
  },
  '16-bit protected': { ...usual, ...flat, flat: false, codeSize: 16, stackSize: 16, cpl: 3, sse: 'undefined' },
  real: real,
  'virtual 8086': { ...real, cpl: 3, protectedMode: true, virtual8086: true },
};

/** Operand types, scopes and the order of faults and changes of one recorded instruction. */
function check(nodes: readonly Node[]): string | null {
  const open: number[] = [];
  const gone = new Set<number>();
  let made: number[] = [];
  const outer: number[][] = [];
  for (const [i, node] of nodes.entries()) {
    const spec = microOps[node.op];
    if (spec === undefined) return `unknown micro-op ${node.op}`;
    if (node.args.length !== spec.operands.length) return `${node.op} has ${node.args.length} operands`;
    for (const [n, arg] of node.args.entries()) {
      const from = nodes[arg];
      if (from === undefined || arg >= i) return `${node.op} uses a value that is not there`;
      const type = microOps[from.op].result;
      if (type !== spec.operands[n]) return `${node.op} wants ${spec.operands[n]}, gets ${type} of ${from.op}`;
      if (gone.has(arg)) return `${node.op} uses a value made inside a 'when' that has ended`;
    }
    if (node.op === 'when') {
      open.push(i);
      outer.push(made);
      made = [];
    } else if (node.op === 'end') {
      if (open.pop() === undefined) return `'end' without 'when'`;
      for (const v of made) gone.add(v);
      made = outer.pop()!;
    } else made.push(i);
  }
  if (open.length > 0) return `'when' without 'end'`;
  const offender = faultAfterChange(nodes);
  return offender === null ? null : `${offender.op} may fault after a change`;
}

for (const [name, context] of Object.entries(contexts)) {
  test(`every definition records in a ${name} context, with nothing that faults after a change`, () => {
    const wrong = new Map<string, string>();
    let recorded = 0;
    for (const form of forms) {
      for (const bytes of spread(sampleEncodings(form, context.codeSize), 40)) {
        const decoded = decode(bytes, 0, bytes.length, 0x1000n, context.codeSize);
        const hex = Buffer.from(bytes).toString('hex');
        if (decoded.failure !== null) {
          // A sample may meet a form that is stricter than its own, or a register that does not exist.
          continue;
        }
        const b = new Builder(context);
        let found: string | null;
        try {
          decoded.definition.record(b, decoded.insn);
          found = check(b.nodes);
        } catch (e) {
          found = String(e);
        }
        recorded++;
        const key = `${decoded.definition.name} '${decoded.form.text}'`;
        if (found !== null && !wrong.has(key)) wrong.set(key, `${hex} ${disassemble(decoded)}: ${found}`);
      }
    }
    assert.deepEqual([...wrong].map(([form, what]) => `${form}: ${what}`).slice(0, 30), []);
    assert.ok(recorded >= forms.length);
  });
}

test('sample encodings decode to the form that they were made from', () => {
  for (const mode of [64, 32, 16] as const) {
    for (const form of forms) {
      const samples = sampleEncodings(form, mode);
      const exists = mode === 64 ? form.in64 : form.outside64;
      assert.equal(samples.length > 0, exists, `${form.definition.name} ${form.text} in ${mode}-bit mode`);
      if (!exists) continue;
      const reached = samples.filter((bytes) => {
        const decoded = decode(bytes, 0, bytes.length, 0n, mode);
        return decoded.failure === null && decoded.form === form && decoded.insn.length === bytes.length;
      });
      assert.ok(reached.length > 0, `${form.definition.name} ${form.text} is never reached in ${mode}-bit mode`);
    }
  }
});
