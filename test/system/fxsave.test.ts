/** The FXSAVE area: its bytes, ST order against physical registers, both pointer formats, and the way back. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CpuState } from '../../src/state/cpu-state.ts';
import { cpuBytes, offsetOf } from '../../src/state/layout.ts';
import { FXSAVE_BYTES, restoreArea, saveArea } from '../../src/system/fxsave.ts';

function filled(): CpuState {
  const state = new CpuState(new ArrayBuffer(cpuBytes), 0);
  state.set32('fcw', 0x37f);
  state.set32('fsw', 0x2800); // TOP = 5
  state.set32('ftw', 0x1e);
  state.set32('fop', 0x5d9);
  state.set64('fip', 0x1234_5678_9abcn);
  state.set64('fdp', 0x8765_4321_0fedn);
  state.set32('fcs', 0x23);
  state.set32('fds', 0x2b);
  state.set32('mxcsr', 0x9fc0);
  for (let i = 0; i < 8; i++) state.u8.fill(0x10 + i, offsetOf(`fpr${i}`), offsetOf(`fpr${i}`) + 10);
  for (let i = 0; i < 16; i++) state.u8.fill(0x40 + i, offsetOf(`xmm${i}`), offsetOf(`xmm${i}`) + 16);
  return state;
}

test('the area has the layout of the manual, ST(0) first', () => {
  const area = new Uint8Array(FXSAVE_BYTES).fill(0xee);
  saveArea(filled(), area, { wide: false, vectors: 8 });
  const view = new DataView(area.buffer);
  assert.equal(view.getUint16(0, true), 0x37f);
  assert.equal(view.getUint16(2, true), 0x2800);
  assert.equal(view.getUint16(4, true), 0x1e);
  assert.equal(view.getUint16(6, true), 0x5d9);
  assert.equal(view.getUint32(8, true), 0x56789abc);
  assert.equal(view.getUint32(12, true), 0x23);
  assert.equal(view.getUint32(16, true), 0x43210fed);
  assert.equal(view.getUint32(20, true), 0x2b);
  assert.equal(view.getUint32(24, true), 0x9fc0);
  assert.equal(view.getUint32(28, true), 0xffff);
  const st = Array.from({ length: 8 }, (_, i) => area[32 + 16 * i]);
  assert.deepEqual(st, [0x15, 0x16, 0x17, 0x10, 0x11, 0x12, 0x13, 0x14]);
  assert.deepEqual([area[41], area[42], area[47]], [0x15, 0, 0]);
  assert.deepEqual([area[160], area[287], area[288], area[511]], [0x40, 0x47, 0xee, 0xee]);
});

test('REX.W keeps 64-bit pointers, 64-bit mode all sixteen vectors', () => {
  const area = new Uint8Array(FXSAVE_BYTES).fill(0xee);
  saveArea(filled(), area, { wide: true, vectors: 16 });
  const view = new DataView(area.buffer);
  assert.equal(view.getBigUint64(8, true), 0x1234_5678_9abcn);
  assert.equal(view.getBigUint64(16, true), 0x8765_4321_0fedn);
  assert.deepEqual([area[415], area[416]], [0x4f, 0xee]);
});

test('what was saved comes back', () => {
  for (const format of [
    { wide: true, vectors: 16 },
    { wide: false, vectors: 16 },
  ] as const) {
    const area = new Uint8Array(FXSAVE_BYTES);
    const before = filled();
    saveArea(before, area, format);
    const state = new CpuState(new ArrayBuffer(cpuBytes), 0);
    assert.ok(restoreArea(state, area, format));
    const again = new Uint8Array(FXSAVE_BYTES);
    saveArea(state, again, format);
    assert.deepEqual(again, area);
    assert.deepEqual(
      state.u8.slice(offsetOf('fpr0'), offsetOf('xmm15') + 16),
      before.u8.slice(offsetOf('fpr0'), offsetOf('xmm15') + 16),
    );
  }
});

test('reserved bits of MXCSR are refused and nothing changes', () => {
  const area = new Uint8Array(FXSAVE_BYTES);
  new DataView(area.buffer).setUint32(24, 0x1_0000, true);
  const state = filled();
  assert.equal(restoreArea(state, area, { wide: false, vectors: 8 }), false);
  assert.deepEqual(state.u8, filled().u8);
});

test('error summary follows from the exceptions that are not masked', () => {
  const area = new Uint8Array(FXSAVE_BYTES);
  const view = new DataView(area.buffer);
  view.setUint16(0, 0x37e, true); // invalid operation not masked
  view.setUint16(2, 0x0001, true);
  const state = filled();
  assert.ok(restoreArea(state, area, { wide: false, vectors: 8 }));
  assert.equal(state.get32('fsw'), 0x8081);
});
