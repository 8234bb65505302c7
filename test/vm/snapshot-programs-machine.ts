/**
 * A guest that adds up what a program next to the processor counts at port 60H. `node snapshot-programs-machine.ts FILE N`
 * restores a snapshot of it, runs N instructions and prints where it has come to.
 */
import { readFileSync } from 'node:fs';
import type { Vm } from '../../runtime/vm/vm.ts';
import { assemble } from '../../src/bpf/assemble.ts';
import { to } from '../engines/assembler.ts';
import { code } from './io-guest.ts';
import { guest, hashOf, type TestEngine } from './vm-harness.ts';

/** Counts in its shared area, and answers with the count. */
const counter = assemble(`r2 = *(u64 *)(r1 + 24)
r3 = *(u32 *)(r2 + 0)
r3 += 1
*(u32 *)(r2 + 0) = r3
*(u64 *)(r1 + 8) = r3
r0 = 1
exit`);

export async function countingVm(engine: TestEngine, shared = 8): Promise<Vm> {
  // in eax, 60h; add ebx, eax; jmp to the start
  const vm = guest(engine, code().label('top').put(0xe5, 0x60, 0x01, 0xc3, 0xeb, to('top', 1)).finish(), {
    clock: 'virtual',
  });
  await vm.program({ space: 'port', address: 0x60, length: 4, access: 'read' }, counter, { shared, name: 'counter' });
  return vm;
}

if (process.argv[1] === import.meta.filename) {
  const [, , file, instructions] = process.argv;
  const vm = await countingVm('hot');
  vm.restore(new Uint8Array(readFileSync(file!)));
  vm.vcpu(0).enter(Number(instructions));
  console.log(`${hashOf(vm)} ${vm.programs[0]!.shared.join(' ')}`);
}
