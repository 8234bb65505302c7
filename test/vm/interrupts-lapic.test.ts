/** Row 9: a processor on the 8259s alone, its APIC hidden, and one in x2APIC mode on I/O APIC and messages alone. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ioApicPins } from '../../runtime/devices/io-apic.ts';
import { Pit8254 } from '../../runtime/devices/pit-8254.ts';
import { ioApicOn, picPairOn } from '../../runtime/interrupts/controllers.ts';
import { pcRoutes, picPins } from '../../runtime/interrupts/pc-routes.ts';
import { Assembler, dword, to } from '../engines/assembler.ts';
import { out, rdmsr, store, wrmsr } from '../engines/system-code.ts';
import { copy, count, counterAt, engines, Guest, handler, hlt, loadIdt, registers, sti } from './interrupts-harness.ts';

/** ICW1-4 for vectors 20H and 28H, everything masked but what is named. */
const initialisePic = (mask: number, mask2 = 0xff) => [
  ...out(0x20, 0x11),
  ...out(0x21, 0x20),
  ...out(0x21, 4),
  ...out(0x21, 1),
  ...out(0xa0, 0x11),
  ...out(0xa1, 0x28),
  ...out(0xa1, 2),
  ...out(0xa1, 1),
  ...out(0x21, mask),
  ...out(0xa1, mask2),
];
const endPic = out(0x20, 0x20);

for (const engine of engines) {
  test(`row 9: a 486 runs on 8259s and interval timer alone, NMI at LINT1 (${engine})`, async () => {
    const code = new Assembler(0x1000n)
      .put(loadIdt, rdmsr(0x1b)) // #UD: a 486 has no MSRs
      .put(copy(0xfee0_0030, counterAt(10)), store(0xfee0_00f0, 0x1ff)) // nothing is there
      .put(initialisePic(0xfa, 0xef)) // inputs 0, 2 and 12
      .put(out(0x43, 0x34), out(0x40, 0xa9), out(0x40, 0x04)) // 1 ms
      .put(sti)
      .label('sleep')
      .put(hlt, 0xeb, to('sleep', 1))
      .label('tick')
      .put(handler(0, endPic))
      .label('mouse')
      .put(handler(1, [...out(0xa0, 0x20), ...endPic]))
      .label('nmi')
      .put(count(2), 0xcf)
      .label('ud')
      .put(count(3), 0x83, 0x04, 0x24, 2, 0xcf); // add dword [esp], 2
    const guest = new Guest(engine, {
      code,
      model: '486',
      lapic: 'hidden',
      vectors: { 2: 'nmi', 6: 'ud', 32: 'tick', 44: 'mouse' },
    });
    const { vm, clock } = guest;
    assert.equal(vm.vcpu(0).apic, null);
    const pic = picPairOn(vm.irq.attach('pic', picPins));
    vm.routes.replace(pcRoutes({ ioApic: null }));
    const pit = new Pit8254(clock, vm.irq.line(0));
    guest.devices.push(
      registers('pio', 0x20, 2, pic.first),
      registers('pio', 0xa0, 2, pic.second),
      registers('pio', 0x40, 4, pit),
    );
    await guest.run(1_000_000, () => guest.runs(0) === 5);
    assert.equal(guest.runs(0), 5);
    // The first one is the rise of the counter's output when its mode is set.
    assert.ok(clock.now() > 3.9e6 && clock.now() < 4.2e6, `five ticks of 1 ms in ${clock.now()} ns`);
    assert.equal(guest.runs(3), 1, 'RDMSR is #UD');
    assert.equal(guest.word(counterAt(10)), 0xffff_ffff, 'no APIC in memory');
    vm.irq.set(12, true);
    vm.irq.set(12, false); // an edge that is gone would be spurious: the level must stay
    vm.irq.set(12, true);
    await guest.run(100_000, () => guest.runs(1) === 1);
    assert.equal(guest.runs(1), 1);
    vm.vcpu(0).lint1(true);
    vm.vcpu(0).lint1(true);
    vm.vcpu(0).lint1(false);
    await guest.run(100_000, () => guest.runs(2) === 1);
    await guest.run(10_000);
    assert.equal(guest.runs(2), 1, 'one NMI for one rise of LINT1');
  });

  test(`row 9: a hidden APIC is in no CPUID bit and no MSR; LINT0 takes ExtINT, the embedder acknowledges (${engine})`, async () => {
    const code = new Assembler(0x1000n)
      .put(loadIdt, 0xb8, dword(1), 0x0f, 0xa2) // cpuid leaf 1
      .put(0x89, 0x15, dword(counterAt(10)), 0x89, 0x0d, dword(counterAt(11)))
      .put(rdmsr(0x1b), rdmsr(0x6e0), rdmsr(0x802), rdmsr(0x830), wrmsr(0x1b, 0xfee0_0900))
      .put(sti)
      .label('sleep')
      .put(hlt, 0xeb, to('sleep', 1))
      .label('gp')
      .put(count(0), 0x83, 0xc4, 4, 0x83, 0x04, 0x24, 2, 0xcf) // add esp, 4; add dword [esp], 2
      .label('ext')
      .put(handler(1, []));
    const guest = new Guest(engine, { code, lapic: 'hidden', vectors: { 13: 'gp', 119: 'ext' } });
    const vcpu = guest.vm.vcpu(0);
    assert.equal(await guest.run(10_000), 'halt');
    assert.equal(guest.runs(0), 5, 'five #GP');
    assert.equal(guest.word(counterAt(10)) & (1 << 9), 0, 'CPUID.1:EDX.APIC');
    assert.equal(guest.word(counterAt(11)) & ((1 << 21) | (1 << 24)), 0, 'CPUID.1:ECX x2APIC and TSC-deadline');
    let asked = 0;
    const acknowledge = () => {
      asked++;
      vcpu.lint0(false);
      return 0x77;
    };
    for (let i = 1; i <= 3; i++) {
      vcpu.lint0(true, acknowledge);
      assert.equal(await guest.run(10_000), 'halt');
      assert.deepEqual([asked, guest.runs(1)], [i, i]);
    }
  });

  test(`an NMI comes neither between STI and the next instruction nor behind a load of SS (${engine})`, async () => {
    const code = new Assembler(0x1000n)
      .put(loadIdt, 0x8c, 0xd0, sti, 0x90) // mov eax, ss; sti; nop
      .label('behind sti')
      .put(0x90, 0x8e, 0xd0, 0x90) // nop; mov ss, eax; nop
      .label('behind ss')
      .put(0x90, hlt)
      .label('nmi')
      .put(count(2), 0x8b, 0x04, 0x24, 0xa3, dword(counterAt(10)), 0xb8, dword(0x10), 0xcf); // mov eax, [esp]; mov [n], eax; mov eax, 10h; iret
    const guest = new Guest(engine, { code, vectors: { 2: 'nmi' } });
    const vcpu = guest.vm.vcpu(0);
    const pc = () => Number(vcpu.fields.get64('rip'));
    vcpu.enter(3);
    for (const label of ['behind sti', 'behind ss']) {
      vcpu.nmi();
      vcpu.enter(6); // an instruction and the handler
      assert.equal(guest.word(counterAt(10)), 0x1000 + code.offsetOf(label), label);
      assert.equal(pc(), 0x1000 + code.offsetOf(label));
      vcpu.enter(2);
    }
    assert.equal(guest.runs(2), 2);
  });

  test(`IA32_APIC_BASE: no way from disabled to x2APIC mode, nor from there to xAPIC mode; a disabled APIC is in no CPUID bit (${engine})`, async () => {
    const cpuid = [0xb8, ...dword(1), 0x0f, 0xa2];
    const code = new Assembler(0x1000n)
      .put(loadIdt)
      .put(wrmsr(0x1b, 0xfee0_0500)) // #GP: x2APIC mode of a disabled APIC
      .put(wrmsr(0x1b, 0xfee0_0100), cpuid, 0x89, 0x15, dword(counterAt(10)))
      .put(wrmsr(0x1b, 0xfee0_0d00)) // #GP: disabled
      .put(wrmsr(0x1b, 0xfee0_0900), cpuid, 0x89, 0x15, dword(counterAt(11)))
      .put(wrmsr(0x1b, 0xfee0_0d00), rdmsr(0x802))
      .put(wrmsr(0x1b, 0xfee0_0900)) // #GP: in x2APIC mode
      .put(wrmsr(0x1b, 0xfee0_0d01)) // #GP: a reserved bit
      .put(wrmsr(0x1b, 0xfee0_0100), wrmsr(0x1b, 0xfee0_0900))
      .put(count(1), hlt)
      .label('gp')
      .put(count(0), 0x83, 0xc4, 4, 0x83, 0x04, 0x24, 2, 0xcf); // add esp, 4; add dword [esp], 2
    const guest = new Guest(engine, { code, vectors: { 13: 'gp' } });
    assert.equal(await guest.run(10_000), 'halt');
    assert.deepEqual([guest.runs(0), guest.runs(1)], [4, 1], 'four #GP');
    assert.equal(guest.word(counterAt(10)) & (1 << 9), 0, 'CPUID.1:EDX.APIC of a disabled one');
    assert.notEqual(guest.word(counterAt(11)) & (1 << 9), 0, 'CPUID.1:EDX.APIC');
  });

  test(`row 9: an x2APIC guest on I/O APIC and messages alone, with a TSC deadline (${engine})`, async () => {
    const redirection = (pin: number, low: number, high = 0) => [
      ...store(0xfec0_0000, 0x11 + pin * 2),
      ...store(0xfec0_0010, high),
      ...store(0xfec0_0000, 0x10 + pin * 2),
      ...store(0xfec0_0010, low),
    ];
    const end = wrmsr(0x80b, 0);
    const code = new Assembler(0x1000n)
      .put(loadIdt, wrmsr(0x1b, 0xfee0_0d00), wrmsr(0x80f, 0x1ff))
      .put(redirection(4, 0x31), redirection(9, 0x8032))
      .put(wrmsr(0x832, 0x4_0033)) // TSC deadline
      .put(0x0f, 0x31, 0x05, dword(100_000), 0x83, 0xd2, 0, 0xb9, dword(0x6e0), 0x0f, 0x30) // in 100 us
      .put(sti)
      .label('sleep')
      .put(hlt, 0xeb, to('sleep', 1))
      .label('edge')
      .put(handler(0, end))
      .label('level')
      .put(handler(1, [...store(0xfed0_0000, 0), ...end])) // the device's register lowers its line
      .label('timer')
      .put(handler(2, end))
      .label('message')
      .put(handler(3, end));
    const guest = new Guest(engine, {
      code,
      lapic: 'visible',
      vectors: { 49: 'edge', 50: 'level', 51: 'timer', 52: 'message' },
    });
    const { vm } = guest;
    const ioApic = ioApicOn(vm.irq.attach('io-apic', ioApicPins));
    vm.routes.replace([4, 9].map((gsi) => ({ gsi, controller: 'io-apic', pin: gsi })));
    guest.devices.push(registers('mmio', 0xfec0_0000, 0x1000, ioApic), {
      space: 'mmio',
      base: 0xfed0_0000,
      length: 4,
      read: () => 0,
      write: () => vm.irq.set(9, false),
    });
    assert.equal(await guest.run(1_000_000), 'halt');
    assert.equal(guest.runs(2), 1, 'TSC deadline');
    for (let i = 1; i <= 10; i++) {
      vm.irq.set(4, true);
      vm.irq.set(4, false);
      vm.irq.set(9, true);
      assert.equal(vm.msi(0xfee0_0000, 0x34), 'sent');
      assert.equal(vm.msi(0xfee0_0000n, 0x34), 'merged');
      assert.equal(await guest.run(1_000_000), 'halt');
      assert.deepEqual([guest.runs(0), guest.runs(1), guest.runs(3)], [i, i, i]);
    }
  });
}

test('row 9: what cannot be had is refused', () => {
  const code = () => new Assembler(0x1000n).put(hlt);
  for (const lapic of ['maybe', null] as unknown as 'hidden'[])
    assert.throws(() => new Guest('interpreter', { code: code(), vectors: {}, lapic }), { code: 'bad-option' });
});
