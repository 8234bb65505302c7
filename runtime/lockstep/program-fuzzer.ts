/** Makes random programs in every kind of guest and runs them in lock step. */

import type { Translate } from '../../jit/translate.ts';
import type { VmModules } from '../vm/options.ts';
import { type GuestKind, type GuestMode, isFlat } from './guest.ts';
import { Lockstep, makePlan } from './lockstep.ts';
import { LockstepPool } from './lockstep-pool.ts';
import type { Random } from './random-numbers.ts';
import { ProgramMaker } from './random-program.ts';

export interface FuzzLimits {
  readonly seconds: number;
  readonly programs: number;
  readonly modes: readonly GuestMode[];
  readonly modules: VmModules;
  /** Translates in place of the translator: for tests of the comparison. */
  readonly translate?: Translate;
  /** Stop after so many differences. */
  readonly differences: number;
}

export interface FuzzResult {
  readonly programs: number;
  /** Instructions executed in translations. */
  readonly translated: number;
  /** Instructions executed one at a time. */
  readonly instructions: number;
  readonly reports: readonly string[];
}

/** The guests of a mode: privilege, paging, and where code and data lie. */
export function guestKinds(mode: GuestMode): GuestKind[] {
  if (mode === 'real') return [{ mode, cpl: 0, paging: '32-bit', code: 0x50000n, data: 0x60000n }];
  const made: GuestKind[] = [];
  if (mode === 'v86') {
    for (const paging of ['32-bit', 'pae'] as const)
      for (const iopl of [0, 3] as const) made.push({ mode, cpl: 3, paging, iopl, code: 0x50000n, data: 0x60000n });
    return made;
  }
  for (const cpl of [3, 0] as const) {
    if (mode === '64') {
      made.push({ mode, cpl, paging: '4-level', code: 0x1234500000n, data: 0x1234567000n });
      made.push({ mode, cpl, paging: '4-level', code: 0x34500000n, data: 0x34567000n });
      made.push({ mode, cpl, paging: '4-level', code: -0x7fff_0001_0000n, data: -0x7fff_0000_8000n });
      made.push({ mode, cpl, paging: '5-level', code: 0x76_5432_1450_0000n, data: 0x76_5432_1456_7000n });
      made.push({ mode, cpl, paging: '5-level', code: -0xff_0000_0001_0000n, data: -0xff_0000_0000_8000n });
    } else {
      for (const paging of ['32-bit', 'pae'] as const)
        made.push({ mode, cpl, paging, code: 0x20000000n, data: isFlat(mode) ? 0xfffe0000n : 0x30001000n });
      made.push({ mode, cpl, paging: '4-level', code: 0x20000000n, data: 0x30001000n });
    }
  }
  return made;
}

export function fuzzPrograms(random: Random, limits: FuzzLimits): FuzzResult {
  const all = limits.modes.flatMap(guestKinds);
  const locksteps = new LockstepPool((kind) => new Lockstep(kind, limits.modules, limits.translate));
  const reports: string[] = [];
  const end = performance.now() + limits.seconds * 1000;
  let programs = 0;
  while (performance.now() < end && programs < limits.programs && reports.length < limits.differences) {
    const kind = all[random(all.length)]!;
    const lockstep = locksteps.take(kind);
    const program = new ProgramMaker(random).make(kind, lockstep.pageEntries);
    const plan = makePlan(random);
    programs++;
    if (lockstep.run(program, plan) !== null) reports.push(lockstep.report(program, plan));
  }
  return { programs, ...locksteps.totals, reports };
}
