import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { InitialMode } from '../../runtime/loaders/initial-state.ts';
import { loadGuest } from '../../runtime/loaders/load.ts';

const none = { name: 'guest', commandLine: '', modules: [] };

function load(file: Uint8Array, address: number, mode: InitialMode) {
  const memory = { bytes: new Uint8Array(0x40_0000) };
  return { memory, ...loadGuest(file, memory, { ...none, flat: { address, mode } }) };
}

function bootSector(): Uint8Array {
  const sector = new Uint8Array(512);
  sector.set([0xeb, 0xfe]);
  sector.set([0x55, 0xaa], 510);
  return sector;
}

test('a boot sector is recognised, loaded at 0x7C00 and entered in real mode with the drive in DL', () => {
  const memory = { bytes: new Uint8Array(0x10_0000) };
  const { format, state } = loadGuest(bootSector(), memory, none);
  assert.equal(format, 'boot-sector');
  assert.deepEqual([...memory.bytes.subarray(0x7c00, 0x7c02)], [0xeb, 0xfe]);
  assert.equal(state.mode, 'real');
  assert.equal(state.codeSelector, 0);
  assert.equal(state.rip, 0x7c00);
  assert.equal(state.gpr[2], 0x80);
  assert.equal(state.gpr[4], 0x7c00);
});

test('above 64 KiB a real-mode binary is entered by its segment', () => {
  const { state } = load(Uint8Array.of(0xf4), 0x1_2345, 'real');
  assert.equal(state.codeSelector * 16 + state.rip, 0x1_2345);
  assert.equal(state.rip, 5);
});

test('a flat binary in protected and long mode is entered at its address with tables beside it', () => {
  for (const mode of ['protected', 'long'] as const) {
    const { state, memory } = load(Uint8Array.of(0xf4, 0x90), 0x9_0000, mode);
    assert.equal(state.mode, mode);
    assert.equal(state.rip, 0x9_0000);
    assert.equal(memory.bytes[0x9_0001], 0x90);
    assert.equal(state.pageTables !== null, mode === 'long');
    assert.notEqual(state.gdt, null);
  }
});

test('addresses out of reach are refused with the address', () => {
  const one = Uint8Array.of(0xf4);
  assert.throws(() => load(one, 0x10_0000, 'real'), { code: 'bad-address', message: /0x100000/ });
  assert.throws(() => load(one, 0x40_0000, 'protected'), { code: 'outside-ram', message: /0x400000-0x400001/ });
  assert.throws(() => load(one, -1, 'real'), { code: 'bad-address', message: /-1/ });
  assert.throws(() => load(one, 0.5, 'real'), { code: 'bad-address', message: /0.5/ });
});

test('empty and unknown files are refused by how they begin', () => {
  const memory = { bytes: new Uint8Array(0x1000) };
  assert.throws(() => loadGuest(new Uint8Array(0), memory, none), { code: 'empty-file' });
  assert.throws(() => load(new Uint8Array(0), 0, 'real'), { code: 'empty-file' });
  assert.throws(() => loadGuest(new TextEncoder().encode('#!/bin/sh\n'), memory, none), {
    code: 'unknown-format',
    message: /23 21 2f 62/,
  });
});
