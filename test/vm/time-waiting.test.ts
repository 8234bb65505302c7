/** Processors that wait for a time beside others that work: row 17 of the VM API. */
import assert from 'node:assert/strict';
import { loadFlatBinary } from '../../runtime/loaders/flat-binary.ts';
import { Assembler, dword, to } from '../engines/assembler.ts';
import { emptyVm, origin, testEngines } from './vm-harness.ts';

const FLAG = 0x3000;
const ROUNDS = 0x3004;
const WORK = 400_000;

for (const [name, instruction] of [
  ['TPAUSE', [0x66, 0x0f, 0xae, 0xf1]], // tpause ecx
  ['PAUSE', [0xf3, 0x90]],
] as const)
  testEngines(`row 17: while one processor waits in ${name}, vm.run() gives the others their turn`, async (engine) => {
    const seen: number[] = [];
    for (const clock of ['virtual', 'virtual', 'host'] as const) {
      const vm = emptyVm(engine, { cpus: 2, clock, model: 'max', random: { seed: 1 } });
      const working = new Assembler(BigInt(origin))
        .put(0xb9, dword(WORK / 2))
        .label('work')
        .put(0x49, 0x75, to('work', 1)) // dec ecx; jnz
        .put(0xc6, 0x05, dword(FLAG), 1, 0xf4) // mov byte [FLAG], 1; hlt
        .finish();
      const waiting = new Assembler(BigInt(origin + 0x1000))
        .label('again')
        .put(0x31, 0xc9, 0x0f, 0x31, 0x83, 0xc2, 0x01) // xor ecx, ecx; rdtsc; add edx, 1: seconds from now
        .put(...instruction, 0xff, 0x05, dword(ROUNDS)) // it waits; inc dword [ROUNDS]
        .put(0x80, 0x3d, dword(FLAG), 0, 0x74, to('again', 1), 0xf4) // cmp byte [FLAG], 0; je; hlt
        .finish();
      const ram = { bytes: vm.ram };
      vm.start(0, loadFlatBinary(working, ram, { address: origin, mode: 'protected' }));
      vm.start(1, loadFlatBinary(waiting, ram, { address: origin + 0x1000, mode: 'protected' }));
      for await (const exit of vm.run({ signal: AbortSignal.timeout(20_000) })) if (exit.kind === 'halt') break;
      assert.equal(vm.ram[FLAG], 1);
      const rounds = vm.physical.read32(ROUNDS);
      assert.ok(rounds >= WORK / 20_000 / 2 && rounds <= WORK / 20_000 + 20, `${clock} time: ${rounds} waits`);
      if (clock === 'virtual') seen.push(rounds, vm.time.now());
      await vm.close();
    }
    assert.deepEqual(seen.slice(0, 2), seen.slice(2), 'virtual time is the same each time');
  });
