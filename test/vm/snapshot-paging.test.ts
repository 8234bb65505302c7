/**
 * Look-aside tables are in no snapshot: a restored processor begins with empty ones, as after a flush that the guest did not
 * ask for. Processors may forget entries at any time (SDM volume 3, section 4.10.2), so a guest that flushes what it has
 * changed sees no difference: whatever it does with paging, a run that is saved and restored anywhere is the same run,
 * instruction for instruction. One that goes on without a flush may see its change earlier: a page that it has mapped
 * elsewhere, or an accessed bit that it has cleared, set again. Rows 18 and 19 of the VM API.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { nodeHost } from '../../runtime/hosts/node.ts';
import { createPcMachine, loadGuest } from '../../runtime/index.ts';
import { randomNumbers } from '../../runtime/lockstep/random-numbers.ts';
import { stateHash } from '../../runtime/state-hash.ts';
import type { Vm } from '../../runtime/vm/vm.ts';
import { Assembler, dword, to } from '../engines/assembler.ts';
import { putGates, tablePointer } from '../engines/system-code.ts';
import { emptyVm, guest, hashOf, origin, type TestEngine, testEngines } from './vm-harness.ts';

const IDT = 0xa000;
const FRAMES = 0x9000;
/** Two address spaces: a directory, and behind it the table of 4 MiB that are mapped on demand. */
const directories = [0x2_0000, 0x2_3000] as const;
/** The first 4 MiB, as they are, in both. */
const IDENTITY = 0x2_6000;
const WINDOW = 0x40_0000;
const table = dword(0x1000);

/**
 * What a kernel does with paging: maps pages when they are first touched, looks at the bits that the processor sets in their
 * entries and clears them, takes pages away, and changes address spaces; each with the flush that it takes.
 */
function pagingCode() {
  const code = new Assembler(BigInt(origin))
    .put(0x0f, 0x01, 0x1d, dword(IDT - 8)) // lidt
    .put(0xbc, dword(0x8000), 0xb8, dword(directories[0]), 0x0f, 0x22, 0xd8) // mov esp; mov cr3
    .put(0x0f, 0x20, 0xc0, 0x0d, dword(0x8000_0000), 0x0f, 0x22, 0xc0, 0x31, 0xc9, 0x31, 0xdb) // CR0.PG; ecx = ebx = 0
    .label('top')
    .put(0x89, 0xc8, 0x69, 0xc0, dword(0x1357), 0x25, dword(0x7_fffc)) // eax = ecx * 1357h & 7FFFCh
    .put(0x01, 0x88, dword(WINDOW), 0x41) // add [eax + WINDOW], ecx; inc ecx
    .put(0xf6, 0xc1, 0x0f, 0x75, to('noScan', 1)) // now and then
    .put(0x0f, 0x20, 0xde, 0x31, 0xd2) // mov esi, cr3; xor edx, edx
    .label('scan')
    .put(0x8b, 0x84, 0x96, table, 0x01, 0xc3, 0xd1, 0xc3) // mov eax, entry; add ebx, eax; rol ebx, 1
    .put(0x81, 0xa4, 0x96, table, dword(0xffff_ff9f), 0x42) // and entry, ~(accessed | dirty); inc edx
    .put(0x81, 0xfa, dword(128), 0x72, to('scan', 1), 0x0f, 0x22, 0xde) // and a flush
    .label('noScan')
    .put(0xf6, 0xc1, 0x3f, 0x75, to('noSwitch', 1))
    .put(0x0f, 0x20, 0xd8, 0x35, dword(directories[0] ^ directories[1]), 0x0f, 0x22, 0xd8)
    .label('noSwitch')
    .put(0xf6, 0xc1, 0x1f, 0x75, to('top', 1))
    .put(0x89, 0xc8, 0xc1, 0xe8, 5, 0x83, 0xe0, 0x7f, 0x0f, 0x20, 0xde) // eax = ecx / 32 & 127
    .put(0xc7, 0x84, 0x86, table, dword(0), 0xc1, 0xe0, 12, 0x0f, 0x01, 0xb8, dword(WINDOW)) // entry = 0; invlpg
    .put(0xeb, to('top', 1))
    .label('fault')
    .put(0x60, 0x0f, 0x20, 0xd0, 0xc1, 0xe8, 12, 0x25, dword(0x3ff)) // pusha; page of CR2 in the window
    .put(0x8b, 0x15, dword(FRAMES), 0xff, 0x05, dword(FRAMES)) // the next frame
    .put(0x83, 0xe2, 0x7f, 0xc1, 0xe2, 12, 0x81, 0xc2, dword(0x10_0003))
    .put(0x0f, 0x20, 0xde, 0x89, 0x94, 0x86, table, 0x61, 0x83, 0xc4, 4, 0xcf); // entry = edx; popa; iret
  return { bytes: code.finish(), fault: code.addressOf('fault') };
}
function pagingVm(engine: TestEngine): Vm {
  const { bytes, fault } = pagingCode();
  const vm = guest(engine, bytes, { clock: 'virtual' });
  const view = new DataView(vm.ram.buffer, vm.ram.byteOffset);
  for (const directory of directories) {
    view.setUint32(directory, IDENTITY | 3, true);
    view.setUint32(directory + 4, (directory + 0x1000) | 3, true);
  }
  for (let page = 0; page < 1024; page++) view.setUint32(IDENTITY + page * 4, (page * 4096) | 3, true);
  putGates(vm.ram, IDT, { 14: fault });
  vm.ram.set(tablePointer(0x7ff, IDT), IDT - 8);
  return vm;
}

testEngines('rows 18, 19: a guest with paging, saved and restored anywhere, runs as it would have', (engine) => {
  const below = randomNumbers(7);
  const straight = pagingVm(engine);
  let sliced = pagingVm(engine);
  for (let slice = 0; slice < 120; slice++) {
    const length = 1 + below(slice % 3 === 0 ? 20 : 600);
    for (const vm of [straight, sliced]) assert.equal(vm.vcpu(0).enter(length).kind, 'budget');
    const snapshot = sliced.snapshot();
    assert.equal(hashOf(sliced), hashOf(straight), `slice ${slice}`);
    if (slice % 10 === 9) sliced = emptyVm(engine, { clock: 'virtual' });
    sliced.restore(snapshot, { lazily: slice % 2 === 0 });
    if (slice % 10 === 5) sliced = sliced.fork();
  }
  const faults = new DataView(straight.ram.buffer, straight.ram.byteOffset).getUint32(FRAMES, true);
  assert.ok(faults > 100 && straight.vcpu(0).fields.get32('rcx') > 300, `${faults} faults`);
});

const memory = 16 << 20;
for (const [name, cases] of [
  ['protection64', 0x41],
  ['exceptions64', 0x70],
] as const)
  for (const engine of ['interpreter', 'jit'] as const)
    test(`rows 18, 19: ${name}, saved and restored anywhere, runs as it would have, in the ${engine}`, async () => {
      const output: [number[], number[]] = [[], []];
      const start = async (to: number[]) => {
        const debugcon = (byte: number) => void to.push(byte);
        const machine = await createPcMachine(
          { memory, cpus: 2, engine, x87: 'exact', cache: null, serial: () => {}, debugcon },
          nodeHost,
        );
        const file = readFileSync(new URL(`../guests/${name}.elf`, import.meta.url));
        machine.start(loadGuest(file, machine.ram, { name, commandLine: '', modules: [] }).state);
        return machine;
      };
      const machines = [await start(output[0]), await start(output[1])] as const;
      const [straight, sliced] = machines;
      const hashes = () => machines.map(({ vm }) => vm.vcpus.map((vcpu) => stateHash(vcpu, vm.ram)).join(' '));
      const below = randomNumbers(11);
      let restores = 0;
      try {
        for (let limit = 0; ; restores++) {
          limit += 1 + below(restores % 3 === 0 ? 300 : 50_000);
          const limits = { maxInstructions: limit, signal: AbortSignal.timeout(100_000) };
          const ends = [await straight.run(limits), await sliced.run(limits)];
          const snapshot = sliced.snapshot();
          const [wanted, found] = hashes();
          assert.equal(found, wanted, `after ${limit} instructions`);
          assert.equal(sliced.instructions(), straight.instructions());
          assert.deepEqual(ends[1], ends[0]);
          if (ends[0]!.reason !== 'instructions') break;
          sliced.restore(snapshot, { lazily: restores % 2 === 0 });
        }
        assert.equal(String.fromCharCode(...output[1]), `${cases.toString(16)} cases, 0 differences\n`);
        assert.deepEqual(output[1], output[0]);
        assert.ok(restores > 10, `${restores} restores`);
      } finally {
        for (const machine of machines) await machine.close();
      }
    });
