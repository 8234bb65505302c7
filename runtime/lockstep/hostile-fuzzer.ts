/**
 * Hostile guests: random bytes and random instructions, privileged ones among them, with registers that point at page tables,
 * descriptor tables and nowhere. Whatever they do, the host must not notice, and the engines must agree.
 */
import { allForms } from '../../src/isa/all.ts';
import type { Form } from '../../src/isa/forms.ts';
import type { VmModules } from '../vm/options.ts';
import { CODE_PAGES, codeSizeOf, codeStart, DATA_PAGES, dataStart, type GuestKind, type GuestMode } from './guest.ts';
import { Lockstep, makePlan, type Plan } from './lockstep.ts';
import { LockstepPool } from './lockstep-pool.ts';
import { guestKinds } from './program-fuzzer.ts';
import type { Item } from './program-items.ts';
import { Encoder } from './random-encoding.ts';
import type { Random } from './random-numbers.ts';
import { listing, type Program } from './random-program.ts';

const formsOf = new Map<number, readonly Form[]>();
function formsIn(mode: 16 | 32 | 64): readonly Form[] {
  let list = formsOf.get(mode);
  if (list === undefined) formsOf.set(mode, (list = allForms().filter((f) => (mode === 64 ? f.in64 : f.outside64))));
  return list;
}
/** Instructions that change the machine: they come more often than the others. */
const privileged =
  /^(?:MOV|LGDT|LIDT|LLDT|LTR|LMSW|CLTS|INVLPG|WRMSR|RDMSR|IRET|POPF|SYSRET|SYSEXIT|SYSCALL|SYSENTER|SWAPGS|INT|INTO|LDS|LES|LSS|LFS|LGS|FXRSTOR|LDMXCSR|FLDENV|FRSTOR)$/;

function hostileProgram(random: Random, kind: GuestKind): Program {
  const mode = codeSizeOf(kind.mode);
  const [code, data] = [codeStart(kind), dataStart(kind)];
  const pick = <T>(list: readonly T[]): T => list[random(list.length)]!;
  const number = (): bigint =>
    pick([
      () => BigInt(random(256)),
      () => data + BigInt(random(DATA_PAGES * 4096)),
      () => code + BigInt(random(CODE_PAGES * 4096)),
      () => BigInt(random(0x10000)), // descriptor tables, page tables
      () => BigInt(random(2 ** 32)),
      () => (BigInt(random(2 ** 32)) << 32n) | BigInt(random(2 ** 32)),
      () => 1n << BigInt(random(64)),
      () => -1n << BigInt(random(64)),
      () => 0x7fff_ffff_ffffn - BigInt(random(16)),
      () => 0xffff_ffffn - BigInt(random(16)),
      () => BigInt(pick([0x10, 0x1b, 0x174, 0xc0000080, 0xc0000081, 0xc0000082, 0xc0000100, 0xc0000101, 0x277, 0x2ff])),
      () =>
        BigInt(pick([0x80010033, 0x11, 0x60000011, 0x80000001, 0x31, 0x6f0, 0x620, 0x8, 0x10, 0x18, 0x23, 0x2b, 0x33])),
    ])();
  const encoder = new Encoder(mode, random, () => (random(3) === 0 ? number() : data + BigInt(random(0x3000))));
  const items: Item[] = [];
  const bytes = 1 + random(3);
  for (let i = 8 + random(60); i > 0; i--) {
    if (random(8) < bytes) {
      const made = Array.from({ length: 1 + random(12) }, () => random(256));
      items.push({ bytes: made, fix: null });
      continue;
    }
    let form = pick(formsIn(mode));
    for (let n = random(3); n > 0 && !privileged.test(form.definition.name); n--) form = pick(formsIn(mode));
    const { before, bytes: encoded, relative } = encoder.encode(form);
    for (const move of before) items.push({ bytes: move, fix: null });
    items.push({
      bytes: encoded,
      fix:
        relative === null ? null : { kind: 'relative', at: relative.at, size: 4, end: encoded.length, to: relative.to },
    });
  }
  const registers = new BigUint64Array(16);
  for (let i = 0; i < 16; i++) registers[i] = BigInt.asUintN(kind.mode === '64' ? 64 : i < 8 ? 32 : 0, number());
  if (random(3) !== 0) registers[4] = BigInt.asUintN(64, data + 0x3800n);
  const filled = (length: number) => Uint8Array.from({ length }, () => random(256));
  // ES and B follow from the exceptions and their masks.
  const [fcw, exceptions] = [random(0x10000), random(0x40)];
  const fsw = (random(0x10000) & 0x7f40) | exceptions | ((exceptions & ~fcw) === 0 ? 0 : 0x8080);
  return {
    kind,
    blocks: [items],
    start: random(4) === 0 ? CODE_PAGES * 4096 - 1 - random(40) : random(0x2000),
    registers,
    xmm: filled(256),
    upperHalves: filled(256),
    mxcsr: 0x1f80 | random(64),
    x87: { fcw, fsw, ftw: random(256), registers: filled(128) },
    flags: random(0x1000) & 0x8d5,
    data: filled(DATA_PAGES * 4096),
  };
}

export interface HostileLimits {
  readonly seconds: number;
  readonly programs: number;
  readonly modes: readonly GuestMode[];
  readonly modules: VmModules;
  /** A program that takes longer is a failure. */
  readonly secondsPerProgram: number;
}
export interface HostileResult {
  readonly programs: number;
  readonly instructions: number;
  readonly translated: number;
  /** Errors of the host, bytes of it that were changed, and states in which the engines differ. */
  readonly reports: readonly string[];
}

export function fuzzHostile(random: Random, limits: HostileLimits): HostileResult {
  const all = limits.modes.flatMap(guestKinds);
  const locksteps = new LockstepPool((kind) => {
    const made = new Lockstep(kind, limits.modules);
    made.makeHoles();
    return made;
  });
  const reports: string[] = [];
  const end = performance.now() + limits.seconds * 1000;
  let programs = 0;
  while (performance.now() < end && programs < limits.programs && reports.length < 4) {
    const kind = all[random(all.length)]!;
    const lockstep = locksteps.take(kind);
    const program = hostileProgram(random, kind);
    const plan: Plan = makePlan(random, 16);
    programs++;
    const began = performance.now();
    try {
      if (lockstep.run(program, plan) !== null) reports.push(lockstep.report(program, plan));
    } catch (error) {
      reports.push(`${(error as Error).stack}\n${lockstep.reportError(program, plan)}`);
      locksteps.drop(kind);
    }
    const milliseconds = performance.now() - began;
    if (milliseconds > limits.secondsPerProgram * 1000) reports.push(`${milliseconds} ms\n${listing(program)}`);
    if (!lockstep.holesIntact()) reports.push(`bytes of the host have changed\n${listing(program)}`);
  }
  return { programs, ...locksteps.totals, reports };
}
