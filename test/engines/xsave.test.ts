/**
 * XSAVE, XRSTOR and their relatives, XGETBV and XSETBV in a guest: both formats, what is saved, what is left alone, what
 * becomes initial, and what faults. SDM volume 1, chapter 13.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { codeStart, dataStart, Guest, type GuestKind } from '../../runtime/lockstep/guest.ts';
import { IMAGE } from '../../runtime/lockstep/machine-image.ts';
import { offsetOf } from '../../src/state/layout.ts';
import { cpuidLeaf } from '../../src/system/cpuid.ts';
import { vmModules } from './modules.ts';

const kind: GuestKind = { mode: '64', cpl: 0, paging: '4-level', code: 0x34500000n, data: 0x34567000n };
const user: GuestKind = { ...kind, cpl: 3 };
const HLT = 0xf4;
const AREA = 0x400;
const HEADER = 512;
const EXTENDED = 576;
/** rBX is the area's address. */
const XSAVE = [0x48, 0x0f, 0xae, 0x23];
const XRSTOR = [0x48, 0x0f, 0xae, 0x2b];
const XSAVEOPT = [0x48, 0x0f, 0xae, 0x33];
const XSAVEC = [0x48, 0x0f, 0xc7, 0x23];
const XSAVES = [0x48, 0x0f, 0xc7, 0x2b];
const XRSTORS = [0x48, 0x0f, 0xc7, 0x1b];
const XGETBV = [0x0f, 0x01, 0xd0];
const XSETBV = [0x0f, 0x01, 0xd1];

const made = new Map<GuestKind, Guest>();
function fresh(of: GuestKind = kind): Guest {
  let guest = made.get(of);
  if (guest === undefined) made.set(of, (guest = new Guest(of, 'never', vmModules())));
  guest.reset();
  const { fields: state } = guest.vcpu;
  state.set64('rbx', dataStart(of) + BigInt(AREA));
  state.set64('rax', 7n);
  state.set64('rdx', 0n);
  state.set64('rcx', 0n);
  state.set32('fcw', 0x27f);
  state.set32('fsw', 0x3800);
  state.set32('ftw', 0x80);
  state.set64('fip', 0x1234_5678_9abcn);
  state.set32('mxcsr', 0x1fa0);
  for (let i = 0; i < 16; i++) {
    state.u8.fill(0x20 + i, offsetOf(`xmm${i}`), offsetOf(`xmm${i}`) + 16);
    state.u8.fill(0x60 + i, offsetOf(`ymmHigh${i}`), offsetOf(`ymmHigh${i}`) + 16);
  }
  state.u8.fill(0x11, offsetOf('fpr7'), offsetOf('fpr7') + 10);
  guest.write('data', 0, new Uint8Array(4096).fill(0xee));
  guest.write('data', AREA + HEADER, new Uint8Array(64));
  return guest;
}
/** The vector that the code ends in, or null. */
function run(guest: Guest, ...code: readonly (readonly number[])[]): number | null {
  guest.vcpu.code.dropAll();
  guest.write('code', 0, Uint8Array.from([...code.flat(), HLT]));
  const { fields: state } = guest.vcpu;
  state.set64('rip', codeStart(guest.kind));
  state.set64('rsp', dataStart(guest.kind) + 0x3800n);
  state.set32('halted', 0);
  assert.ok(guest.run(1000), 'it ends');
  const vector = (Number(state.get64('rip')) - 1 - IMAGE.handlers) / 16;
  return Number.isInteger(vector) && vector >= 0 && vector < 256 ? vector : null;
}
const area = (guest: Guest): DataView => {
  const at = guest.vm.ram.byteOffset + guest.physical('data', AREA);
  return new DataView(guest.vm.ram.buffer, at, 0x400);
};
const bytesOf = (guest: Guest, name: string): number[] => [
  ...guest.vcpu.fields.u8.subarray(offsetOf(name), offsetOf(name) + 16),
];
const sixteen = (n: number): number[] => new Array<number>(16).fill(n);
/** Other values in everything that the components hold. */
function spoil({ vcpu: { fields: state } }: Guest): void {
  for (let i = 0; i < 16; i++) {
    state.u8.fill(0xa0, offsetOf(`xmm${i}`), offsetOf(`xmm${i}`) + 16);
    state.u8.fill(0xb0, offsetOf(`ymmHigh${i}`), offsetOf(`ymmHigh${i}`) + 16);
  }
  state.set32('mxcsr', 0x1f80);
  state.set32('fcw', 0x37f);
  state.set32('pkru', 0x55);
}

test('XSAVE writes what is asked for, XSTATE_BV for it, and nothing else; XRSTOR brings it back', () => {
  const guest = fresh();
  assert.equal(run(guest, XSAVE), null);
  const view = area(guest);
  assert.equal(view.getBigUint64(HEADER, true), 7n);
  assert.equal(view.getBigUint64(HEADER + 8, true), 0n);
  assert.equal(view.getUint16(0, true), 0x27f);
  assert.equal(view.getBigUint64(8, true), 0x1234_5678_9abcn);
  assert.equal(view.getUint32(24, true), 0x1fa0);
  assert.deepEqual([view.getUint8(160), view.getUint8(415), view.getUint8(416)], [0x20, 0x2f, 0xee]);
  assert.deepEqual([view.getUint8(EXTENDED), view.getUint8(EXTENDED + 255), view.getUint8(832)], [0x60, 0x6f, 0xee]);
  spoil(guest);
  assert.equal(run(guest, XRSTOR), null);
  assert.deepEqual(bytesOf(guest, 'xmm3'), sixteen(0x23));
  assert.deepEqual(bytesOf(guest, 'ymmHigh15'), sixteen(0x6f));
  assert.equal(guest.vcpu.fields.get32('mxcsr'), 0x1fa0);
  assert.equal(guest.vcpu.fields.get32('fcw'), 0x27f);
  assert.equal(guest.vcpu.fields.get64('fip'), 0x1234_5678_9abcn);
  assert.equal(guest.vcpu.fields.get32('pkru'), 0x55, 'XCR0 does not have it');
});

test('a component that is not asked for stays, in memory and in registers; one that XSTATE_BV lacks becomes initial', () => {
  const guest = fresh();
  guest.vcpu.fields.set64('rax', 4n);
  area(guest).setBigUint64(HEADER, 3n, true);
  assert.equal(run(guest, XSAVE), null);
  const view = area(guest);
  assert.equal(view.getBigUint64(HEADER, true), 7n, 'the bits of the others stay');
  assert.deepEqual([view.getUint8(0), view.getUint8(160), view.getUint8(EXTENDED)], [0xee, 0xee, 0x60]);
  assert.equal(view.getUint32(24, true), 0x1fa0, 'MXCSR goes with the upper halves, too');
  spoil(guest);
  view.setBigUint64(HEADER, 0n, true);
  view.setUint32(24, 0x1fc0, true);
  assert.equal(run(guest, XRSTOR), null);
  assert.deepEqual(bytesOf(guest, 'ymmHigh2'), sixteen(0));
  assert.deepEqual(bytesOf(guest, 'xmm2'), sixteen(0xa0));
  assert.equal(guest.vcpu.fields.get32('mxcsr'), 0x1fc0);
  assert.equal(guest.vcpu.fields.get64('fip'), 0x1234_5678_9abcn);
  guest.vcpu.fields.set64('rax', 3n);
  assert.equal(run(guest, XRSTOR), null);
  assert.deepEqual(bytesOf(guest, 'xmm2'), sixteen(0));
  assert.deepEqual(
    ['fcw', 'fsw', 'ftw'].map((n) => guest.vcpu.fields.get32(n)),
    [0x37f, 0, 0],
  );
  assert.equal(guest.vcpu.fields.get64('fip'), 0n);
});

test('XSAVEOPT and XSAVEC leave out what is initial; the compacted format says which components it has', () => {
  const zeros = (guest: Guest): void => {
    const { u8 } = guest.vcpu.fields;
    for (let i = 0; i < 16; i++) u8.fill(0, offsetOf(`ymmHigh${i}`), offsetOf(`ymmHigh${i}`) + 16);
  };
  let guest = fresh();
  zeros(guest);
  assert.equal(run(guest, XSAVEOPT), null);
  assert.equal(area(guest).getBigUint64(HEADER, true), 3n);
  assert.equal(area(guest).getUint8(EXTENDED), 0xee);
  for (const [save, restore] of [
    [XSAVEC, XRSTOR],
    [XSAVES, XRSTORS],
  ]) {
    guest = fresh();
    guest.vcpu.fields.set64('rax', 6n);
    assert.equal(run(guest, save!), null);
    const view = area(guest);
    assert.equal(view.getBigUint64(HEADER, true), 6n);
    assert.equal(view.getBigUint64(HEADER + 8, true), (1n << 63n) | 6n);
    assert.deepEqual([view.getUint8(0), view.getUint8(EXTENDED)], [0xee, 0x60]);
    spoil(guest);
    assert.equal(run(guest, restore!), null);
    assert.deepEqual(bytesOf(guest, 'xmm9'), sixteen(0x29));
    assert.deepEqual(bytesOf(guest, 'ymmHigh9'), sixteen(0x69));
    assert.equal(guest.vcpu.fields.get32('mxcsr'), 0x1fa0);
    // What is not in the area, but is asked for, becomes initial: MXCSR, too.
    view.setBigUint64(HEADER, 0n, true);
    assert.equal(run(guest, restore!), null);
    assert.deepEqual(bytesOf(guest, 'xmm9'), sixteen(0));
    assert.equal(guest.vcpu.fields.get32('mxcsr'), 0x1f80);
  }
});

test('PKRU is a component: behind the upper halves, or directly behind the header if they are not there', () => {
  const guest = fresh();
  const { fields: state } = guest.vcpu;
  state.set64('xcr0', 0x207n);
  state.set64('rax', 0x200n);
  state.set32('pkru', 0x1234);
  assert.equal(run(guest, XSAVE), null);
  assert.equal(area(guest).getUint32(832, true), 0x1234);
  assert.equal(run(guest, XSAVEC), null);
  assert.equal(area(guest).getUint32(EXTENDED, true), 0x1234);
  state.set32('pkru', 1);
  assert.equal(run(guest, XRSTOR), null);
  assert.equal(state.get32('pkru'), 0x1234);
});

test('areas that are not aligned, headers that are wrong and a wrong MXCSR are #GP, and change nothing', () => {
  const wrong: readonly ((view: DataView, guest: Guest) => void)[] = [
    (_, guest) => guest.vcpu.fields.set64('rbx', dataStart(kind) + BigInt(AREA) + 32n),
    (view) => view.setBigUint64(HEADER, 8n, true),
    (view) => view.setBigUint64(HEADER + 8, 1n, true),
    (view) => view.setUint8(HEADER + 16, 1),
    (view) => view.setUint32(24, 0x1_0000, true),
    (view) => {
      view.setBigUint64(HEADER, 4n, true);
      view.setBigUint64(HEADER + 8, (1n << 63n) | 3n, true);
    },
    (view) => view.setBigUint64(HEADER + 8, (1n << 63n) | 0x107n, true),
  ];
  for (const [n, change] of wrong.entries()) {
    const guest = fresh();
    const view = area(guest);
    view.setUint32(24, 0x1f80, true);
    change(view, guest);
    assert.equal(run(guest, XRSTOR), 13, `case ${n}`);
    assert.deepEqual(bytesOf(guest, 'xmm1'), sixteen(0x21));
    assert.equal(guest.vcpu.fields.get32('mxcsr'), 0x1fa0);
  }
  const guest = fresh();
  assert.equal(run(guest, XRSTORS), 13, 'XRSTORS takes the compacted format alone');
  guest.vcpu.fields.set64('rbx', dataStart(kind) + BigInt(AREA) + 16n);
  assert.equal(run(guest, XSAVE), 13);
});

test('without CR4.OSXSAVE they are undefined, under CR0.TS #NM, and XSAVES wants CPL 0', () => {
  for (const code of [XSAVE, XRSTOR, XSAVEOPT, XSAVEC, XSAVES, XRSTORS]) {
    let guest = fresh();
    guest.vcpu.fields.set64('cr0', guest.vcpu.fields.get64('cr0') | 8n);
    guest.vcpu.cpu.stateReplaced();
    guest.vcpu.fields.set64('rbx', 1n); // what is wrong with the operand comes later
    assert.equal(run(guest, code), 7);
    guest = fresh();
    guest.vcpu.fields.set64('cr4', guest.vcpu.fields.get64('cr4') & ~(1n << 18n));
    guest.vcpu.cpu.stateReplaced();
    for (const one of [code, XGETBV, XSETBV]) assert.equal(run(guest, one), 6);
  }
  for (const code of [XSAVES, XRSTORS, XSETBV]) assert.equal(run(fresh(user), code), 13);
});

test('XSETBV takes x87 always, AVX with SSE, and nothing that does not exist; XGETBV shows it, and what is in use', () => {
  const set = (value: bigint, index = 0n): number | null => {
    const guest = fresh();
    guest.vcpu.fields.set64('rax', value & 0xffff_ffffn);
    guest.vcpu.fields.set64('rdx', value >> 32n);
    guest.vcpu.fields.set64('rcx', index);
    const vector = run(guest, XSETBV);
    assert.equal(guest.vcpu.fields.get64('xcr0'), vector === null ? value : 7n);
    return vector;
  };
  for (const value of [1n, 3n, 7n, 0x207n, 0x201n]) assert.equal(set(value), null, `${value}`);
  for (const value of [0n, 2n, 5n, 6n, 0x17n, 0xffn, 0x1_0000_0007n]) assert.equal(set(value), 13, `${value}`);
  assert.equal(set(7n, 1n), 13);
  const guest = fresh();
  const { fields: state } = guest.vcpu;
  const get = (index: bigint): number | null => {
    state.set64('rcx', index);
    return run(guest, XGETBV);
  };
  assert.equal(get(0n), null);
  assert.deepEqual([state.get64('rax'), state.get64('rdx')], [7n, 0n]);
  for (let i = 0; i < 16; i++) state.u8.fill(0, offsetOf(`xmm${i}`), offsetOf(`xmm${i}`) + 16);
  assert.equal(get(1n), null);
  assert.equal(state.get64('rax'), 5n);
  assert.equal(get(2n), 13);
});

test('CPUID leaf DH: the components, their sizes, and the size for what is enabled', () => {
  const guest = fresh();
  const { processor } = guest.vcpu.cpu;
  const leaf = (n: number) => cpuidLeaf(processor, 0xd, n);
  assert.deepEqual(leaf(0), [0x207, 832, 840, 0]);
  assert.deepEqual(leaf(1), [15, 832, 0, 0]);
  assert.deepEqual(leaf(2), [256, 576, 0, 0]);
  assert.deepEqual(leaf(9), [8, 832, 0, 0]);
  assert.deepEqual(leaf(3), [0, 0, 0, 0]);
  guest.vcpu.fields.set64('xcr0', 1n);
  assert.equal(leaf(0)[1], 576);
  const ecx = cpuidLeaf(processor, 1, 0)[2];
  assert.equal((ecx >>> 27) & 1, 1, 'CR4.OSXSAVE shows');
});
