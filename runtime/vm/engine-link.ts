/** What the architecture (src/system) tells a vCPU's engine. It may speak before the engine is there, and is not heard then. */
import type { Engine } from '../../src/execute/engine.ts';
import type { CpuState } from '../../src/state/cpu-state.ts';
import type { DirectPrograms } from '../../src/system/direct-programs.ts';
import type { Engine as EngineForCpu } from '../../src/system/engine.ts';

/** @param engine null until it is made, from the architecture that this is for */
export function engineLink(engine: () => Engine | null, fields: CpuState, programs: DirectPrograms): EngineForCpu {
  return {
    flags: () => engine()?.flags() ?? 0,
    setFlags: (flags) => engine()?.setFlags(flags),
    contextChanged: () => engine()?.contextChanged(),
    setBreakpoints: (list) => engine()?.breakpoints.set(list),
    portAnswered: (rip) => {
      const made = engine();
      made?.regions?.retried(made.contexts.current(fields), rip);
    },
    portProgram: (port, bytes, write, access) => programs.setPort(port, bytes, write, access),
    forgetPrograms: () => programs.forget(),
  };
}
