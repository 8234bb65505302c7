/** FNSTENV, FLDENV, FNSAVE, FRSTOR: the images in their four formats, the full tag word, and the way back. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CpuState } from '../../src/state/cpu-state.ts';
import { cpuBytes, offsetOf } from '../../src/state/layout.ts';
import { fullTags, loadEnvironment, saveEnvironment } from '../../src/system/x87-environment.ts';
import { attempt, protectedMode } from './machine.ts';

function register(state: CpuState, i: number, exponent: number, significand: bigint): void {
  const at = offsetOf(`fpr${i}`);
  state.view.setBigUint64(at, significand, true);
  state.view.setUint16(at + 8, exponent, true);
}
function fill(state: CpuState): void {
  state.set32('fcw', 0x27f);
  state.set32('fsw', 0x3123); // TOP = 6
  state.set32('ftw', 0b1100_1111);
  state.set32('fop', 0x5d9);
  state.set64('fip', 0x8765_4321n);
  state.set64('fdp', 0x1234_5678n);
  state.set32('fcs', 0x23);
  state.set32('fds', 0x2b);
  register(state, 0, 0x3fff, 1n << 63n);
  register(state, 1, 0x8000, 0n); // zero
  register(state, 2, 0x7fff, 1n << 63n); // infinity
  register(state, 3, 0, 1n); // denormal
  register(state, 6, 0x4000, 1n); // unnormal
  register(state, 7, 0xc000, 3n << 62n);
}
const filled = (): CpuState => {
  const state = new CpuState(new ArrayBuffer(cpuBytes), 0);
  fill(state);
  return state;
};
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

test('the full tag word tells valid, zero, special and empty registers apart', () => {
  assert.equal(fullTags(filled()), 0b00_10_11_11_10_10_01_00);
});

test('the environment has the formats of figures 8-9 to 8-12', () => {
  const save = (width: 16 | 32, real: boolean): string => {
    const area = new Uint8Array(width === 16 ? 14 : 28);
    saveEnvironment(filled(), area, { width, real });
    return hex(area);
  };
  assert.equal(save(32, false), '7f02ffff2331ffffa42fffff' + '21436587' + '2300d905' + '78563412' + '2b00ffff');
  assert.equal(save(16, false), '7f022331a42f' + '2143' + '2300' + '7856' + '2b00');
  // Linear addresses: 0x87654321 + 0x230 and 0x12345678 + 0x2b0.
  assert.equal(save(32, true), '7f02ffff2331ffffa42fffff' + '5145ffff' + 'd9557608' + '2859ffff' + '00402301');
  assert.equal(save(16, true), '7f022331a42f' + '5145' + 'd955' + '2859' + '0040');
});

test('a loaded environment has abridged tags, and a summary that follows from its masks', () => {
  for (const width of [16, 32] as const) {
    const area = new Uint8Array(28);
    const from = filled();
    from.set32('fcw', 0xf27d); // reserved bits set, denormal exception not masked
    saveEnvironment(from, area, { width, real: false });
    const state = new CpuState(new ArrayBuffer(cpuBytes), 0);
    loadEnvironment(state, area, { width, real: false });
    assert.equal(state.get32('fcw'), 0x127d);
    assert.equal(state.get32('fsw'), 0x3123 | 0x8080);
    assert.equal(state.get32('ftw'), 0b1100_1111);
    assert.equal(state.get64('fip'), width === 16 ? 0x4321n : 0x87654321n);
    assert.equal(state.get32('fcs'), 0x23);
    assert.equal(state.get64('fdp'), width === 16 ? 0x5678n : 0x12345678n);
    assert.equal(state.get32('fds'), 0x2b);
    assert.equal(state.get32('fop'), width === 16 ? 0 : 0x5d9);
  }
});

test('FNSTENV masks what it has saved; FNSAVE initialises, and FRSTOR brings everything back', () => {
  for (const width of [16, 32]) {
    const m = protectedMode();
    const { state } = m;
    fill(state);
    state.set32('fcw', 0x240);
    state.set32('fsw', 0xb1a3);
    const before = state.u8.slice(offsetOf('fpr0'), offsetOf('fpr0') + 128);
    assert.equal(attempt(m, 'fnstenv', 0x1000, width), 'done');
    assert.equal(state.get32('fcw'), 0x27f);
    assert.equal(state.get32('fsw'), 0x3123);
    assert.equal(attempt(m, 'fnsave', 0x2000, width), 'done');
    assert.deepEqual([state.get32('fcw'), state.get32('fsw'), state.get32('ftw')], [0x37f, 0, 0]);
    assert.equal(state.get64('fip'), 0n);
    state.u8.fill(0x55, offsetOf('fpr0'), offsetOf('fpr0') + 128);
    assert.equal(attempt(m, 'frstor', 0x2000, width), 'done');
    assert.deepEqual([state.get32('fcw'), state.get32('fsw'), state.get32('ftw')], [0x27f, 0x3123, 0b1100_1111]);
    for (let i = 0; i < 8; i++) {
      const at = offsetOf(`fpr${i}`);
      assert.equal(hex(state.u8.subarray(at, at + 10)), hex(before.subarray(16 * i, 16 * i + 10)), `R${i}`);
    }
    assert.equal(attempt(m, 'fldenv', 0x1000, width), 'done');
    assert.deepEqual([state.get32('fcw'), state.get32('fsw')], [0x240, 0xb1a3]);
  }
});
