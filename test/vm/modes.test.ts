/** Modes between the modes, through the VM API: row 20. The privileged guests of test/guests go through all the others. */
import assert from 'node:assert/strict';
import { Assembler, at, dword } from '../engines/assembler.ts';
import {
  CR0_PE,
  CR0_PG,
  CR4_PAE,
  clearControl,
  EFER,
  EFER_LME,
  flat,
  gdt,
  out,
  setControl,
  wrmsr,
} from '../engines/system-code.ts';
import { guest, origin, testEngines } from './vm-harness.ts';

const word = (n: number) => dword(n).slice(0, 2);
const asm = () => new Assembler(BigInt(origin));

/** Loads DS with a flat descriptor in protected mode, and goes back. */
const bigReal = (code: Assembler) =>
  code
    .put(0xfa, 0x0f, 0x01, 0x16, at('gdtr', 0, 2)) // cli; lgdt [gdtr]
    .put(setControl(0, CR0_PE))
    .put(0xbb, word(8), 0x8e, 0xdb) // mov bx, 8; mov ds, bx
    .put(clearControl(0, CR0_PE));
const tables = (code: Assembler) => code.label('gdtr').put(word(15), at('gdt')).label('gdt').put(gdt(flat.data));

testEngines('row 20: big real mode reaches 4 GiB, and keeps to it when a segment is loaded', (engine) => {
  const code = bigReal(asm())
    .put(0x66, 0xbe, dword(0x20_0000)) // mov esi, 200000h
    .put(0x66, 0x67, 0x8b, 0x06, 0x66, 0x40) // mov eax, [esi]; inc eax
    .put(0x66, 0x67, 0x89, 0x46, 4) // mov [esi + 4], eax
    .put(0x31, 0xc0, 0x8e, 0xd8) // xor ax, ax; mov ds, ax
    .put(0x66, 0x67, 0x8b, 0x5e, 4, 0xf4); // mov ebx, [esi + 4]; hlt
  const vm = guest(engine, tables(code).finish(), { mode: 'real' });
  vm.memory.write(0x20_0000, Uint8Array.of(0x77, 0x66, 0x55, 0x44));
  assert.equal(vm.vcpu(0).enter({ maxInstructions: 100 }).kind, 'halt');
  assert.equal(vm.vcpu(0).fields.get32('rbx'), 0x4455_6678);
  assert.equal(vm.vcpu(0).fields.get32('dsLimit'), 0xffff_ffff);
});

testEngines('row 20: real mode without that ends at 64 KiB, with interrupt 13', (engine) => {
  const code = asm()
    .put(0x66, 0xbe, dword(0x20_0000), 0x66, 0x67, 0x8b, 0x06, 0xf4) // mov esi, 200000h; mov eax, [esi]; hlt
    .label('handler')
    .put(0xbb, word(0x1313), 0xf4); // mov bx, 1313h; hlt
  const vm = guest(engine, code.finish(), { mode: 'real' });
  vm.memory.write(13 * 4, Uint8Array.from([...word(Number(code.addressOf('handler'))), 0, 0]));
  assert.equal(vm.vcpu(0).enter({ maxInstructions: 100 }).kind, 'halt');
  assert.equal(vm.vcpu(0).fields.get32('rbx') & 0xffff, 0x1313);
});

testEngines('row 20: real mode, protected mode, 64-bit mode and back, each with an exit', (engine) => {
  // Page tables at 10000h map the first 2 MiB; a task with IF in each mode writes port 80h.
  const code = asm()
    .put(0xfa, 0x0f, 0x01, 0x16, at('gdtr', 0, 2), 0xe6, 0x80) // cli; lgdt; out 80h, al
    .put(setControl(0, CR0_PE))
    .put(0x66, 0xea, at('protected'), word(8)) // jmp 8:protected
    .label('protected')
    .put(out(0x80, 1))
    .put(setControl(4, CR4_PAE))
    .put(0xb8, dword(0x1_0000), 0x0f, 0x22, 0xd8) // cr3
    .put(wrmsr(EFER, EFER_LME))
    .put(setControl(0, CR0_PG))
    .put(0xea, at('long'), word(0x10)) // jmp 10h:long
    .label('long')
    .put(out(0x80, 2), 0x49, 0xb8, ...dword(0x9abc_def0), ...dword(0x1234_5678)) // mov r8, …
    .put(0x68, dword(8), 0x68, at('back'), 0x48, 0xcb) // push 8; push back; retfq
    .label('back')
    .put(clearControl(0, CR0_PG))
    .put(out(0x80, 3))
    .put(0xea, at('sixteen'), word(0x18)) // jmp 18h:sixteen
    .label('sixteen')
    .put(clearControl(0, CR0_PE), 0xea, at('real', 0, 2), word(0)) // jmp 0:real
    .label('real')
    .put(out(0x80, 4), 0xf4)
    .label('gdtr')
    .put(word(0x1f), at('gdt'))
    .label('gdt')
    .put(gdt(flat.code, flat.code64, flat.code16));
  const vm = guest(engine, code.finish(), { mode: 'real' });
  const table = (address: number, entry: number) =>
    vm.memory.write(address, Uint8Array.from([...dword(entry), 0, 0, 0, 0]));
  table(0x1_0000, 0x1_1003);
  table(0x1_1000, 0x1_2003);
  table(0x1_2000, 0x83);
  const seen: number[] = [];
  for (let exit = vm.vcpu(0).enter({ maxInstructions: 1000 }); ; exit = vm.vcpu(0).enter({ maxInstructions: 1000 })) {
    if (exit.kind !== 'pio') {
      assert.equal(exit.kind, 'halt');
      break;
    }
    seen.push(exit.value);
  }
  assert.deepEqual(seen.slice(1), [1, 2, 3, 4]);
  assert.equal(vm.vcpu(0).fields.get64('r8'), 0x1234_5678_9abc_def0n);
});
