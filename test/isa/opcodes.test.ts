/** Every opcode of every map, with every mandatory prefix, in every mode: a definition or `undefined`, never anything else. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decode, MAXIMUM_LENGTH } from '../../src/isa/decode.ts';
import { disassemble, mnemonic } from '../../src/isa/disassemble.ts';
import { randomNumbers } from './random.ts';

const heads: readonly (readonly number[])[] = [
  [],
  [0x0f],
  [0x0f, 0x38],
  [0x0f, 0x3a],
  [0xc5, 0xf8],
  [0xc5, 0xfd],
  [0xc4, 0xe1, 0x78],
  [0xc4, 0xe2, 0xf9],
  [0xc4, 0xe3, 0x7b],
  [0xc4, 0xe2, 0xfe],
  [0x62],
];
const prefixes: readonly (readonly number[])[] = [
  [],
  [0x66],
  [0xf2],
  [0xf3],
  [0x67],
  [0xf0],
  [0x66, 0xf3],
  [0x48],
  [0x4f],
  [0x66, 0x41],
];

for (const mode of [64, 32, 16] as const) {
  test(`all opcodes in ${mode}-bit mode decode to an instruction with a text, or are undefined`, () => {
    const code = new Uint8Array(32);
    let instructions = 0;
    for (const prefix of prefixes) {
      for (const head of heads) {
        for (let opcode = 0; opcode < 256; opcode++) {
          for (const modrm of [
            0x00, 0x05, 0x45, 0x84, 0x0b, 0x13, 0x1c, 0x24, 0x2d, 0x36, 0x3f, 0xc0, 0xc8, 0xd1, 0xda, 0xe3, 0xec, 0xf5,
            0xfe, 0xff,
          ]) {
            code.fill(0x90);
            code.set([...prefix, ...head, opcode, modrm]);
            const decoded = decode(code, 0, code.length, 0x7fff0n, mode);
            if (decoded.failure !== null) {
              assert.equal(decoded.failure, 'undefined');
              assert.ok(decoded.length > 0 && decoded.length <= MAXIMUM_LENGTH);
              continue;
            }
            instructions++;
            assert.ok(decoded.insn.length <= MAXIMUM_LENGTH);
            assert.equal(decoded.insn.dst, decoded.insn.operands[0]);
            assert.equal(decoded.insn.src, decoded.insn.operands[1]);
            assert.ok(decoded.insn.operands.every((o) => o !== undefined));
            if (modrm === 0xc8) assert.match(disassemble(decoded), /^[a-z0-9 ]+/, mnemonic(decoded));
          }
        }
      }
    }
    assert.ok(instructions > 1000);
  });

  test(`what is truncated in ${mode}-bit mode is so up to its whole length`, () => {
    const random = randomNumbers(77 + mode);
    const code = new Uint8Array(MAXIMUM_LENGTH);
    for (let i = 0; i < 20_000; i++) {
      for (let n = 0; n < code.length; n++) code[n] = random(256);
      const whole = decode(code, 0, code.length, 0n, mode);
      if (whole.failure === 'too-long') continue;
      const length = whole.failure === null ? whole.insn.length : whole.length;
      for (let available = 0; available < length; available++) {
        assert.equal(decode(code, 0, available, 0n, mode).failure, 'truncated');
      }
      assert.equal(decode(code, 0, length, 0n, mode).failure, whole.failure);
    }
  });
}

test('decoding takes no more than two microseconds of processor time an instruction', () => {
  const code = Uint8Array.from(Buffer.from('4801448b1083c0ff8b0510000000750089c8488d04c8', 'hex'));
  const decodeAll = () => {
    let count = 0;
    for (let at = 0; at < code.length; count++) {
      const decoded = decode(code, at, code.length - at, 0x401000n, 64);
      if (decoded.failure !== null) return assert.fail(decoded.failure);
      at += decoded.insn.length;
    }
    return count;
  };
  let best = 0;
  for (let round = 0; round < 10 && best < 5e5; round++) {
    const start = process.cpuUsage(); // not the clock: the machine may be busy with other things
    let done = 0;
    while (done < 100_000) done += decodeAll();
    const { user, system } = process.cpuUsage(start);
    best = Math.max(best, (done / (user + system)) * 1e6);
  }
  assert.ok(best >= 5e5, `${Math.round(best)} instructions per second`);
});
