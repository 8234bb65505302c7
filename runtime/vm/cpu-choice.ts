/** The processor that a VM's options ask for: its model as the CPUID policy leaves it, its interface to the machine's maker. */
import { definitions } from '../../src/isa/define.ts';
import { type CpuModel, cpuModel, cpuModelNames } from '../../src/system/cpu-models.ts';
import { withPolicy } from '../../src/system/cpuid-policy.ts';
import type { Hypercalls } from '../../src/system/engine.ts';
import { ConfigurationError } from '../errors.ts';
import type { VmOptions } from './options.ts';
import '../../src/isa/all.ts';

export interface CpuChoice {
  readonly model: CpuModel;
  readonly lapic: 'visible' | 'hidden';
  readonly hypercalls: Hypercalls;
  readonly kvm: boolean;
}

type Options = Pick<
  VmOptions,
  'model' | 'cpus' | 'apic' | 'lapic' | 'paravirt' | 'hypercalls' | 'cpuid' | 'tsc' | 'time' | 'tscHertz'
>;

function oneOf<T extends string>(name: string, value: T, values: readonly T[]): T {
  if (!values.includes(value))
    throw new ConfigurationError('bad-option', `${name}: '${String(value)}' is none of ${values.join(', ')}`);
  return value;
}

/** @throws ConfigurationError naming the value, or the bit and the feature, that cannot be had */
export function chooseCpu(options: Options): CpuChoice {
  const { apic, tsc, time, tscHertz = 1e9, cpuid, cpus, model: wanted = 'max', paravirt = 'none' } = options;
  const { lapic: shown = apic === undefined ? 'hidden' : 'visible' } = options;
  const { hypercalls: calls = paravirt === 'kvm' ? 'kvm' : 'fault' } = options;
  const name = oneOf('model', wanted, cpuModelNames);
  const lapic = oneOf('lapic', shown, ['visible', 'hidden']);
  const kvm = oneOf('paravirt', paravirt, ['none', 'kvm']) === 'kvm';
  const hypercalls = oneOf('hypercalls', calls, ['fault', 'exit', 'kvm']);
  const features = new Set<string>(definitions.map((d) => d.feature));
  if (lapic === 'visible') for (const feature of ['x2apic', 'tsc-deadline']) features.add(feature);
  let model = cpuModel(name, features);
  if (cpuid !== undefined) {
    const hertz = tsc?.hertz ?? time?.hertz ?? tscHertz;
    const { features: has } = model;
    const restricted = withPolicy(
      {
        model,
        features: has,
        cpus,
        index: 0,
        cr4: 0,
        code64: true,
        baseBits: has.has('la57') ? 57 : 48,
        paravirt: kvm ? { reference: { nanos: 0, tsc: 0n }, hertz, epoch: 0 } : null,
        apic: lapic === 'visible' ? {} : null,
        tsc: { hertz },
        state: { get64: (field) => (field === 'xcr0' ? 1n : 0xfee0_0900n) },
      },
      cpuid,
    );
    if ('refusal' in restricted) throw new ConfigurationError('bad-cpuid', restricted.refusal);
    model = restricted;
  }
  if (kvm && tsc !== undefined)
    throw new ConfigurationError('bad-option', "paravirt: 'kvm' needs the VM's own time-stamp counter: `tsc` is given");
  for (const feature of ['hypervisor', 'tsc', 'msr'])
    if (kvm && !model.features.has(feature))
      throw new ConfigurationError('bad-option', `paravirt: 'kvm' needs the feature ${feature}, which ${name} lacks`);
  return { model, lapic, hypercalls, kvm };
}
