/**
 * The decoder against binutils' disassembler: lengths and text of sample encodings of every form, and lengths and
 * undefinedness of random bytes.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { allForms } from '../../src/isa/all.ts';
import { decode } from '../../src/isa/decode.ts';
import { disassemble } from '../../src/isa/disassemble.ts';
import { sampleEncodings } from '../../src/isa/samples.ts';
import { addressOf, objdumpIsThere, opinions, padded, SLOT } from './objdump.ts';
import { normal } from './objdump-text.ts';
import { randomNumbers, spread } from './random.ts';

const forms = allForms();

const modes = [64, 32, 16] as const;
const options = objdumpIsThere() ? {} : { skip: 'objdump (binutils) is not installed' };
const hexOf = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

/** Where objdump and the processor, or objdump's text and ours, differ for a reason. */
const differs: readonly (readonly [instruction: RegExp, why: string])[] = [
  [/^SALC$/, 'objdump does not know it'],
  [/^CMP[PS][SD]$/, 'objdump turns the predicate into the mnemonic'],
  [/^(?:NOP|PREFETCH.*)$/, 'the hint space 0F 0D, 0F 18-1F has later names, 66 90 is XCHG AX,AX to objdump'],
  [/^PAUSE$/, 'F3 41 90 is XCHG R8D,EAX on the processor'],
  [/^MOVSXD$/, '66 48 63: objdump narrows the source, the processor does not'],
  [/^(?:FCOM2|FCOMP[35]|FXCH[47]|FSTP[189]|FFREEP)$/, 'duplicates that are not in the manual'],
  [/^FN(?:ENI|DISI|SETPM)$/, "objdump names them by the 8087's and the 287's mnemonics"],
  [/^FWAIT$/, 'objdump takes 9B for the first byte of the instruction after it'],
  [/^[LMS]FENCE$/, 'the processor ignores ModRM.rm, objdump takes 0 alone'],
  [/^MOVDIR64B$/, 'the name of the register depends on the address size'],
  [/^MOV(?:DQ2Q|Q2DQ)$/, 'with a 66 beside the mandatory prefix objdump shows xmm registers'],
  [/^P?(?:INSR|EXTR|MOVMSK)/, 'the name of the general register depends on REX.W, what it gets does not'],
];
/** F2 before BSF and BSR is ignored by the processor and an undefined instruction to objdump. */
const ignoresF2 = /^BS[FR]$/;
const knownDifference = (name: string) => differs.some(([instruction]) => instruction.test(name));

for (const mode of modes) {
  test(`sample encodings of every form in ${mode}-bit mode have objdump's length and text`, options, () => {
    const perForm = Math.max(12, Math.floor(24_000 / forms.length));
    const samples = forms.flatMap((form) =>
      spread(sampleEncodings(form, mode), perForm).map((bytes) => ({ form, bytes })),
    );
    const theirs = opinions(
      samples.map((s) => s.bytes),
      mode,
    );
    const wrong: string[] = [];
    let compared = 0;
    samples.forEach(({ form, bytes }, i) => {
      if (knownDifference(form.definition.name)) return;
      if (/\bdr(?:[89]|1\d)\b/.test(theirs[i]!.text)) return; // debug registers above 7 do not exist
      const decoded = decode(padded(bytes), 0, SLOT, addressOf(i), mode);
      const their = theirs[i]!;
      const length = decoded.failure === null ? decoded.insn.length : -1;
      const ours = decoded.failure === null ? disassemble(decoded) : decoded.failure;
      const bits = mode === 64 ? 64 : 16;
      compared++;
      if (their.bad || length !== their.length || normal(ours, bits) !== normal(their.text, bits)) {
        wrong.push(
          `${hexOf(bytes)} (${form.definition.name} ${form.text}): ${length} '${ours}', objdump ${their.length} '${their.text}'`,
        );
      }
    });
    assert.deepEqual(wrong.slice(0, 20), []);
    assert.ok(compared > 500, `only ${compared} encodings were compared`);
  });

  test(`random bytes in ${mode}-bit mode that are defined have objdump's length`, options, () => {
    const random = randomNumbers(0x5eed + mode);
    const prefixes = [0x66, 0x67, 0xf2, 0xf3, 0x2e, 0x65, 0xf0];
    const samples = Array.from({ length: 6000 }, (_, i) => {
      const head: number[] = [];
      for (let n = random(3); n > 0; n--) {
        const prefix = prefixes[random(prefixes.length)]!;
        if (!head.includes(prefix)) head.push(prefix);
      }
      if (mode === 64 && random(3) === 0) head.push(0x40 + random(16));
      if (i % 3 === 1) head.push(0x0f);
      if (i % 3 === 2)
        head.push(
          ...[
            [0x0f, 0x38],
            [0x0f, 0x3a],
            [0xc5, 0xc0 + random(64)],
            [0xc4, 0xe0 + 1 + random(3), random(256)],
          ][random(4)]!,
        );
      return Uint8Array.from([...head, ...Array.from({ length: 15 }, () => random(256))]);
    });
    const theirs = opinions(samples, mode);
    const wrong: string[] = [];
    let compared = 0;
    samples.forEach((bytes, i) => {
      const decoded = decode(padded(bytes), 0, SLOT, addressOf(i), mode);
      assert.notEqual(decoded.failure, 'truncated');
      if (decoded.failure !== null || knownDifference(decoded.definition.name)) return;
      const their = theirs[i]!;
      if (their.bad && ignoresF2.test(decoded.definition.name)) return;
      compared++;
      if (their.bad || decoded.insn.length !== their.length) {
        wrong.push(
          `${hexOf(bytes)}: ${decoded.insn.length} '${disassemble(decoded)}', objdump ${their.length} '${their.text}'`,
        );
      }
    });
    assert.deepEqual(wrong.slice(0, 20), []);
    assert.ok(compared > 300, `only ${compared} byte strings were compared`);
  });
}
