/**
 * System instructions that generated code does by itself: STI and its shadow under any slicing, SWAPGS, and the protection
 * keys' register. Each runs interpreted, translated at once and translated when hot.
 */
import assert from 'node:assert/strict';
import { codeStart, Guest, type GuestKind } from '../../runtime/lockstep/guest.ts';
import { IMAGE } from '../../runtime/lockstep/machine-image.ts';
import { randomNumbers } from '../../runtime/lockstep/random-numbers.ts';
import type { Vm } from '../../runtime/vm/vm.ts';
import { segmentNames } from '../../src/state/layout.ts';
import { guest, hashOf, loadCode, origin, type TestEngine, testEngines } from '../vm/vm-harness.ts';
import { Assembler, dword, qword, to } from './assembler.ts';
import { vmModules } from './modules.ts';
import { descriptor, flat, giveIdt } from './system-code.ts';

const asm = () => new Assembler(BigInt(origin));
const HLT = 0xf4;
const STI = 0xfb;
const CLI = 0xfa;
const rounds = 2500;
const shadowOf = (vm: Vm): number => vm.vcpu(0).fields.get32('interruptShadow');
const rip = (vm: Vm): bigint => vm.vcpu(0).fields.get64('rip');

/** Interrupts on and off in a loop; the handler adds up where it was called from. */
const window = asm()
  .put(0xbf, dword(rounds)) // mov edi, rounds
  .label('again')
  .put(CLI, 0x43, 0x43, STI) // cli; inc ebx; inc ebx; sti
  .label('shadow')
  .put(0x41) // inc ecx
  .label('open')
  .put(0x90, STI) // nop; sti: interrupts are on
  .label('still open')
  .put(0x9c, 0x58, CLI, STI, CLI) // pushf; pop eax; cli; sti; cli: no instruction between, no interrupt
  .label('closed')
  .put(0x01, 0xd8, STI) // add eax, ebx; sti
  .label('before the jump')
  .put(0x4f, 0x75, to('again', 1), HLT) // dec edi; jnz again; hlt
  .label('handler')
  .put(0x46, 0x03, 0x2c, 0x24, 0xcf); // inc esi; add ebp, [esp]; iret
function windowGuest(engine: TestEngine): Vm {
  const vm = guest(engine, window.finish());
  giveIdt(vm, { 33: window.addressOf('handler') });
  return vm;
}

/** Instruction counts at which the guest is looked at; at every third an interrupt comes. */
const moments = (() => {
  const random = randomNumbers(0x571);
  const list: number[] = [];
  for (let at = 0; at < rounds * 15; at += 1 + random(61)) list.push(at);
  return list;
})();
/** What the guest is at each moment, in runs of at most `slice` instructions. */
function history(vm: Vm, slice: number, atEach: (vm: Vm) => void = () => {}): string[] {
  const vcpu = vm.vcpu(0);
  let at = 0;
  return moments.map((moment, i) => {
    while (at < moment) {
      const count = Math.min(slice, moment - at);
      vcpu.enter(count);
      at += count - vcpu.left;
      atEach(vm);
      if (vcpu.left > 0) break; // it has halted
    }
    if (i % 3 === 0 && !vcpu.interruptPending) vcpu.interrupt(0x21);
    return `${rip(vm).toString(16)} ${shadowOf(vm)} ${i % 16 === 0 ? hashOf(vm) : vcpu.fields.get64('rbp')}`;
  });
}
let expected: string[] | null = null;

testEngines('STI: its shadow covers one instruction, and no slicing of the run shows', (engine) => {
  if (expected === null) {
    const shadowed = ['shadow', 'before the jump'].map((label) => window.addressOf(label));
    const seen = new Set<bigint>();
    expected = history(windowGuest('interpreter'), 1, (vm) => {
      seen.add(rip(vm));
      const isShadowed =
        shadowed.includes(rip(vm)) || (rip(vm) === window.addressOf('closed') - 1n && shadowOf(vm) === 1);
      assert.equal(shadowOf(vm), isShadowed ? 1 : 0, rip(vm).toString(16));
    });
    for (const label of ['shadow', 'open', 'still open', 'closed', 'before the jump', 'handler'])
      assert.ok(seen.has(window.addressOf(label)), label);
  }
  for (const slice of [Number.POSITIVE_INFINITY, 7, 2]) {
    const vm = windowGuest(engine);
    assert.deepEqual(history(vm, slice), expected);
    assert.ok(vm.vcpu(0).fields.get32('rsi') > 300);
  }
});

testEngines('STI: an interrupt that waits is taken after the next instruction, and HLT ends with it', (engine) => {
  // cli; hlt; then again: sti; hlt; cli; dec edi; jnz
  const code = asm()
    .put(0xbf, dword(2000), CLI, HLT)
    .label('again')
    .put(STI, HLT, CLI, 0x4f, 0x75, to('again', 1), HLT)
    .label('handler')
    .put(0x03, 0x2c, 0x24, 0xcf); // add ebp, [esp]; iret
  const vm = guest(engine, code.finish());
  giveIdt(vm, { 33: code.addressOf('handler') });
  const vcpu = vm.vcpu(0);
  assert.equal(vcpu.enter().kind, 'halt');
  vcpu.fields.set32('halted', 0);
  for (let i = 0; i < 2000; i++) {
    // It comes while the guest sleeps, or before STI.
    const early = i % 2 === 1;
    if (!early) assert.deepEqual([vcpu.enter().kind, rip(vm)], ['halt', code.addressOf('again') + 2n]);
    vcpu.interrupt(0x21);
    assert.equal(vcpu.enter(4).kind, 'budget'); // early: sti, hlt, and two of the handler; else the handler, cli, dec
    assert.equal(vcpu.enter(early ? 3 : 1).kind, 'budget'); // up to the jump, and with it
    assert.equal(rip(vm), i === 1999 ? code.addressOf('handler') - 1n : code.addressOf('again'), `round ${i}`);
  }
  const after = Number(code.addressOf('again')) + 2;
  assert.equal(vcpu.fields.get32('rbp'), (after * 2000) >>> 0);
});

const CR4_SMAP = 1 << 21;
const CR4_PKE = 1 << 22;
const RDPKRU = [0x0f, 0x01, 0xee];
const WRPKRU = [0x0f, 0x01, 0xef];
const zero = [0x31, 0xc9, 0x31, 0xd2]; // xor ecx, ecx; xor edx, edx
const faults = (vm: Vm, code: Assembler): void => giveIdt(vm, { 6: code.addressOf('#UD'), 13: code.addressOf('#GP') });
/** `mov bl, vector; hlt` */
const handlers = (code: Assembler): Assembler => code.label('#UD').put(0xb3, 6, HLT).label('#GP').put(0xb3, 13, HLT);

testEngines('CLAC: no page that STAC has let through is reached after it, also behind a call', (engine) => {
  // again: stac; mov eax, [rsi]; mov [rsi], eax; call close; mov eax, [rsi] (faults, and goes on behind it); dec edi; jnz
  const code = asm()
    .put(0xbf, dword(2500), 0xbe, dword(0x5000))
    .label('again')
    .put(0x0f, 0x01, 0xcb, 0x8b, 0x06, 0xff, 0x06, 0xe8, to('close'))
    .label('after')
    .put(0x03, 0x1e, 0x03, 0x1e) // add ebx, [rsi], twice: the handler passes the first
    .label('passed')
    .put(0xff, 0xcf, 0x75, to('again', 1), HLT)
    .label('close')
    .put(0xff, 0xc1, 0x0f, 0x01, 0xca, 0xc3) // inc ecx; clac; ret
    .label('#PF')
    .put(0x48, 0x83, 0xc4, 8, 0xff, 0xc5) // add rsp, 8; inc ebp
    .put(0x48, 0x83, 0x04, 0x24, 4, 0x48, 0xcf); // add qword [rsp], 4: behind both; iretq
  const vm = guest(engine, code.finish(), { mode: 'long' });
  giveIdt(vm, { 14: code.addressOf('#PF') });
  const { fields } = vm.vcpu(0);
  fields.set64('rsp', 0x8000n);
  fields.set64('rbx', 0n);
  fields.set64('rbp', 0n);
  fields.set64('rcx', 0n);
  // A page of 4 KiB for user code at 5000H among the supervisor's.
  const view = new DataView(vm.ram.buffer, vm.ram.byteOffset);
  const next = (at: number): number => Number(view.getBigUint64(at, true) & 0xf_f000n);
  const root = Number(fields.get64('cr3'));
  const directory = next(next(root));
  const table = 0x9000;
  for (let page = 0; page < 512; page++) {
    const user = page === 5 ? 4n : 0n;
    vm.physical.writeBytes(table + page * 8, Uint8Array.from(qword(BigInt(page * 4096) | 3n | user)));
  }
  vm.physical.writeBytes(directory, Uint8Array.from(qword(BigInt(table) | 7n)));
  for (const at of [root, next(root)])
    vm.physical.writeBytes(at, Uint8Array.from(qword(view.getBigUint64(at, true) | 4n)));
  const { state } = vm.vcpu(0);
  state.set([[state.idOf('cr4'), state.get(state.idOf('cr4')) | BigInt(CR4_SMAP)]]);
  let instructions = 0;
  for (; vm.vcpu(0).enter(1013).kind !== 'halt'; instructions += 1013) assert.ok(instructions < 1e5);
  assert.deepEqual(
    ['rbx', 'rbp', 'rcx', 'rdi'].map((name) => fields.get64(name)),
    [0n, 2500n, 2500n, 0n],
  );
  assert.equal(view.getUint32(0x5000, true), 2500);
});

testEngines('SWAPGS: what is addressed by GS changes at once', (engine) => {
  const code = asm()
    .put(0xbf, dword(3000))
    .label('again')
    .put(0x65, 0x48, 0x03, 0x04, 0x25, dword(8)) // add rax, gs:[8]
    .put(0x0f, 0x01, 0xf8) // swapgs
    .put(0x65, 0x48, 0x03, 0x1c, 0x25, dword(8)) // add rbx, gs:[8]
    .put(0x65, 0x48, 0xff, 0x04, 0x25, dword(8)) // inc qword gs:[8]
    .put(0x0f, 0x01, 0xf8, 0xff, 0xcf, 0x75, to('again', 1), HLT);
  const vm = guest(engine, code.finish(), { mode: 'long' });
  const { fields } = vm.vcpu(0);
  fields.set64('gsBase', 0x5000n);
  fields.set64('kernelGsBase', 0x6000n);
  vm.physical.writeBytes(0x5008, Uint8Array.from(qword(3n)));
  vm.physical.writeBytes(0x6008, Uint8Array.from(qword(5n)));
  let instructions = 0;
  for (; vm.vcpu(0).enter(1009).kind !== 'halt'; instructions += 1009) assert.ok(instructions < 1e5);
  assert.deepEqual([fields.get64('rax'), fields.get64('rbx')], [9000n, 3000n * 5n + (3000n * 2999n) / 2n]);
  assert.deepEqual([fields.get64('gsBase'), fields.get64('kernelGsBase')], [0x5000n, 0x6000n]);
});

testEngines('SWAPGS is the system alone that may execute it', (engine) => {
  const kind: GuestKind = { mode: '64', cpl: 3, paging: '4-level', code: 0x34500000n, data: 0x34567000n };
  const one = new Guest(kind, engine === 'interpreter' ? 'never' : engine === 'hot' ? 'hot' : 'first', vmModules());
  const code = handlers(new Assembler(codeStart(kind)).put(0x0f, 0x01, 0xf8, HLT));
  one.write('code', 0, code.finish());
  const view = new DataView(one.vm.ram.buffer, one.vm.ram.byteOffset);
  const place = IMAGE.idt + 13 * 16;
  view.setUint16(place, Number(code.addressOf('#GP')) & 0xffff, true);
  view.setUint16(place + 6, Number(code.addressOf('#GP')) >>> 16, true);
  const { fields } = one.vcpu;
  fields.set64('rip', codeStart(kind));
  fields.set64('rsp', kind.data + 0x3800n);
  fields.set64('kernelGsBase', 0x7000n);
  assert.ok(one.run(100));
  assert.equal(fields.get64('rbx') & 0xffn, 13n);
  assert.equal(fields.get64('kernelGsBase'), 0x7000n);
});

testEngines('RDPKRU and WRPKRU: the register, and what they refuse', (engine) => {
  const run = (...parts: (number | readonly number[])[]): Vm => {
    const code = handlers(asm().put(...parts, HLT));
    const vm = guest(engine, code.finish(), { mode: 'long' });
    const { fields } = vm.vcpu(0);
    faults(vm, code);
    fields.set64('rax', 0xffff_ffff_0000_000cn);
    fields.set64('rdx', -1n);
    fields.set64('rbx', 0n);
    assert.equal(vm.vcpu(0).enter(1000).kind, 'halt');
    return vm;
  };
  const vector = (vm: Vm): number => vm.vcpu(0).fields.get32('rbx') & 0xff;
  const on = [0x0f, 0x20, 0xe1, 0x81, 0xc9, ...dword(CR4_PKE), 0x0f, 0x22, 0xe1]; // mov rcx, cr4; or; mov cr4, rcx
  const done = run(on, zero, WRPKRU, 0xb8, dword(-1), 0xba, dword(-1), RDPKRU);
  assert.equal(vector(done), 0);
  const { fields } = done.vcpu(0);
  assert.deepEqual([fields.get64('rax'), fields.get64('rdx'), fields.get32('pkru')], [0xcn, 0n, 0xc]);
  assert.equal(vector(run(zero, RDPKRU)), 6, 'CR4.PKE is clear');
  assert.equal(vector(run(zero, WRPKRU)), 6, 'CR4.PKE is clear');
  assert.equal(vector(run(on, 0xb9, dword(1), RDPKRU)), 13, 'ECX');
  assert.equal(vector(run(on, 0xb9, dword(1), 0x31, 0xd2, WRPKRU)), 13, 'ECX');
  assert.equal(vector(run(on, 0x31, 0xc9, WRPKRU)), 13, 'EDX');
});

testEngines(
  'data segments: what is loaded in generated code is what the helper loads, and so are the faults',
  (engine) => {
    const GDT = 0x4000;
    const AC = 1 << 18;
    const data = (access: number, base = 0, limit = 0xf_ffff, flags = 0xc) => descriptor(base, limit, access, flags);
    const descriptors: readonly (readonly [number, number])[] = [
      [0, 0],
      ...[flat.code, flat.data].map((d) => [Number(d & 0xffff_ffffn), Number(d >> 32n)] as const),
      data(0xf3), // ring 3
      data(0x93, 0x1234_5678, 0x123, 4), // bytes
      data(0x91, 0x8765_4321, 0x7), // read-only
      data(0x92), // not accessed
      data(0x97, 0, 0x10), // expand-down
      data(0x9b), // readable code
      data(0x99), // code
      data(0x9f), // conforming
      data(0x13), // absent
      data(0x82), // an LDT
    ];
    const selectors = [
      ...descriptors.flatMap((_, i) => [i * 8, i * 8 + 3]),
      ...[descriptors.length * 8, 0x14, 0xfff8, 1], // outside the table, in the LDT, null
    ];
    const loads: readonly (readonly [number, number[], number[]])[] = [
      [0, [0x8e, 0xc0], [0x07]], // es: mov, pop
      [3, [0x8e, 0xd8], [0x1f]],
      [4, [0x8e, 0xe0], [0x0f, 0xa1]],
      [5, [0x8e, 0xe8], [0x0f, 0xa9]],
    ];
    const vm = guest(engine, [HLT]);
    const { fields } = vm.vcpu(0);
    const after = (index: number, load: readonly number[], selector: number, rflags: number): unknown => {
      // push selector; pop eax or the segment; the same again, so that it is loaded with what it holds
      const pops = load.length === 2 && load[0] === 0x8e ? [0x58, ...load] : load;
      const push = [0x68, ...dword(selector | 0xabcd_0000)];
      const code = asm().put(push, pops, push, pops, 0xb3, 1, HLT);
      for (const vector of [11, 13]) code.label(`${vector}`).put(0x59, 0xb3, vector, HLT); // pop ecx; mov bl, vector; hlt
      loadCode(vm, code.finish());
      vm.physical.writeBytes(
        GDT,
        Uint8Array.from(descriptors.flatMap(([low, high]) => [...dword(low), ...dword(high)])),
      );
      giveIdt(vm, { 11: code.addressOf('11'), 13: code.addressOf('13') });
      fields.set64('gdtrBase', BigInt(GDT));
      fields.set32('gdtrLimit', descriptors.length * 8 - 1);
      fields.set32('csSelector', 8);
      fields.set32('halted', 0);
      fields.set64('rsp', 0x8000n);
      fields.set64('rcx', 0n);
      const { state } = vm.vcpu(0);
      state.set([[state.idOf('rflags'), BigInt(rflags)]]);
      assert.equal(vm.vcpu(0).enter(100).kind, 'halt');
      const name = segmentNames[index]!;
      return [
        ...['Selector', 'Limit', 'Access', 'ReadLow', 'ReadHigh', 'WriteLow', 'WriteHigh'].map((field) =>
          fields.get32(`${name}${field}`),
        ),
        ...[`${name}Base`, 'rbx', 'rcx', 'rsp', 'rip'].map((field) => fields.get64(field)),
        vm.ram.slice(GDT, GDT + descriptors.length * 8).join(),
      ];
    };
    const ends = new Set<string>();
    for (const [index, ...ways] of loads)
      for (const load of ways)
        for (const selector of selectors) {
          const helper = after(index, load, selector, 2 | AC); // the helper's, whose reads AC does not concern
          assert.deepEqual(after(index, load, selector, 2), helper, `${segmentNames[index]} ${selector.toString(16)}`);
          ends.add(String((helper as unknown[])[8]));
        }
    assert.deepEqual([...ends].map((n) => Number(n) & 0xff).sort(), [1, 11, 13].sort());
  },
);

testEngines('POPF: every flag that the privilege allows, and an interrupt that waits comes at once', (engine) => {
  const vm = guest(engine, [HLT]);
  const { fields, state } = vm.vcpu(0);
  const flagsAfter = (before: number, value: number, width: 16 | 32): number => {
    const prefix = width === 16 ? [0x66] : [];
    loadCode(vm, asm().put(0x68, dword(value), prefix, 0x9d, 0x9c, 0x58, HLT).finish()); // push; popf; pushf; pop eax
    fields.set64('rsp', 0x8000n);
    fields.set32('halted', 0);
    state.set([[state.idOf('rflags'), BigInt(before)]]);
    assert.equal(vm.vcpu(0).enter(10).kind, 'halt');
    assert.equal(fields.get32('rsp'), width === 16 ? 0x7ffe : 0x8000);
    return fields.get32('rax');
  };
  const random = randomNumbers(0x90f);
  const changeable = 0x24_7ed5; // all but TF
  for (let round = 0; round < 400; round++) {
    const few = round % 2 === 0 ? 0xed5 : changeable; // arithmetic flags, DF and IF
    const width = round % 5 === 0 ? 16 : 32;
    const before = (random(0x80_0000) & changeable) | 2;
    const value = (before & ~few) | (random(0x80_0000) & few);
    const mask = width === 16 ? changeable & 0xffff : changeable;
    assert.equal(flagsAfter(before, value, width), (before & ~mask) | (value & mask) | 2, `${before} ${value}`);
  }
  const code = asm()
    .put(CLI, 0x68, dword(0x246), 0x9d)
    .label('after')
    .put(0x43, 0x43, HLT)
    .label('handler')
    .put(0x8b, 0x2c, 0x24, 0xcf); // mov ebp, [esp]; iret
  loadCode(vm, code.finish());
  giveIdt(vm, { 33: code.addressOf('handler') });
  fields.set32('halted', 0);
  fields.set32('csSelector', 8);
  fields.set64('rsp', 0x8000n);
  fields.set64('rbx', 0n);
  vm.vcpu(0).enter(1);
  vm.vcpu(0).interrupt(0x21);
  assert.equal(vm.vcpu(0).enter(100).kind, 'halt');
  assert.equal(fields.get64('rbp'), code.addressOf('after'));
});
