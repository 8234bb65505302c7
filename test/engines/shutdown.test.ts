/** Triple faults: an exception that cannot be delivered stops the processor before its next instruction, in any slicing. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Guest } from '../../runtime/lockstep/guest.ts';
import { guestKinds } from '../../runtime/lockstep/program-fuzzer.ts';
import { vmModules } from './modules.ts';

const TF = 0x100;

test('a single-step trap without an interrupt table shuts down after the stepped instruction and before the next', () => {
  for (const translate of ['never', 'first'] as const) {
    for (const slice of [1, 100]) {
      const guest = new Guest(guestKinds('real')[0]!, translate, vmModules());
      const { fields: state, cpu } = guest.vcpu;
      // mov ax, 0x1234; mov bx, 0x5678; jmp to itself
      guest.write('code', 0, Uint8Array.of(0xb8, 0x34, 0x12, 0xbb, 0x78, 0x56, 0xeb, 0xfe));
      state.set64('rbx', 0n);
      state.set32('idtrLimit', 0);
      state.set32('rflagsRest', state.get32('rflagsRest') | TF);
      cpu.stateReplaced();
      let ended = false;
      for (let i = 0; i < 3 && !ended; i++) ended = guest.run(slice);
      assert.ok(ended);
      assert.equal(state.get32('shutdown'), 1);
      assert.equal(state.get64('rax') & 0xffffn, 0x1234n);
      assert.equal(state.get64('rbx'), 0n, `translated ${translate}, slices of ${slice}`);
      assert.equal(state.get64('rip'), 3n);
    }
  }
});
