/** The decoder against a real processor: lengths and undefinedness of the recorded instructions. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decode } from '../../src/isa/decode.ts';
import { definitions } from '../../src/isa/define.ts';
import { disassemble } from '../../src/isa/disassemble.ts';
import { readVectors, vectorFiles } from '../hardware/vectors.ts';

const UNDEFINED_OPCODE = 6;
/** Instructions whose definition raises #UD. */
const raisesUndefined = /^UD[012]$/;
const names = new Set(definitions.map((d) => d.name.toLowerCase()));

for (const [cls, url] of vectorFiles()) {
  test(`recorded ${cls} instructions have the processor's length, and are undefined where they are to it`, () => {
    const wrong = new Map<string, string>();
    let seen = 0;
    for (const { bytes, ip, mode, name, out } of readVectors(url, { every: 10 })) {
      const code = new Uint8Array(32).fill(0xcc);
      code.set(bytes);
      const decoded = decode(code, 0, code.length, ip, mode);
      const undefinedOpcode = out.exception?.vector === UNDEFINED_OPCODE;
      seen++;
      let what: string | null = null;
      if (decoded.failure !== null) {
        if (!undefinedOpcode && names.has(name)) what = decoded.failure;
      } else if (undefinedOpcode) {
        if (!raisesUndefined.test(decoded.definition.name)) what = `decodes as ${disassemble(decoded)}`;
      } else if (decoded.insn.length !== bytes.length) what = `has length ${decoded.insn.length}`;
      if (what !== null) wrong.set(`${name} in ${mode}-bit mode`, `${Buffer.from(bytes).toString('hex')} ${what}`);
    }
    assert.deepEqual([...wrong], []);
    assert.ok(seen > 10);
  });
}
