/** Translations keep to their bound: when it is reached all of them go, and the guest computes what it would have. */

import assert from 'node:assert/strict';
import test from 'node:test';
import { isRight, origin, soakGuest } from '../../bench/soak.ts';
import { translate } from '../../jit/translate.ts';
import { loadGuest } from '../../runtime/loaders/load.ts';
import { Vm } from '../../runtime/vm/vm.ts';
import { openBus } from '../../src/mmu/physical-memory.ts';
import { vmModules } from './modules.ts';

test('a guest that makes function after function has its translations dropped, and its sum is right', () => {
  const mebibyte = 2 ** 20;
  const vm = new Vm({
    mmio: openBus,
    memory: 8 * mebibyte,
    cpus: 1,
    modules: vmModules(),
    ports: { read: () => 0xffff_ffff, write() {} },
    tsc: { read: () => 0n, hertz: 1e9 },
    translate: {
      way: { kind: 'hot', translate },
      cache: null,
      mode: { shared: false, x87: 'exact' },
      maximumBytes: mebibyte,
    },
  });
  const options = { name: 'soak', commandLine: '', modules: [], flat: { address: origin, mode: 'protected' } } as const;
  vm.start(0, loadGuest(soakGuest(), { bytes: vm.ram }, options).state);
  const vcpu = vm.vcpu(0);
  const { statistics } = vm.translators[0]!;
  for (let slice = 0; slice < 200 && statistics.regions < 80; slice++) assert.equal(vcpu.enter(20_000).kind, 'budget');
  assert.ok(statistics.regions >= 80, `${statistics.regions} regions`);
  assert.ok(statistics.dropped >= 1, 'the bound was reached');
  const { fields: state } = vcpu;
  assert.ok(isRight({ rsi: state.get32('rsi'), rbx: state.get32('rbx'), rcx: state.get32('rcx') }));
});
