/**
 * What a machine is made from and what takes its time: the modules of the build, the compiler's thread, the cache. Apart
 * from the machine's own code, which is long, so that it can begin before that is loaded.
 */
import type { Host } from '../hosts/host.ts';
import { knownPatterns } from '../known-patterns.ts';
import { MachineTranslation } from '../translation.ts';
import type { VmModules } from '../vm/options.ts';
import type { MachineOptions } from './machine.ts';

export interface MachineParts extends VmModules {
  /** Null: the machine only interprets. */
  readonly translation: MachineTranslation | null;
}

/** Begins at once; the answer is for one machine. */
export async function prepareMachine(options: MachineOptions, host: Host): Promise<MachineParts> {
  const { cpuid, cpu, cpus, machine } = options;
  let lacks: readonly string[] = [];
  if (cpuid !== undefined) {
    const { chooseCpu } = await import('../vm/cpu-choice.ts');
    const lapic = machine === 'bare' ? 'hidden' : 'visible';
    lacks = chooseCpu({ cpus, cpuid, lapic, ...(cpu && { model: cpu }) }).model.lacks;
  }
  const [translation, core, arithmetic, patterns] = await Promise.all([
    MachineTranslation.start({ ...options, lacks }, host),
    host.readModule('core.wasm'),
    host.readModule('softfloat.wasm'),
    knownPatterns(host),
  ]);
  return { translation, core, arithmetic, patterns };
}
