/** SMIs between slices of a running guest, interpreted and translated: its handler runs, and the guest notices nothing. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { codeStart, dataStart, Guest, type GuestKind } from '../../runtime/lockstep/guest.ts';
import { vmModules } from './modules.ts';

const kinds: readonly GuestKind[] = [
  { mode: '32', cpl: 3, paging: '32-bit', code: 0x20000000n, data: 0x30000000n },
  { mode: '64', cpl: 0, paging: '4-level', code: 0x34500000n, data: 0x34567000n },
  { mode: '64', cpl: 0, paging: '5-level', code: 0x76_5432_1450_0000n, data: -0xff_0000_0000_8000n },
];
/** In RAM that the guest does not use. */
const SMBASE = 0x74000 - 0x8000;
const COUNTER = 0x78000;

for (const kind of kinds)
  for (const way of ['never', 'first'] as const)
    test(`SMIs in mode ${kind.mode}, ${kind.paging} paging, at CPL ${kind.cpl}, translated ${way}`, () => {
      const guest = new Guest(kind, way, vmModules());
      const { vcpu, vm } = guest;
      const { fields: state } = vcpu;
      // inc dword [78000h], with 32-bit addresses in 16-bit code; rsm
      vm.ram.set([0x67, 0x66, 0xff, 0x05, 0x00, 0x80, 0x07, 0x00, 0x0f, 0xaa], SMBASE + 0x8000);
      state.set32('smbase', SMBASE);
      // mov ecx, 100000; loop: add [rdi], ecx; dec ecx; jnz; hlt
      guest.write('code', 0, Uint8Array.from([0xb9, 0xa0, 0x86, 1, 0, 0x01, 0x0f, 0xff, 0xc9, 0x75, 0xfa, 0xf4]));
      state.set64('rip', codeStart(kind));
      state.set64('rsp', dataStart(kind) + 0x3000n);
      state.set64('rdi', dataStart(kind));
      let count = 0;
      do {
        vcpu.smi();
        count++;
      } while (!guest.run(9_973));
      const view = new DataView(vm.ram.buffer, vm.ram.byteOffset, vm.ram.byteLength);
      assert.equal(view.getUint32(COUNTER, true), count);
      assert.ok(count > 20);
      const sum = Number(BigInt.asUintN(32, (100_000n * 100_001n) / 2n));
      assert.equal(view.getUint32(guest.physical('data', 0), true), sum);
    });
