/**
 * Registers of the VM API: what there is, one and all, and that a call that cannot be done changes nothing. The guests are
 * those of the lock step, in every mode; each runs interpreted and translated.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { StateError } from '../../runtime/index.ts';
import { codeStart, Guest, type GuestKind } from '../../runtime/lockstep/guest.ts';
import { guestKinds } from '../../runtime/lockstep/program-fuzzer.ts';
import { stateHash } from '../../runtime/state-hash.ts';
import { type RegisterTuple, type StateSet, setNumbers } from '../../runtime/vm/registers.ts';
import { layout } from '../../src/state/layout.ts';
import { vmModules } from '../engines/modules.ts';

const engines = ['never', 'first'] as const;
const long = guestKinds('64')[0]!;
const guestOf = (kind: GuestKind, translate: 'never' | 'first' = 'never') => new Guest(kind, translate, vmModules());
const hashOf = (guest: Guest) => stateHash(guest.vcpu, guest.vm.ram);
const named = (guest: Guest, values: Record<string, bigint>): RegisterTuple[] =>
  Object.entries(values).map(([name, value]) => [guest.vcpu.state.idOf(name), value]);

/** The sets' numbers, which never change either. */
const sets = {
  ...{ gpr: 1, segment: 2, table: 3, control: 4, debug: 5, msr: 6, xcr: 7, x87: 8, sse: 9, event: 10, apic: 11 },
  cpuid: 12,
} as const;
/** The first registers of each set and some later ones: their numbers never change. */
const known: readonly (readonly [set: StateSet, number: number, name: string, size: number])[] = [
  ['gpr', 0, 'rax', 8],
  ['gpr', 4, 'rsp', 8],
  ['gpr', 15, 'r15', 8],
  ['segment', 0, 'esBase', 8],
  ['segment', 1, 'esSelector', 4],
  ['segment', 5, 'csSelector', 4],
  ['segment', 31, 'trAccess', 4],
  ['table', 0, 'gdtrBase', 8],
  ['table', 3, 'idtrLimit', 4],
  ['control', 0, 'cr0', 8],
  ['control', 5, 'efer', 8],
  ['control', 10, 'pdpte3', 8],
  ['debug', 5, 'dr7', 8],
  ['msr', 0, 'star', 8],
  ['msr', 9, 'miscEnable', 8],
  ['msr', 19, 'smbase', 4],
  ['msr', 46, 'mtrrMask7', 8],
  ['xcr', 0, 'xcr0', 8],
  ['x87', 0, 'fcw', 4],
  ['x87', 8, 'fpr0', 10],
  ['x87', 15, 'fpr7', 10],
  ['sse', 0, 'xmm0', 16],
  ['sse', 16, 'ymmHigh0', 16],
  ['sse', 32, 'mxcsr', 4],
  ['event', 0, 'rip', 8],
  ['event', 1, 'rflags', 4],
  ['event', 2, 'shutdown', 4],
  ['event', 4, 'interruptShadow', 4],
  ['event', 9, 'smm', 4],
  ['event', 11, 'randomState', 8],
  ['event', 17, 'waitsForStartUp', 4],
  ['event', 0x1000, 'insideRepeat', 4],
  ['event', 0x1004, 'a20', 4],
  ['cpuid', 0, 'cpuid.0.0', 16],
  ['cpuid', 0x4000, 'cpuid.40000000.0', 16],
  ['cpuid', 0x8010, 'cpuid.80000001.0', 16],
];

test('row 5: every register has an id that stays, a set, a size and attributes', () => {
  const { state } = guestOf(long).vcpu;
  const list = state.list();
  assert.equal(new Set(list.map(({ id }) => id)).size, list.length);
  assert.equal(new Set(list.map(({ name }) => name)).size, list.length);
  for (const [set, number, name, size] of known) {
    const id = sets[set] * 65536 + number;
    const found = list.find((register) => register.id === id);
    assert.deepEqual([found?.set, found?.number, found?.name, found?.size], [set, number, name, size]);
    assert.equal(state.idOf(name), id);
  }
  assert.deepEqual(setNumbers, sets);
  assert.deepEqual(
    [...new Set(list.map(({ set }) => set))],
    ['gpr', 'segment', 'table', 'control', 'debug', 'msr', 'xcr', 'x87', 'sse', 'event', 'cpuid'],
  );
  for (const { set, attributes } of list) assert.equal(attributes === 'ro', set === 'cpuid');
  // Every field of the layout with a set is there: a row is all that a new register takes.
  const names = new Set(list.map(({ name }) => name));
  for (const { name, set } of layout.values())
    if (set !== null) assert.ok(names.has(name === 'rflagsRest' ? 'rflags' : name), name);
});

for (const translate of engines) {
  test(`row 5: one register, some, all; set and get agree, translated ${translate}`, () => {
    const guest = guestOf(long, translate);
    const { state } = guest.vcpu;
    const values: Record<string, bigint> = {
      rip: codeStart(long),
      rax: 0x1234_5678_9abc_def0n,
      r15: 0xffff_ffff_ffff_ffffn,
      fsBase: 0xffff_8000_0000_1000n,
      fpr3: 0x7fff_8000_0000_0000_0001n,
      xmm5: 0xffee_ddcc_bbaa_9988_7766_5544_3322_1100n,
      ymmHigh5: 1n << 127n,
      mxcsr: 0x1f83n,
      rflags: 0xad7n,
      dr0: 0xffff_ffff_8000_0000n,
      lstar: 0xffff_8000_0000_0000n,
      mtrrBase2: 0xc000_0006n,
      pkru: 0x5555_5555n,
    };
    state.set(named(guest, values));
    for (const [name, value] of Object.entries(values)) assert.equal(state.get(state.idOf(name)), value, name);
    const ids = [state.idOf('xmm5'), state.idOf('rax')];
    assert.deepEqual(state.get(ids), [
      [ids[0], values.xmm5],
      [ids[1], values.rax],
    ]);
    assert.deepEqual(
      state.get().map(([id]) => id),
      state.list().map(({ id }) => id),
    );
    // mov rcx, rax; lahf; hlt: the guest sees them.
    guest.write('code', 0, Uint8Array.of(0x48, 0x89, 0xc1, 0x9f, 0xf4));
    guest.run(10);
    assert.equal(state.get(state.idOf('rcx')), values.rax);
    assert.equal((state.get(state.idOf('rax')) >> 8n) & 0xffn, 0xd7n);
    assert.equal(state.get(state.idOf('halted')), 1n);
  });

  test(`row 5: a call with one register that cannot be changes nothing, translated ${translate}`, () => {
    const guest = guestOf(long, translate);
    guest.run(1);
    const { state } = guest.vcpu;
    const id = (name: string) => state.idOf(name);
    const before = hashOf(guest);
    const good = named(guest, { rbx: 0x77n, cr2: 0x1000n, xmm0: 5n });
    const refuse = (code: string, mentions: string | RegExp, ...bad: unknown[]) => {
      for (const tuples of [
        [...good, ...bad],
        [...bad, ...good],
      ]) {
        assert.throws(
          () => state.set(tuples as RegisterTuple[]),
          (error) =>
            error instanceof StateError &&
            error.code === code &&
            (typeof mentions === 'string' ? error.message.includes(mentions) : mentions.test(error.message)),
          `${code} ${mentions}: ${String(bad)}`,
        );
        assert.equal(hashOf(guest), before);
      }
    };
    refuse('unknown-register', '12345678', [12345678, 0n]);
    refuse('unknown-register', 'rax', ['rax', 0n]);
    refuse('unknown-register', '65536.5', [65536.5, 0n]);
    refuse('duplicate-register', 'rcx', [id('rcx'), 1n], [id('rcx'), 1n]);
    refuse('bad-register-type', 'rax', [id('rax'), 1]);
    refuse('bad-register-type', 'rax', [id('rax'), undefined]);
    refuse('bad-register-type', 'xmm1', [id('xmm1'), new Uint8Array(16)]);
    refuse('bad-register-type', 'null', null);
    refuse('bad-register-type', '', [id('rax')]);
    refuse('bad-register-size', 'rax', [id('rax'), -1n]);
    refuse('bad-register-size', 'rax', [id('rax'), 1n << 64n]);
    refuse('bad-register-size', 'csSelector', [id('csSelector'), 1n << 32n]);
    refuse('bad-register-size', 'fpr1', [id('fpr1'), 1n << 80n]);
    refuse('bad-register-size', 'xmm1', [id('xmm1'), 1n << 128n]);
    refuse('read-only-register', 'cpuid.0.0', [id('cpuid.0.0'), 0n]);
    const impossible: Record<string, bigint[]> = {
      cr0: [1n << 32n, 0x8000_0033n | 0x80n, 0x8000_0010n, 0xa000_0033n, 0x33n, 0x30n],
      cr3: [1n << 52n],
      cr4: [0n, 1n << 31n, 1n << 13n],
      efer: [0x500n | (1n << 13n), 0x100n],
      cr8: [16n],
      fsBase: [0x8000_0000_0000n],
      gdtrBase: [0xfff0_0000_0000_0000n],
      gdtrLimit: [0x1_0000n],
      csSelector: [0x1_0000n],
      csAccess: [0x1_e09bn, 0x2_0000n],
      rip: [0x1234_0000_0000_0000n],
      rflags: [0n, 0x8002n, 1n << 22n, 0x2_0002n],
      cpl: [4n],
      dr6: [0n],
      dr7: [0n, (1n << 32n) | 0x400n],
      xcr0: [0n, 4n, 5n, 1n << 62n],
      pat: [2n],
      lstar: [1n << 55n],
      sysenterEip: [1n << 63n],
      apicBase: [0x400n, 1n],
      mtrrFixed3: [7n],
      mxcsr: [0x1_0000n],
      ftw: [0x100n],
      fop: [0x800n],
      interruptShadow: [3n],
      pdpte1: [1n | (1n << 1n), 1n | (1n << 60n)],
      smm: [2n, 4n],
      pendingException: [14n, 0x8000_030en, 0x8000_0b03n, 0x8000_0302n, 0x8000_0b40n],
      pendingStartUp: [8n, 0x200n],
      waitsForStartUp: [1n, 2n],
      halted: [2n],
    };
    for (const [name, values] of Object.entries(impossible))
      for (const value of values) refuse('bad-register-value', /register \w+ \(\d+\) = 0x/, [id(name), value]);
    for (const tuples of [null, undefined, 5, 'rax', {}])
      assert.throws(() => state.set(tuples as never), { code: 'bad-register-type' });
    for (const ids of [{}, 'rax', null, [12345678], ['rax'], 3, -1, Number.NaN])
      assert.throws(() => state.get(ids as never), StateError);
    assert.throws(() => state.idOf('eax'), { code: 'unknown-register', message: /eax/ });
    assert.equal(hashOf(guest), before);
    // It works as before.
    state.set(good);
    assert.equal(state.get(id('rbx')), 0x77n);
    assert.notEqual(hashOf(guest), before);
  });
}
