/** A guest that runs in ever new code segments does not fill the host's memory with what is known of them. */
import assert from 'node:assert/strict';
import { maximumContexts } from '../../src/execute/context.ts';
import { emptyVm, hashOf, loadCode, testEngines } from '../vm/vm-harness.ts';
import { dword } from './assembler.ts';

const LINEAR = 0x2_0000;
const POINTER = 0x500;
const COUNT = 0x510;
const SEGMENTS = 0x2000 - 0x100f; // down to 1010h: beyond, the code would not lie below the limit

/** Real mode: the same code, at one linear address, in a segment after the other. */
const loop = [
  [0x66, 0xff, 0x06, COUNT & 0xff, COUNT >> 8], // inc dword [COUNT]
  [0x83, 0x06, 0x00, 0x05, 16], // add word [POINTER], 16
  [0x83, 0x2e, 0x02, 0x05, 1], // sub word [POINTER + 2], 1
  [0x81, 0x3e, 0x02, 0x05, 0x10, 0x10], // cmp word [POINTER + 2], 1010h
  [0x72, 4], // jb: done
  [0xff, 0x2e, 0x00, 0x05], // jmp far [POINTER]
  [0xf4],
].flat();
const hashes = new Set<string>();

testEngines(
  'code segments without end: contexts are forgotten before there are too many, and the guest goes on',
  (engine) => {
    const vm = emptyVm(engine);
    const far = [0xea, 0, 0, (LINEAR >> 4) & 0xff, LINEAR >> 12]; // jmp 2000:0
    vm.physical.writeBytes(LINEAR, Uint8Array.from(loop));
    vm.physical.writeBytes(POINTER, Uint8Array.from(dword(LINEAR << 12)));
    loadCode(vm, far, 'real');
    let most = 0;
    for (;;) {
      const exit = vm.vcpu(0).enter({ maxInstructions: 997 });
      most = Math.max(most, vm.contexts.size);
      if (exit.kind !== 'budget') {
        assert.equal(exit.kind, 'halt');
        break;
      }
    }
    assert.equal(vm.physical.read32(COUNT), SEGMENTS);
    assert.ok(most > maximumContexts / 2 && most <= maximumContexts + 2, `${most} contexts`);
    assert.ok(vm.contexts.epoch >= 1, 'all of them were kept');
    hashes.add(hashOf(vm));
    assert.equal(hashes.size, 1, 'engines differ');
  },
);
