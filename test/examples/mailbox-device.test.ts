/** A guest uses the mailbox: it waits for its interrupt and takes the sum. */
import assert from 'node:assert/strict';
import { Assembler, at, dword } from '../engines/assembler.ts';
import { guest, origin, testEngines } from '../vm/vm-harness.ts';
import { Mailbox } from './mailbox-device.ts';

const base = 0xe000_0000;
const store = (offset: number, value: number) => [0xc7, 0x05, ...dword(base + offset), ...dword(value)];

testEngines('a device of ones own: registers, DMA, an interrupt', (engine) => {
  const code = new Assembler(BigInt(origin))
    .put(0x0f, 0x01, 0x1d, at('idt')) // lidt [idt]
    .put(store(0, 0x2000), store(4, 3), store(8, 1), 0xfb, 0xf4) // three numbers at 2000h; sti; hlt
    .put(0xa1, dword(base + 8), store(8, 0), 0xfa, 0xf4) // mov eax, [sum]; taken back; cli; hlt
    .label('handler')
    .put(0x43, store(8, 0), 0xcf) // inc ebx; taken back; iret
    .label('idt')
    .put([0xff, 7], dword(0x3000));
  const vm = guest(engine, code.finish());
  const vcpu = vm.vcpu(0);
  const device = new Mailbox(vm, {
    set: (high) => {
      if (high) vcpu.interrupt(0x30);
    },
  });
  vm.io.attach({ space: 'memory', address: base, length: 12 }, device);
  const numbers = new Uint8Array(Uint32Array.of(100, 20, 0xffff_ffff).buffer);
  vm.memory.write(0x2000, numbers);
  const gate = new Uint8Array(8);
  new DataView(gate.buffer).setUint32(
    0,
    (vcpu.fields.get32('csSelector') << 16) | Number(code.addressOf('handler')),
    true,
  );
  new DataView(gate.buffer).setUint32(4, 0x8e00, true);
  vm.memory.write(0x3000 + 0x30 * 8, gate);
  const exit = vcpu.enter();
  assert.equal(exit.kind, 'halt');
  assert.equal(exit.kind === 'halt' && exit.interruptible, false, 'it went on after its interrupt');
  assert.deepEqual([vcpu.fields.get32('rax'), vcpu.fields.get32('rbx')], [119, 1]);
});
