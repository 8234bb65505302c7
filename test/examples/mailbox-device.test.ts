/** A guest uses the mailbox: it waits for its interrupt and takes the sum. */
import assert from 'node:assert/strict';
import { Assembler, dword } from '../engines/assembler.ts';
import { giveIdt, store as storeAt } from '../engines/system-code.ts';
import { guest, origin, testEngines } from '../vm/vm-harness.ts';
import { Mailbox } from './mailbox-device.ts';

const base = 0xe000_0000;
const store = (offset: number, value: number) => storeAt(base + offset, value);

testEngines('a device of ones own: registers, DMA, an interrupt', (engine) => {
  const code = new Assembler(BigInt(origin))
    .put(store(0, 0x2000), store(4, 3), store(8, 1), 0xfb, 0xf4) // three numbers at 2000h; sti; hlt
    .put(0xa1, dword(base + 8), store(8, 0), 0xfa, 0xf4) // mov eax, [sum]; taken back; cli; hlt
    .label('handler')
    .put(0x43, store(8, 0), 0xcf); // inc ebx; taken back; iret
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
  giveIdt(vm, { 48: code.addressOf('handler') });
  const exit = vcpu.enter();
  assert.equal(exit.kind, 'halt');
  assert.equal(exit.kind === 'halt' && exit.interruptible, false, 'it went on after its interrupt');
  assert.deepEqual([vcpu.fields.get32('rax'), vcpu.fields.get32('rbx')], [119, 1]);
});
