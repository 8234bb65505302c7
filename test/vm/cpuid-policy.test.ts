/** Row 22: CPUID as the embedder wants it: nothing is shown that does not exist, and what is taken away is not there. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ConfigurationError } from '../../runtime/errors.ts';
import type { VmOptions } from '../../runtime/vm/options.ts';
import { cpuidLeaf } from '../../src/system/cpuid.ts';
import { type CpuidPolicy, cpuidFeatureNames } from '../../src/system/cpuid-policy.ts';
import { Assembler } from '../engines/assembler.ts';
import { check, probes } from '../engines/cpu-probes.ts';
import { emptyVm, guest, origin, testEngines } from './vm-harness.ts';

const featureWordAt = (leaf: number, register: 'eax' | 'ebx' | 'ecx' | 'edx', mask: number): CpuidPolicy => ({
  override: (at, subleaf, registers) =>
    at === leaf && subleaf === 0 ? { ...registers, [register]: (registers[register] & ~mask) >>> 0 } : registers,
});
const avx = ['avx', 'avx2', 'fma', 'f16c'];

const policies: readonly (readonly [what: string, policy: CpuidPolicy, gone: readonly string[]])[] = [
  ['AVX and what stands on it', { remove: avx }, ['1 ecx 28', '7 ebx 5', '1 ecx 12', '1 ecx 29']],
  ['BMI and MOVBE', { remove: ['bmi1', 'bmi2', 'movbe', 'adx'] }, ['7 ebx 3', '7 ebx 8', '1 ecx 22', '7 ebx 19']],
  ['SMEP, SMAP, UMIP', { remove: ['smep', 'smap', 'umip'] }, ['7 ebx 7', '7 ebx 20', '7 ecx 2']],
  ['RDRAND by its bit', featureWordAt(1, 'ecx', 1 << 30), ['1 ecx 30']],
  [
    'POPCNT and SHA by their bits',
    {
      remove: ['popcnt'],
      ...featureWordAt(7, 'ebx', 1 << 29),
    },
    ['1 ecx 23', '7 ebx 29'],
  ],
  [
    'the time-stamp counter’s',
    { remove: ['rdtscp', 'tsc-adjust', 'invariant-tsc'] },
    ['80000001 edx 27', '7 ebx 1', '80000007 edx 8'],
  ],
  ['a Pentium III’s MTRRs', { remove: ['mtrr', 'pat', 'pge'] }, ['1 edx 12', '1 edx 16', '1 edx 13']],
];

for (const [what, policy, gone] of policies)
  test(`row 22: without ${what} all other bits work, and those do not`, () => {
    for (const way of ['never', 'first'] as const) {
      const bits = check('max', way, policy);
      for (const bit of gone) {
        assert.ok(bit in probes);
        assert.ok(!bits.has(bit), bit);
      }
    }
  });

test('row 22: every feature that nothing else needs can be taken away by its name, and is gone then', () => {
  let removed = 0;
  for (const name of cpuidFeatureNames) {
    const { features } = emptyVm('interpreter').vcpu(0).cpu.processor;
    let vm: ReturnType<typeof emptyVm>;
    try {
      vm = emptyVm('interpreter', { cpuid: { remove: [name] } });
    } catch (error) {
      assert.ok(error instanceof ConfigurationError && error.code === 'bad-cpuid' && error.message.includes(name));
      continue;
    }
    if (features.has(name)) removed++;
    assert.ok(!vm.vcpu(0).cpu.processor.features.has(name), name);
  }
  assert.ok(removed >= 30, `${removed} features`);
});

testEngines('row 22: numbers and texts can be others', (engine) => {
  const bytes = (word: string) => [...word].reduce((n, c, i) => n | (c.charCodeAt(0) << (8 * i)), 0) >>> 0;
  const override: CpuidPolicy['override'] = (leaf, _subleaf, registers) => {
    if (leaf === 0) return { ...registers, ebx: bytes('Auth'), edx: bytes('enti'), ecx: bytes('cAMD') };
    if (leaf === 1) return { ...registers, eax: 0x0080_0f12 };
    return registers;
  };
  // cpuid with eax = 0; hlt
  const code = new Assembler(BigInt(origin)).put(0x31, 0xc0, 0x0f, 0xa2, 0xf4).finish();
  const vm = guest(engine, code, { cpuid: { override } });
  assert.equal(vm.vcpu(0).enter(100).kind, 'halt');
  const { fields, cpu } = vm.vcpu(0);
  assert.deepEqual(
    ['rbx', 'rdx', 'rcx'].map((name) => fields.get32(name)),
    [bytes('Auth'), bytes('enti'), bytes('cAMD')],
  );
  assert.equal(cpuidLeaf(cpu.processor, 1, 0)[0], 0x0080_0f12);
  cpu.reset();
  assert.equal(fields.get32('rdx'), 0x0080_0f12, 'RESET shows the signature in EDX');
});

test('row 22: what is not implemented cannot be shown: the bit and the feature are named', () => {
  const wants = (options: Partial<VmOptions>, names: RegExp) =>
    assert.throws(
      () => emptyVm('interpreter', options as object),
      (e) => e instanceof ConfigurationError && e.code === 'bad-cpuid' && names.test(e.message),
      String(names),
    );
  const set = (leaf: number, register: 'eax' | 'ebx' | 'ecx' | 'edx', bits: number, subleaf = 0): CpuidPolicy => ({
    override: (at, sub, registers) =>
      at === leaf && sub === subleaf ? { ...registers, [register]: (registers[register] | bits) >>> 0 } : registers,
  });
  wants({ cpuid: set(1, 'ecx', 1 << 5) }, /CPUID 1H ECX bit 5 is nothing that is implemented/); // VMX
  wants({ cpuid: set(7, 'ebx', 1 << 16) }, /CPUID 7H EBX bit 16/); // AVX-512
  wants({ model: 'pentium3', cpuid: set(1, 'edx', 1 << 26) }, /CPUID 1H EDX bit 26 is sse2/);
  wants({ cpuid: set(7, 'ecx', 1 << 16) }, /bit 16 is la57/);
  wants({ cpuid: set(1, 'ecx', 1 << 21) }, /bit 21 is x2apic/);
  wants({ cpuid: set(0x8000_0001, 'ecx', 1 << 6) }, /CPUID 80000001H ECX bit 6/);
  wants({ cpuid: set(0xd, 'eax', 1 << 4, 1) }, /CPUID DH.1 EAX bit 4/);
  wants({ cpuid: set(0xd, 'eax', 1 << 5) }, /CPUID DH EAX follows XCR0/);
  wants({ cpuid: set(1, 'ecx', 1 << 27) }, /bit 27 \(osxsave\) follows/);
  wants({ cpuid: set(0, 'eax', 0x100) }, /CPUID 0H EAX follows the model/);
  wants({ cpuid: set(1, 'ebx', 0xff00_0000) }, /CPUID 1H EBX follows the vCPU/);
  wants({ cpuid: set(0x15, 'ebx', 0x100) }, /follows tscHertz/);
  wants({ cpuid: { remove: ['warp-drive'] } }, /warp-drive/);
  wants({ cpuid: { remove: ['fpu'] } }, /fpu cannot be taken away/);
  wants({ cpuid: { remove: ['avx'] } }, /avx cannot be taken away alone: (avx2|fma|f16c) needs it/);
  wants({ cpuid: featureWordAt(1, 'edx', 1 << 25) }, /sse cannot be taken away alone: sse2 needs it/);
  wants({ cpuid: { override: () => ({ eax: 1.5, ebx: 0, ecx: 0, edx: 0 }) } }, /1\.5/);
  wants({ cpuid: { override: () => undefined as never } }, /undefined/);
  assert.throws(() => emptyVm('interpreter', { model: '8086' as '486' }), { code: 'bad-option', message: /8086/ });
  assert.throws(() => emptyVm('interpreter', { hypercalls: 'yes' as 'exit' }), { code: 'bad-option', message: /yes/ });
});

test('row 22: a register of CPUID shows what the policy leaves', () => {
  const vm = emptyVm('interpreter', { cpuid: { remove: ['rdseed'] } });
  const name = 'cpuid.7.0';
  const info = vm
    .vcpu(0)
    .state.list()
    .find((register) => register.name === name);
  assert.ok(info !== undefined);
  const [[, value]] = vm.vcpu(0).state.get([info.id]) as [readonly [number, bigint]];
  assert.equal((value >> (32n + 18n)) & 1n, 0n);
});
