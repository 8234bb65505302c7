/** Instructions put together from templates, against the same instructions recorded and encoded where they stand. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BlockEnds } from '../../src/execute/block-ends.ts';
import type { Context } from '../../src/execute/context.ts';
import { encodeBlock } from '../../src/execute/encode.ts';
import { recordInstruction } from '../../src/execute/frontend.ts';
import { QuickBlocks } from '../../src/execute/quick-blocks.ts';
import { kindOf } from '../../src/execute/records.ts';
import { Builder } from '../../src/ir/builder.ts';
import { allForms } from '../../src/isa/all.ts';
import { decode } from '../../src/isa/decode.ts';
import { sampleEncodings } from '../../src/isa/samples.ts';
import { spread } from '../isa/random.ts';
import { userContext } from '../isa/vector-run.ts';

const modes = [64, 32, 16] as const;
const contextOf = (mode: (typeof modes)[number]): Context => ({
  ...userContext(mode),
  id: mode,
  stable: true,
  csBase: 0,
  csLimit: mode === 16 ? 0xffff : 0xffffffff,
  lacks: [],
  watched: false,
});
const jumpWords = kindOf('jump', ['constant']).bytes / 4;
const helpers: string[] = [];
const helper = (name: string): number => (helpers.includes(name) ? helpers.indexOf(name) : helpers.push(name) - 1);

/** Instruction pointers that look different in records, several of each kind. */
const places: Readonly<Record<number, readonly number[]>> = {
  64: [
    0x401000, 0x40_2345, 0x7fff_f000, -0x7effc9f0, -0x3fff_8001, 0x5555_5555_4000, 0x7fff_0000_1234, -0x7780_1234_5678,
  ],
  32: [0x804_8000, 0x804_9fff, 0x7fff_fff0, 0xc000_0000, 0xc123_4567, 0xffff_f000],
  16: [0x100, 0x7c00, 0x8000, 0xff00],
};

/** The records of one instruction, without templates, as of a block that ends with it. */
function recorded(context: Context, ip: number, code: Uint8Array): { words: Int32Array; ends: boolean } {
  const decoded = decode(code, 0, code.length, BigInt(ip), context.codeSize);
  assert.equal(decoded.failure, null);
  const b = new Builder(context);
  recordInstruction(b, context, decoded, BigInt(ip), 0);
  const { words, length } = encodeBlock(b.nodes, helper);
  return { words: words.slice(0, length), ends: b.ended };
}

for (const mode of modes) {
  test(`every form in ${mode}-bit mode has the same records wherever it stands, from a template or not`, () => {
    const context = contextOf(mode);
    const quick = new QuickBlocks(helper, new BlockEnds());
    let compared = 0;
    let declined = 0;
    for (const form of allForms()) {
      for (const encoding of spread(sampleEncodings(form, mode), 8)) {
        // The bytes that count from the instruction's place differ from place to place.
        const decoded = decode(encoding, 0, encoding.length, 0x1000n, mode);
        if (decoded.failure !== null) continue;
        const { length, relativeAt, relativeBytes } = decoded.insn;
        const code = new Uint8Array(16);
        code.set(encoding.subarray(0, length));
        for (const [n, ip] of places[mode]!.entries()) {
          if (relativeBytes !== 0) code[relativeAt] = 0x11 * n;
          if (relativeBytes === 4) {
            // Operands in memory are aligned and not, by turns.
            const end = (((ip + length) % 64) + 64) % 64;
            new DataView(code.buffer).setInt32(relativeAt, 0x3000 * n + 64 - end + (n % 2) * 7, true);
          }
          const expected = recorded(context, ip, code.subarray(0, length));
          // Where a target is on the other side of 2^31, the block is recorded as a whole.
          if (!quick.make(context, ip, code, 0, 16, 1)) {
            declined++;
            continue;
          }
          assert.deepEqual(
            quick.words.slice(0, quick.length - (expected.ends ? 0 : jumpWords)),
            expected.words,
            `${form.definition.name} '${form.text}' ${Buffer.from(code.subarray(0, length)).toString('hex')} at ${ip.toString(16)}`,
          );
          assert.equal(quick.codeBytes, length);
          compared++;
        }
      }
    }
    assert.ok(compared > 10_000, `${compared} compared`);
    assert.ok(declined < compared / 20, `${declined} declined`);
  });
}

/** Bytes that mean something special to registers, addresses and numbers, and others. */
const special = [0x00, 0x01, 0x03, 0x04, 0x05, 0x08, 0x24, 0x44, 0x45, 0x7f, 0x80, 0x84, 0x85, 0xc0, 0xe4, 0xff];

const segmentPrefixes = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65];

for (const mode of [64, 32] as const) {
  test(`whatever registers and numbers an instruction names in ${mode}-bit mode, it has the records of its own`, () => {
    const context = contextOf(mode);
    const quick = new QuickBlocks(helper, new BlockEnds());
    let seed = 1;
    const random = (below: number): number => {
      seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
      return (seed >>> 8) % below;
    };
    const code = new Uint8Array(16);
    const ip = mode === 64 ? 0x40_1230 : 0x804_8010;
    let compared = 0;
    for (const form of allForms()) {
      if (form.vex !== null) continue;
      const samples = sampleEncodings(form, mode);
      for (let n = 0; n < 40 && samples.length > 0; n++) {
        const encoding = samples[random(samples.length)]!;
        const known = decode(encoding, 0, encoding.length, 0x1000n, mode);
        if (known.failure !== null) continue;
        code.fill(0);
        const prefix = random(4) === 0 ? segmentPrefixes[random(segmentPrefixes.length)]! : -1;
        const first = prefix < 0 ? 0 : 1;
        if (prefix >= 0) code[0] = prefix;
        code.set(encoding.subarray(0, Math.min(known.insn.length, 15 - first)), first);
        // ModRM, SIB, displacement and immediate are others; so may be the form.
        const behind = first + known.insn.length - random(known.insn.length);
        for (let i = behind; i < 15; i++) code[i] = random(2) === 0 ? special[random(special.length)]! : random(256);
        const decoded = decode(code, 0, 15, BigInt(ip), mode);
        if (decoded.failure !== null) continue;
        const { length } = decoded.insn;
        if (!quick.make(context, ip, code, 0, 16, 1)) continue;
        const expected = recorded(context, ip, code.subarray(0, length));
        assert.deepEqual(
          quick.words.slice(0, quick.length - (expected.ends ? 0 : jumpWords)),
          expected.words,
          `${form.definition.name} '${form.text}' ${Buffer.from(code.subarray(0, length)).toString('hex')}`,
        );
        assert.equal(quick.codeBytes, length);
        compared++;
      }
    }
    assert.ok(compared > 10_000, `${compared} compared`);
  });
}
