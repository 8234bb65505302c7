/**
 * Programs that have the same addresses in different address spaces: what was made of the code of each stays while others
 * run, as far as there are few of them, and each runs its own.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { engines, guest, type TestEngine } from '../vm/vm-harness.ts';
import { Assembler, dword, to } from './assembler.ts';

/** Where each space has its page of code, linearly, and where the first space's lies; a space's page tables. */
const SHARED = 0x200000;
const PAGES = 0x300000;
const directoryOf = (space: number): number => 0x10000 + space * 0x2000;
const TABLE = 0x8000;
const PRESENT = 3;
const rounds = 300;

/** Enters the spaces in turns, and calls the code of each, which adds its number + 1 to EBX. */
const program = (spaces: number): Uint8Array =>
  new Assembler(0x1000n)
    .put(0xb9, dword(rounds)) // mov ecx, rounds
    .put(0x31, 0xdb) // xor ebx, ebx
    .put(0xa1, dword(TABLE), 0x0f, 0x22, 0xd8) // mov eax, [table]; mov cr3, eax
    .put(0x0f, 0x20, 0xc0, 0x0d, dword(0x8000_0000), 0x0f, 0x22, 0xc0) // CR0.PG
    .label('round')
    .put(0x31, 0xf6) // xor esi, esi
    .label('space')
    .put(0x8b, 0x04, 0xb5, dword(TABLE), 0x0f, 0x22, 0xd8) // mov eax, [table + esi * 4]; mov cr3, eax
    .put(0xb8, dword(SHARED), 0xff, 0xd0) // mov eax, shared; call eax
    .put(0x46, 0x83, 0xfe, spaces, 0x0f, 0x85, to('space')) // inc esi; cmp esi, spaces; jne
    .put(0x49, 0x0f, 0x85, to('round')) // dec ecx; jnz
    .put(0xf4)
    .finish();

/** What the guest computes, and the blocks that were made of the shared page's first instruction. */
function run(engine: TestEngine, spaces: number): { readonly sum: number; readonly made: number } {
  const vm = guest(engine, program(spaces));
  const view = new DataView(vm.ram.buffer, vm.ram.byteOffset, vm.ram.length);
  for (let space = 0; space < spaces; space++) {
    const directory = directoryOf(space);
    view.setUint32(TABLE + space * 4, directory, true);
    view.setUint32(directory, (directory + 0x1000) | PRESENT, true);
    for (let page = 0; page < 1024; page++) {
      const to = page * 4096 === SHARED ? PAGES + space * 4096 : page * 4096;
      view.setUint32(directory + 0x1000 + page * 4, to | PRESENT, true);
    }
    vm.ram.set([0x83, 0xc3, space + 1, 0xc3], PAGES + space * 4096); // add ebx, space + 1; ret
  }
  const vcpu = vm.vcpu(0);
  const { maker } = vcpu.engine;
  const make = maker.make.bind(maker);
  let made = 0;
  maker.make = (context, key, rip, single) => {
    if (key === SHARED) made++;
    return make(context, key, rip, single);
  };
  const exit = vcpu.enter(1_000_000);
  assert.equal(exit.kind, 'halt');
  return { sum: vcpu.fields.get32('rbx'), made };
}
const sumOf = (spaces: number): number => (rounds * spaces * (spaces + 1)) / 2;

for (const engine of engines) {
  test(`code of two and of four spaces at one address is made once each (${engine})`, () => {
    for (const spaces of [2, 4]) {
      const { sum, made } = run(engine, spaces);
      assert.equal(sum, sumOf(spaces));
      if (engine !== 'translation') assert.equal(made, spaces);
    }
  });
  test(`of many spaces each runs its own code (${engine})`, () => {
    assert.equal(run(engine, 9).sum, sumOf(9));
  });
}
