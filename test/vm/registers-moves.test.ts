/**
 * State that is read in one VM and set in another: whatever the guest is in the middle of, it goes on as if nothing had been.
 * And setting what was read changes nothing, in every mode.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { codeStart, Guest, guestModes } from '../../runtime/lockstep/guest.ts';
import { guestKinds } from '../../runtime/lockstep/program-fuzzer.ts';
import { randomNumbers } from '../../runtime/lockstep/random-numbers.ts';
import { assemble, dataOf, ProgramMaker } from '../../runtime/lockstep/random-program.ts';
import type { Vm } from '../../runtime/vm/vm.ts';
import { Assembler, dword, qword, to } from '../engines/assembler.ts';
import { vmModules } from '../engines/modules.ts';
import { emptyVm, guest, hashOf, loadCode, origin, testEngines } from './vm-harness.ts';

const asm = () => new Assembler(BigInt(origin));
const HLT = 0xf4;
const get = (vm: Vm, name: string) => vm.vcpu(0).state.get(vm.vcpu(0).state.idOf(name));
const put = (vm: Vm, values: Record<string, bigint>) => {
  const { state } = vm.vcpu(0);
  state.set(Object.entries(values).map(([name, value]) => [state.idOf(name), value]));
};

/** Setting what was read is the identity. */
function sameAgain(vm: Vm): void {
  const { state } = vm.vcpu(0);
  const before = hashOf(vm);
  const read = state.get();
  state.set(read);
  assert.equal(hashOf(vm), before);
  assert.deepEqual(state.get(), read);
}

/** Memory and registers of vCPU 0 to another VM of the same kind. */
function move(from: Vm, into: Vm): void {
  into.physical.writeBytes(0, from.ram);
  into.vcpu(0).state.set(from.vcpu(0).state.get());
  assert.deepEqual(into.vcpu(0).state.get(), from.vcpu(0).state.get());
  assert.equal(hashOf(into), hashOf(from));
}

for (const mode of guestModes)
  test(`row 5: a random guest moves between interpreter and translation every few instructions: ${mode}`, () => {
    const random = randomNumbers(0x5eed);
    const kinds = guestKinds(mode);
    let translated = 0;
    // Many programs end at their first instructions.
    for (let round = 0; round < 12 || (translated < 200 && round < 60); round++) {
      const kind = kinds[round % kinds.length]!;
      const stays = new Guest(kind, 'never', vmModules());
      const moves = [new Guest(kind, 'never', vmModules()), new Guest(kind, 'first', vmModules())];
      const program = new ProgramMaker(random).make(kind, stays.pageEntries);
      const assembled = assemble(program);
      for (const g of [stays, moves[0]!]) {
        g.write('code', program.start, assembled.code);
        g.write('data', 0, dataOf(program, assembled));
        const { state } = g.vcpu;
        const { xmm, upperHalves, x87 } = program;
        const wide = (bytes: Uint8Array, at: number, length: number) =>
          bytes.slice(at, at + length).reduceRight((value, byte) => (value << 8n) | BigInt(byte), 0n);
        state.set([
          [state.idOf('rip'), BigInt.asUintN(64, codeStart(kind) + BigInt(program.start))],
          [state.idOf('rflags'), (state.get(state.idOf('rflags')) & ~0x8d5n) | BigInt(program.flags & 0x8d5)],
          [state.idOf('mxcsr'), BigInt(program.mxcsr)],
          ...(['fcw', 'fsw', 'ftw'] as const).map((name) => [state.idOf(name), BigInt(x87[name])] as const),
          ...Array.from(program.registers, (value, i) => [0x1_0000 + i, value] as const),
          ...Array.from({ length: 16 }, (_, i) => [0x9_0000 + i, wide(xmm, i * 16, 16)] as const),
          ...Array.from({ length: 16 }, (_, i) => [0x9_0010 + i, wide(upperHalves, i * 16, 16)] as const),
          ...Array.from({ length: 8 }, (_, i) => [0x8_0008 + i, wide(x87.registers, i * 16, 10)] as const),
        ]);
      }
      let now = 0;
      translated -= moves[1]!.vcpu.engine.translated;
      let ended = false;
      for (let done = 0; done < 400 && !ended; ) {
        const step = 1 + random(40);
        ended = stays.run(step);
        assert.equal(moves[now]!.run(step), ended);
        done += step;
        assert.equal(hashOf(moves[now]!.vm), hashOf(stays.vm), `round ${round}, after ${done}`);
        sameAgain(moves[now]!.vm);
        move(moves[now]!.vm, moves[1 - now]!.vm);
        now = 1 - now;
      }
      translated += moves[1]!.vcpu.engine.translated;
    }
    assert.ok(translated > 100, `${translated} instructions were translated`);
  });

/** A real-mode guest with an interrupt table; vector 20H stops at 1800H, where it halts with everything as it was. */
function real(engine: Parameters<typeof guest>[0], code: Uint8Array, options = {}): Vm {
  const vm = guest(engine, code, { mode: 'real', ...options });
  vm.physical.writeBytes(0x1800, Uint8Array.of(HLT));
  for (const vector of [1, 6, 0x20]) vm.physical.writeBytes(vector * 4, Uint8Array.of(0x00, 0x18, 0, 0));
  put(vm, { rsp: 0x7000n });
  return vm;
}

testEngines('row 5: in the shadow of STI or MOV SS the interrupt comes exactly one instruction later', (engine) => {
  for (const [shadow, bytes] of [
    [1n, [0xfb]], // sti
    [2n, [0x8e, 0xd0]], // mov ss, ax
  ] as const) {
    // (cli or sti); the instruction; inc bx; inc cx; hlt
    const code = asm()
      .put(shadow === 2n ? 0xfb : 0xfa, ...bytes, 0x43, 0x41, HLT)
      .finish();
    for (const moved of [false, true]) {
      let vm = real(engine, code);
      vm.vcpu(0).enter(2);
      vm.vcpu(0).interrupt(0x20);
      assert.equal(get(vm, 'interruptShadow'), shadow);
      assert.equal(get(vm, 'pendingExternal'), 0x120n);
      sameAgain(vm);
      if (moved) {
        const other = emptyVm(engine);
        move(vm, other);
        vm = other;
      }
      assert.equal(vm.vcpu(0).enter(10).kind, 'halt');
      assert.deepEqual([get(vm, 'rbx'), get(vm, 'rcx'), get(vm, 'rip')], [1n, 0n, 0x1801n], `moved ${moved}`);
    }
  }
});

testEngines('row 5: a shadow, a halt and a pending interrupt can be set where there were none', (engine) => {
  const vm = real(engine, asm().put(0x43, 0x41, HLT).finish()); // inc bx; inc cx; hlt
  put(vm, { interruptShadow: 1n, rflags: 0x202n, pendingExternal: 0x120n });
  assert.equal(vm.vcpu(0).enter(10).kind, 'halt');
  assert.deepEqual([get(vm, 'rbx'), get(vm, 'rcx'), get(vm, 'rip')], [1n, 0n, 0x1801n]);
  loadCode(vm, asm().put(0x43, HLT).finish(), 'real');
  put(vm, { halted: 1n, rbx: 0n });
  assert.equal(vm.vcpu(0).enter(10).kind, 'halt');
  assert.equal(get(vm, 'rbx'), 0n);
  sameAgain(vm);
  put(vm, { halted: 0n });
  assert.equal(vm.vcpu(0).enter(10).kind, 'halt');
  assert.equal(get(vm, 'rbx'), 1n);
});

testEngines('row 5: in the middle of a repeated string instruction, and in a halt', (engine) => {
  // rep stosb of 1000 bytes; hlt
  const code = asm().put(0xb9, 0xe8, 0x03, 0xb0, 0x5a, 0xbf, 0x00, 0x40, 0xf3, 0xaa, HLT).finish();
  const reference = real(engine, code);
  assert.equal(reference.vcpu(0).enter(5000).kind, 'halt');
  let vm = real(engine, code);
  let other = emptyVm(engine);
  for (let i = 0; i < 5000 && get(vm, 'halted') === 0n; i++) {
    vm.vcpu(0).enter(37);
    sameAgain(vm);
    move(vm, other);
    [vm, other] = [other, vm];
  }
  assert.equal(hashOf(vm), hashOf(reference));
  // An interrupt ends the halt.
  put(vm, { rflags: get(vm, 'rflags') | 0x200n, pendingExternal: 0x120n });
  vm.vcpu(0).enter(10);
  assert.equal(get(vm, 'rip'), 0x1801n);
});

testEngines('row 5: in system-management mode, with an NMI and an SMI that wait', (engine) => {
  const code = asm().label('top').put(0x43, 0xeb, to('top', 1)).finish(); // inc bx; jmp top
  const handler = Uint8Array.of(0xff, 0x06, 0x00, 0x50, 0x90, 0x0f, 0xaa); // inc word [5000h]; nop; rsm
  const prepared = () => {
    const vm = real(engine, code);
    vm.physical.writeBytes(0x3_8000, handler);
    vm.physical.writeBytes(2 * 4, Uint8Array.of(0x00, 0x18, 0, 0));
    vm.vcpu(0).enter(10);
    vm.vcpu(0).smi();
    vm.vcpu(0).enter(1);
    vm.vcpu(0).nmi();
    vm.vcpu(0).smi();
    return vm;
  };
  const reference = prepared();
  reference.vcpu(0).enter(20);
  const vm = prepared();
  assert.deepEqual(
    ['smm', 'nmiBlocked', 'pendingNmi', 'pendingSmi'].map((name) => get(vm, name)),
    [1n, 1n, 1n, 1n],
  );
  sameAgain(vm);
  const other = emptyVm(engine);
  move(vm, other);
  other.vcpu(0).enter(20);
  assert.equal(hashOf(other), hashOf(reference));
  assert.equal(other.ram[0x5000], 2, 'both SMIs were handled');
  assert.equal(get(other, 'rip'), 0x1801n, 'and then the NMI');
});

testEngines('row 5: whatever RSM finds in SMRAM, what it makes of it can be moved', (engine) => {
  const random = randomNumbers(0xbad);
  const other = emptyVm(engine);
  const vm = real(engine, Uint8Array.of(HLT));
  const first = vm.vcpu(0).state.get();
  vm.physical.writeBytes(0x3_8000, Uint8Array.of(0x90, 0x90, 0x0f, 0xaa)); // nop; nop; rsm
  for (let round = 0; round < 40; round++) {
    vm.vcpu(0).state.set(first);
    // In half of the rounds it comes from IA-32e mode.
    if ((round & 1) !== 0) put(vm, { cr0: 0x8000_0011n, cr4: 0x20n, efer: 0x500n, cr3: 0x8000n });
    vm.vcpu(0).smi();
    vm.vcpu(0).enter(2);
    assert.deepEqual([get(vm, 'smm'), get(vm, 'rip')], [1n, 0x8002n]);
    sameAgain(vm);
    // Noise: segments and tables; CR3; debug registers, RFLAGS and RIP.
    for (const [start, end] of [
      [0x7e00, 0x7ea0],
      [0x7f50, 0x7f58],
      [0x7f60, 0x7f80],
    ] as const)
      vm.physical.writeBytes(
        0x3_8000 + start,
        Uint8Array.from({ length: end - start }, () => random(256)),
      );
    vm.vcpu(0).cpu.runHelper('rsm', 0x8004);
    assert.deepEqual([get(vm, 'smm'), get(vm, 'shutdown')], [0n, 0n]);
    sameAgain(vm);
    move(vm, other);
  }
});

testEngines('row 5: debug registers that are set take effect, and RF is kept', (engine) => {
  const vm = real(engine, asm().put(0x43, 0x43, 0x43, 0x43, HLT).finish());
  put(vm, { dr0: 0x1002n, dr7: 0x402n });
  assert.equal(vm.vcpu(0).enter(10).kind, 'halt');
  assert.deepEqual([get(vm, 'rbx'), get(vm, 'rip'), get(vm, 'dr6') & 15n], [2n, 0x1801n, 1n]);
  // With RF the instruction is executed.
  put(vm, { halted: 0n, rip: 0x1002n, rflags: 0x1_0002n });
  assert.equal(get(vm, 'rflags'), 0x1_0002n);
  sameAgain(vm);
  assert.equal(vm.vcpu(0).enter(10).kind, 'halt');
  assert.deepEqual([get(vm, 'rbx'), get(vm, 'rip')], [4n, 0x1005n]);
  // Cleared: none.
  put(vm, { halted: 0n, rip: 0x1000n, dr7: 0x400n });
  vm.vcpu(0).enter(10);
  assert.deepEqual([get(vm, 'rbx'), get(vm, 'rip')], [8n, 0x1005n]);
});

testEngines('row 5: an exception that the embedder sets is delivered first, with its error code', (engine) => {
  const kind = guestKinds('64')[0]!;
  const g = new Guest(kind, engine === 'interpreter' ? 'never' : 'first', vmModules());
  const { vm } = g;
  g.write('code', 0, Uint8Array.of(0x48, 0xff, 0xc3, HLT)); // inc rbx; hlt
  put(vm, {
    rip: codeStart(kind),
    rbx: 0n,
    pendingException: 0x8000_0b0en,
    pendingErrorCode: 0x15n,
    cr2: 0xdead_b000n,
  });
  sameAgain(vm);
  vm.vcpu(0).enter(10);
  assert.deepEqual([get(vm, 'rbx'), get(vm, 'cr2'), get(vm, 'pendingException')], [0n, 0xdead_b000n, 0n]);
  // The handler halts; the frame begins with the error code.
  const frame = new DataView(vm.ram.buffer, vm.ram.byteOffset);
  const physical = vm
    .vcpu(0)
    .mmu.peekPage(Number(get(vm, 'rsp') & 0xffff_ffffn), Number(BigInt.asIntN(64, get(vm, 'rsp')) >> 32n));
  const at = physical + Number(get(vm, 'rsp') & 0xfffn);
  assert.equal(frame.getBigUint64(at, true), 0x15n);
  assert.equal(frame.getBigUint64(at + 8, true), BigInt.asUintN(64, codeStart(kind)));
});

testEngines('row 5: one call goes from real mode to 64-bit mode with paging, and back', (engine) => {
  const vm = real(engine, asm().put(0x43, HLT).finish());
  const back = vm.vcpu(0).state.get();
  // Tables at 8000H: 2 MiB at linear 40000000H are physical 0.
  vm.physical.writeBytes(0x8000, Uint8Array.from(qword(0x9003n)));
  vm.physical.writeBytes(0x9008, Uint8Array.from(qword(0xa003n)));
  vm.physical.writeBytes(0xa000, Uint8Array.from(qword(0x83n)));
  vm.physical.writeBytes(0x1100, Uint8Array.of(0x49, 0xff, 0xc7, 0x48, 0x8b, 0x1e, HLT)); // inc r15; mov rbx, [rsi]; hlt
  vm.physical.writeBytes(0x5000, Uint8Array.from(qword(0x1122_3344_5566_7788n)));
  put(vm, {
    ...{ cr0: 0x8000_0011n, cr3: 0x8000n, cr4: 0x20n, efer: 0x500n, csAccess: 0x1_a09bn, csLimit: 0xffff_ffffn },
    ...{ rip: 0x4000_1100n, rsi: 0x4000_5000n, r15: 0xffff_ffffn },
  });
  assert.equal(vm.vcpu(0).enter(10).kind, 'halt');
  assert.deepEqual([get(vm, 'r15'), get(vm, 'rbx')], [0x1_0000_0000n, 0x1122_3344_5566_7788n]);
  vm.vcpu(0).state.set(back);
  assert.equal(vm.vcpu(0).enter(10).kind, 'halt');
  assert.equal(get(vm, 'rip'), 0x1002n);
});

testEngines('row 5: the A20 gate moves with the processor', (engine) => {
  // mov ax, -1; mov ds, ax; mov al, [10h]; hlt: linear 100000H, or 0
  const code = asm().put(0xb8, 0xff, 0xff, 0x8e, 0xd8, 0xa0, 0x10, 0x00, HLT).finish();
  for (const open of [0n, 1n]) {
    const vm = real(engine, code);
    vm.physical.writeBytes(0x10_0000, Uint8Array.of(0xab));
    vm.physical.writeBytes(0, Uint8Array.of(0xcd));
    put(vm, { a20: open });
    const other = emptyVm(engine);
    move(vm, other);
    other.vcpu(0).enter(10);
    assert.equal(get(other, 'rax') & 0xffn, open === 1n ? 0xabn : 0xcdn);
  }
});

testEngines('row 5: page tables that were written from outside hold once a control register is named', (engine) => {
  // mov rbx, [rsi]; inc rcx; jmp to itself
  const code = asm().label('top').put(0x48, 0x8b, 0x1e, 0x48, 0xff, 0xc1, 0xeb, to('top', 1)).finish();
  const vm = guest(engine, code, { mode: 'long' });
  const table = Number(get(vm, 'cr3'));
  const entry = (at: number) =>
    Number(new DataView(vm.ram.buffer, vm.ram.byteOffset).getBigUint64(at, true) & 0xf_f000n);
  const large = entry(entry(table)); // 2 MiB pages from 0 on
  put(vm, { rsi: 0x20_5000n });
  vm.physical.writeBytes(0x20_5000, Uint8Array.from(qword(1n)));
  vm.physical.writeBytes(0x5000, Uint8Array.from(qword(2n)));
  vm.vcpu(0).enter(300);
  assert.equal(get(vm, 'rbx'), 1n);
  vm.physical.writeBytes(large + 8, Uint8Array.from(qword(0x83n)));
  put(vm, { cr3: BigInt(table) });
  vm.vcpu(0).enter(300);
  assert.equal(get(vm, 'rbx'), 2n);
});

testEngines('row 5: while the guest runs its registers can be neither read nor set', (engine) => {
  const codes: unknown[] = [];
  const attempt = (what: () => void) => {
    try {
      what();
    } catch (error) {
      codes.push((error as { code: unknown }).code);
    }
  };
  const vm = guest(engine, asm().put(0xe6, 0x10, HLT).finish(), {
    ports: {
      read: () => 0,
      write: () => {
        attempt(() => put(vm, { rax: 1n }));
        attempt(() => get(vm, 'rax'));
      },
    },
  });
  vm.vcpu(0).enter();
  assert.deepEqual(codes, ['already-entered', 'already-entered']);
  assert.equal(get(vm, 'rax'), 0n);
});

test("row 5: KVM's clock follows an offset of the counter that is set alone, and stays as it is in a whole state", () => {
  const clocked = () => {
    const vm = real('interpreter', Uint8Array.of(HLT), { clock: 'virtual', paravirt: 'kvm' });
    put(vm, { kvmSystemTime: 0x6001n });
    return vm;
  };
  const counter = (vm: Vm) => new DataView(vm.ram.buffer, vm.ram.byteOffset).getBigUint64(0x6008, true);
  const vm = clocked();
  put(vm, { tscOffset: 5000n });
  assert.equal(counter(vm), 5000n);
  const other = clocked();
  move(vm, other);
  assert.equal(counter(other), 5000n);
  put(other, { tscOffset: 7000n });
  assert.equal(counter(other), 7000n);
});

testEngines('row 5: between two elements of a repetition, where a trap waits, too', (engine) => {
  // rep outsb of 10 bytes to port 10H, which has an I/O breakpoint and a device that stops the processor at the third.
  const code = asm().put(0xba, dword(0x10), 0xb9, dword(10), 0xbe, dword(0x2000), 0xf3, 0x6e, HLT).finish();
  const prepared = () => {
    let writes = 0;
    const ports = {
      read: () => 0,
      write: () => {
        if (++writes === 3) vm.vcpu(0).kick();
      },
    };
    const vm: Vm = guest(engine, code, { ports });
    // Flat code and data, and an interrupt gate for #DB whose handler halts.
    vm.physical.writeBytes(
      0x3008,
      Uint8Array.of(0xff, 0xff, 0, 0, 0, 0x9b, 0xcf, 0, 0xff, 0xff, 0, 0, 0, 0x93, 0xcf, 0),
    );
    vm.physical.writeBytes(0x4008, Uint8Array.of(0x00, 0x18, 0x08, 0, 0, 0x8e, 0, 0));
    vm.physical.writeBytes(0x1800, Uint8Array.of(HLT));
    put(vm, { gdtrBase: 0x3000n, gdtrLimit: 23n, idtrBase: 0x4000n, idtrLimit: 15n, csSelector: 8n, rsp: 0x7000n });
    return vm;
  };
  for (const moved of [false, true]) {
    let vm = prepared();
    assert.equal(vm.vcpu(0).enter(3).kind, 'budget');
    // From here on the breakpoint holds; the device stops the processor in the instruction.
    assert.equal(vm.vcpu(0).enter().kind, 'kicked');
    put(vm, { cr4: get(vm, 'cr4') | 8n, dr0: 0x10n, dr7: 0x2_0402n });
    assert.equal(get(vm, 'insideRepeat'), 1n);
    put(vm, { pendingDebug: 1n });
    if (moved) {
      const other = prepared();
      move(vm, other);
      vm = other;
    }
    assert.equal(get(vm, 'insideRepeat'), 1n);
    assert.equal(vm.vcpu(0).enter(10).kind, 'halt');
    const frame = new DataView(vm.ram.buffer, vm.ram.byteOffset + Number(get(vm, 'rsp')));
    assert.equal(frame.getUint32(0, true), origin + 15, 'the instruction itself');
    assert.equal(frame.getUint32(8, true) & 0x1_0000, 0x1_0000, `RF, moved ${moved}`);
    // Elsewhere than there no repetition is interrupted.
    put(vm, { rip: BigInt(origin), halted: 0n, pendingDebug: 1n });
    assert.equal(get(vm, 'insideRepeat'), 0n);
    vm.vcpu(0).enter(10);
    const second = new DataView(vm.ram.buffer, vm.ram.byteOffset + Number(get(vm, 'rsp')));
    assert.equal(second.getUint32(8, true) & 0x1_0000, 0);
  }
});

testEngines('row 5: a processor that waits to be started, and events on their way to it', (engine) => {
  const options = { cpus: 2, clock: 'virtual', lapic: 'visible', memory: 0x10000 } as const;
  const code = asm().put(HLT).finish();
  const started = Uint8Array.of(0x43, 0x43, HLT); // inc bx; inc bx; hlt
  for (const events of ['none', 'start-up', 'init and start-up'] as const) {
    const [vm, other] = [real(engine, code, options), real(engine, code, options)];
    for (const { physical } of [vm, other]) physical.writeBytes(0x8000, started);
    const [source, target] = [vm.vcpu(1), other.vcpu(1)];
    const id = (name: string) => source.state.idOf(name);
    assert.equal(source.state.get(id('waitsForStartUp')), 1n);
    source.state.set([[id('rbx'), 5n]]);
    if (events === 'init and start-up') source.init();
    if (events !== 'none') source.startUp(8);
    const read = source.state.get();
    source.state.set(read);
    target.state.set(read);
    assert.deepEqual(target.state.get(), read);
    assert.equal(target.state.get(id('pendingStartUp')), events === 'none' ? 0n : 0x108n);
    assert.equal(target.runnable, events !== 'none');
    assert.equal(target.enter(10).kind, 'halt');
    assert.equal(target.state.get(id('waitsForStartUp')), events === 'none' ? 1n : 0n);
    if (events === 'none') {
      target.startUp(8);
      target.enter(10);
    }
    assert.equal(target.state.get(id('rip')), 3n);
    assert.equal(target.state.get(id('rbx')), events === 'init and start-up' ? 2n : 7n);
    // Put back to waiting, it waits.
    target.state.set([
      [id('waitsForStartUp'), 1n],
      [id('halted'), 0n],
      [id('rip'), 0n],
    ]);
    target.enter(10);
    assert.equal(target.state.get(id('rip')), 0n);
  }
});
