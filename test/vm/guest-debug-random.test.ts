/**
 * Random programs in every mode, one instruction at a time without a debugger, and in both engines with one that steps, breaks
 * and watches at random: the guest is the same at every point.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Guest, type GuestMode, guestModes } from '../../runtime/lockstep/guest.ts';
import { Lockstep, makePlan } from '../../runtime/lockstep/lockstep.ts';
import { guestKinds } from '../../runtime/lockstep/program-fuzzer.ts';
import { type Random, randomNumbers } from '../../runtime/lockstep/random-numbers.ts';
import { assemble, type Program, ProgramMaker } from '../../runtime/lockstep/random-program.ts';
import type { GuestDebugOptions, Watchpoint } from '../../runtime/vm/guest-debug.ts';
import { vmModules } from '../engines/modules.ts';

const seed = Number(process.env.JIT86_TEST_SEED ?? 7);
const seconds = Number(process.env.JIT86_TEST_SECONDS ?? 1.5);

/** What the debugger wants until the next stop. */
function wishes(random: Random, { kind, start }: Program, items: readonly number[]): GuestDebugOptions {
  const pick = () => random(4) === 0;
  // In modes with segments linear addresses are the guest kind's.
  const code = (offset: number) => kind.code + BigInt(offset);
  const watch = (): Watchpoint => ({
    address: kind.data + BigInt(random(0x6000)),
    length: 1 + random(random(2) === 0 ? 16 : 9000),
    kind: (['read', 'write', 'access'] as const)[random(3)]!,
  });
  return {
    singleStep: pick(),
    blockInterrupts: pick(),
    softwareBreakpoints: pick(),
    breakpoints: pick() ? Array.from({ length: 1 + random(8) }, () => code(start + items[random(items.length)]!)) : [],
    watchpoints: pick() ? Array.from({ length: 1 + random(3) }, watch) : [],
  };
}

const stops: Record<string, number> = {};

/** As `Guest.run`, under a debugger. */
function runDebugged(guest: Guest, instructions: number, next: () => GuestDebugOptions, random: Random): boolean {
  const { vcpu } = guest;
  let left = instructions;
  for (let stopped = 0; ; ) {
    if (stopped > 300) vcpu.debug.clear();
    else if (stopped === 0 || random(12) === 0) vcpu.debug.set(next());
    const slice = random(3) === 0 ? Math.min(left, 1 + random(20)) : left;
    const exit = vcpu.enter(slice);
    left -= slice - vcpu.left;
    switch (exit.kind) {
      case 'debug':
        stopped++;
        stops[exit.reason] = (stops[exit.reason] ?? 0) + 1;
        if (exit.reason === 'software-breakpoint') vcpu.debug.deliverInt3();
        break;
      case 'halt':
      case 'shutdown':
        return true;
      case 'budget':
        break;
      default:
        throw new Error(`the guest left with ${exit.kind}`);
    }
    if (left > 0) continue;
    // A debugger comes before the processor's halt, and before the traps of the last instruction.
    vcpu.debug.clear();
    return exit.kind === 'debug' && vcpu.enter(0).kind !== 'budget';
  }
}

for (const mode of guestModes) test(`row 23: random programs do not notice a debugger (${mode})`, () => debugged(mode));

function debugged(mode: GuestMode): void {
  const random = randomNumbers(seed * 1000 + guestModes.indexOf(mode) * 2);
  const kinds = guestKinds(mode);
  const end = performance.now() + seconds * 1000;
  let programs = 0;
  const locksteps = new Map<number, Lockstep>();
  while (performance.now() < end || programs < 3) {
    const number = random(kinds.length);
    const kind = kinds[number]!;
    let lockstep = locksteps.get(number);
    if (lockstep === undefined) locksteps.set(number, (lockstep = new Lockstep(kind, vmModules())));
    const program = new ProgramMaker(random).make(kind, lockstep.pageEntries);
    const plan = makePlan(random);
    const { items } = assemble(program);
    const guests = lockstep as unknown as { blocks: Guest; translated: Guest };
    for (const guest of [guests.blocks, guests.translated]) {
      const choices = randomNumbers(random(1 << 30));
      guest.run = (instructions) => runDebugged(guest, instructions, () => wishes(choices, program, items), choices);
    }
    const difference = lockstep.run(program, plan);
    assert.equal(difference, null, `program ${programs} of seed ${seed}: ${JSON.stringify(difference)} `);
    programs++;
  }
}

test('row 23: the debugger of these programs did stop them, in every way', () => {
  for (const reason of ['single-step', 'hardware-breakpoint', 'watchpoint'])
    assert.ok((stops[reason] ?? 0) > 20, `${reason}: ${stops[reason]}`);
});
