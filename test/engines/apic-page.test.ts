/** The local APIC's page where IA32_APIC_BASE puts it over RAM: the APIC answers there, each processor's own, and nowhere else. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { translate } from '../../jit/translate.ts';
import { VirtualClock } from '../../runtime/devices/clock.ts';
import { loadGuest } from '../../runtime/loaders/load.ts';
import { cpuBase } from '../../runtime/vm/places.ts';
import { Vm } from '../../runtime/vm/vm.ts';
import { openBus } from '../../src/mmu/physical-memory.ts';
import { Assembler, dword, to } from './assembler.ts';
import { vmModules } from './modules.ts';
import { store, wrmsr } from './system-code.ts';

const CODE = 0x10000;
const PAGE = 0x60000;
const RESULTS = 0x70000;
const base = (value: number) => wrmsr(0x1b, value);
const load = (address: number) => [0xa1, ...dword(address)]; // mov eax, [address]
const keep = (n: number) => [0xa3, ...dword(RESULTS + n * 4)]; // mov [result n], eax
const ENABLED = 0x900;

/** Reads and writes the page again and again, so that it is in the look-aside table and in translated code. */
function program(): Uint8Array {
  const code = new Assembler(BigInt(CODE));
  const touch = (name: string) =>
    code
      .put(0xbb, dword(2000)) // mov ebx, 2000
      .label(name)
      .put(load(PAGE + 0x30))
      .put(0xff, 0x05, dword(PAGE + 0x80)) // inc dword [PAGE+80h]: the task priority
      .put(0x4b, 0x75, to(name, 1)); // dec ebx; jnz
  code.put(store(PAGE + 0x30, 0x1234_5678), store(PAGE + 0x80, 7));
  touch('ram').put(keep(0), load(PAGE + 0x80), keep(1));
  code.put(base(PAGE | ENABLED), store(PAGE + 0x80, 0));
  touch('apic').put(keep(2), load(PAGE + 0x80), keep(3), load(0xfee0_0030), keep(4));
  code.put(base(0xfee0_0000 | ENABLED));
  touch('ram again').put(keep(5), load(PAGE + 0x80), keep(6), load(0xfee0_0030), keep(7));
  code.put(base(PAGE | 0x100)); // disabled: RAM
  touch('disabled').put(keep(8), load(PAGE + 0x80), keep(9));
  return code.put(0xf4).finish();
}

for (const kind of ['never', 'first'] as const)
  test(`the APIC's page lies over RAM, translated ${kind}`, () => {
    let executed = 0;
    const clock = new VirtualClock(() => executed);
    const vm = new Vm({
      mmio: openBus,
      memory: 0x80000,
      cpus: 2,
      modules: vmModules(),
      ports: { read: () => 0xff, write: () => {} },
      tsc: { read: () => BigInt(executed), hertz: 1e9 },
      apic: { clock, acknowledgeExternal: () => 0 },
      random: { seed: 1 },
      translate:
        kind === 'never'
          ? false
          : { way: { kind, translate }, cache: null, mode: { shared: false, x87: 'exact', cpu: cpuBase } },
    });
    const options = {
      name: 'guest',
      commandLine: '',
      modules: [],
      flat: { address: CODE, mode: 'protected' },
    } as const;
    vm.start(0, loadGuest(program(), { bytes: vm.ram }, options).state);
    const vcpu = vm.vcpu(0);
    assert.equal(vcpu.enter(200_000).kind, 'halt');
    executed = 200_000;
    const view = new DataView(vm.ram.buffer, vm.ram.byteOffset, vm.ram.byteLength);
    const result = Array.from({ length: 10 }, (_, n) => view.getUint32(RESULTS + 4 * n, true));
    const version = vcpu.apic!.read(0x30, 4);
    assert.notEqual(version, 0x1234_5678);
    assert.deepEqual(result.slice(0, 2), [0x1234_5678, 2007], 'RAM');
    assert.deepEqual(result.slice(2, 5), [version, 2000 & 0xff, 0xffff_ffff], 'the APIC');
    assert.deepEqual(result.slice(5, 8), [0x1234_5678, 4007, version], 'RAM again');
    assert.deepEqual(result.slice(8), [0x1234_5678, 6007], 'a disabled APIC');
    assert.equal(view.getUint32(PAGE + 0x80, true), 6007);
    // Devices see RAM there.
    assert.equal(vm.physical.read32(PAGE + 0x30), 0x1234_5678);
  });
