/**
 * Runs a random program three times (one instruction at a time, in whole interpreted blocks, and in translations) and
 * compares everything that the guest can see at several points; a program that differs is made as small as it can be.
 */

import type { Translate } from '../../jit/translate.ts';
import { layout } from '../../src/state/layout.ts';
import type { VmModules } from '../vm/options.ts';
import { describePlace, differingPlaces, type Place, type Side, Trace } from './differences.ts';
import { codeStart, DATA_PAGES, Guest, type GuestKind, restrictTranslation } from './guest.ts';
import type { Block } from './program-items.ts';
import type { Random } from './random-numbers.ts';
import { type Assembled, assemble, dataOf, listing, type Program } from './random-program.ts';

export interface Plan {
  /** Instructions after which the states are compared, ascending. */
  readonly points: readonly number[];
  /** Additional stops of the translated run between them. */
  readonly stops: readonly number[];
  /** Looks translated at the instruction pointers for which this hash says so. */
  readonly choose: number;
  /**
   * Where a guest goes on that has ended before a point, by point: bit 0 = with the registers of the beginning,
   * the others the item's number (modulo their count).
   */
  readonly resumes: readonly number[];
  /** At each point: which data page's entry is changed in the page tables, and the bits that are inverted (0 = none). */
  readonly edits?: readonly { readonly page: number; readonly bits: number }[];
}

export interface Difference {
  readonly engine: 'blocks' | 'translation';
  /** Instructions after which the state differs. */
  readonly at: number;
  readonly lines: readonly string[];
}

/** Present, writable, user, accessed, dirty, and another page. */
const pageBits = [1, 2, 4, 0x20, 0x40, 0x60, 0x1000];

/** Stops at random places; who has ended goes on at another item of the program. */
export function makePlan(random: Random, count = 4 + random(6)): Plan {
  const points: number[] = [];
  let at = 0;
  for (let i = count; i > 0; i--) points.push((at += 1 + random([40, 40, 40, 300, 300, 300, 300, 2000][random(8)]!)));
  const stops: number[] = [];
  for (let stop = 0; stop < at && stops.length < 40; ) stops.push((stop += 1 + random(random(3) === 0 ? 10 : 400)));
  const resumes = points.map(() => random(1 << 16));
  const edits = points.map(() => ({
    page: random(DATA_PAGES),
    bits: random(3) === 0 ? pageBits[random(pageBits.length)]! : 0,
  }));
  return { points, stops: stops.filter((s) => s < at), choose: random(1 << 20), resumes, edits };
}

/** After how many entries the interpreter's blocks are optimised. */
const patiences = [0, 0, 1, 3, 1000];

const sideOf = ({ vcpu, vm }: Guest): Side => ({ vcpu, ram: vm.ram });

export class Lockstep {
  private readonly single: Guest;
  private readonly blocks: Guest;
  private readonly translated: Guest;
  private choose = 0;
  /** What differed at last, and the instructions before the last point if they are wanted. */
  private differing: readonly Place[] = [];
  private trace: Trace | null = null;

  constructor(kind: GuestKind, modules: VmModules, translate?: Translate) {
    this.single = new Guest(kind, 'never', modules);
    this.blocks = new Guest(kind, 'never', modules);
    this.translated = new Guest(kind, 'first', modules, undefined, translate);
    for (const guest of this.guests) guest.fillWithTraps();
    restrictTranslation(this.translated, (rip) => {
      return ((Math.imul(rip ^ this.choose, 0x9e3779b1) >>> 8) & 7) !== 0;
    });
  }

  /** Instructions that were executed in translations. */
  translatedInstructions = 0;
  /** Instructions that were executed one at a time. */
  instructions = 0;

  /** Makes holes in guest-physical memory; the bytes there must stay as they are. */
  makeHoles(): void {
    for (const guest of this.guests) guest.makeHoles();
  }
  holesIntact(): boolean {
    return this.guests.every((guest) => guest.holesIntact());
  }
  private get guests(): readonly Guest[] {
    return [this.single, this.blocks, this.translated];
  }

  private load(program: Program, assembled: Assembled): void {
    const data = dataOf(program, assembled);
    this.blocks.vcpu.engine.maker.patience = patiences[this.choose % patiences.length]!;
    for (const guest of this.guests) {
      guest.reset();
      guest.write('code', program.start, assembled.code);
      guest.write('data', 0, data);
      const { fields: state, engine } = guest.vcpu;
      state.u64.set(program.registers, 0);
      state.u8.set(program.xmm, layout.get('xmm0')!.offset);
      state.u8.set(program.upperHalves, layout.get('ymmHigh0')!.offset);
      state.set32('mxcsr', program.mxcsr);
      for (const name of ['fcw', 'fsw', 'ftw'] as const) state.set32(name, program.x87[name]);
      state.u8.set(program.x87.registers, layout.get('fpr0')!.offset);
      state.set64('rip', BigInt.asUintN(64, codeStart(guest.kind) + BigInt(program.start)));
      engine.setFlags(program.flags);
      guest.loaded();
    }
  }

  /** Physical addresses of the data pages' entries in the page tables. */
  get pageEntries(): readonly number[] {
    return this.single.pageEntries;
  }

  /** The first difference, or null. */
  run(program: Program, plan: Plan): Difference | null {
    this.choose = plan.choose;
    const assembled = assemble(program);
    this.load(program, assembled);
    const difference = this.compareAtPoints(program, plan, assembled.items);
    this.translatedInstructions += this.translated.vcpu.engine.translated;
    return difference;
  }
  /** After a guest's end, at an item of the program. */
  private resume({ start, kind }: Program, items: readonly number[], resume: number): void {
    this.translatedInstructions += this.translated.vcpu.engine.translated;
    const rip = BigInt.asUintN(64, codeStart(kind) + BigInt(start + items[(resume >> 1) % items.length]!));
    for (const guest of this.guests) guest.resume(rip, (resume & 1) === 0 ? 'kept' : 'loaded');
  }
  private compareAtPoints(program: Program, plan: Plan, items: readonly number[]): Difference | null {
    let done = 0;
    for (const [n, point] of plan.points.entries()) {
      let endedHere = false;
      for (let i = done; i < point && !endedHere; i++) {
        if (point === plan.points.at(-1)) this.trace?.before(sideOf(this.single));
        endedHere = this.single.run(1);
        if (point === plan.points.at(-1)) this.trace?.after(sideOf(this.single));
        this.instructions++;
      }
      const blocksEnded = this.blocks.run(point - done);
      let translatedEnded = false;
      let at = done;
      for (const stop of [...plan.stops.filter((s) => s > done && s < point), point]) {
        if (translatedEnded) break;
        translatedEnded = this.translated.run(stop - at);
        at = stop;
      }
      for (const [engine, guest, guestEnded] of [
        ['blocks', this.blocks, blocksEnded],
        ['translation', this.translated, translatedEnded],
      ] as const) {
        const [expected, actual] = [sideOf(this.single), sideOf(guest)];
        this.differing = differingPlaces(actual, expected);
        const lines = this.differing.map((place) => describePlace(place, actual, expected));
        if (endedHere !== guestEnded) lines.push(`ended: got ${guestEnded}, expected ${endedHere}`);
        if (lines.length > 0) return { engine, at: point, lines };
      }
      done = point;
      const edit = plan.edits?.[n];
      if (edit !== undefined && edit.bits !== 0) for (const guest of this.guests) guest.editPage(edit.page, edit.bits);
      if (!endedHere) continue;
      if (plan.resumes.length === 0) break;
      this.resume(program, items, plan.resumes[n]!);
    }
    return null;
  }

  /** A program and plan as small as possible that differ still. */
  shrink(program: Program, plan: Plan): { program: Program; plan: Plan; difference: Difference } {
    let best = { program, plan, difference: this.run(program, plan)! };
    const attempt = (p: Program, q: Plan): boolean => {
      let difference: Difference | null;
      try {
        difference = this.run(p, q);
      } catch {
        return false;
      }
      if (difference === null) return false;
      best = { program: p, plan: q, difference };
      return true;
    };
    attempt(best.program, { ...best.plan, stops: [] });
    for (const point of best.plan.points) if (attempt(best.program, { ...best.plan, points: [point] })) break;
    for (let again = true; again; ) {
      again = false;
      // Fewer instructions.
      for (let b = 0; b < best.program.blocks.length; b++) {
        for (let i = best.program.blocks[b]!.length - 1; i >= 0; i--) {
          const blocks = best.program.blocks.map(
            (block, n): Block => (n === b ? block.filter((_, k) => k !== i) : block),
          );
          if (attempt({ ...best.program, blocks }, best.plan)) again = true;
        }
      }
      for (const stop of [...best.plan.stops])
        if (attempt(best.program, { ...best.plan, stops: best.plan.stops.filter((s) => s !== stop) })) again = true;
      const last = best.plan.points.at(-1)!;
      for (let n = 1; n < Math.min(last, 200); n++)
        if (attempt(best.program, { ...best.plan, points: [n], stops: best.plan.stops.filter((s) => s < n) })) {
          again = true;
          break;
        }
    }
    return best;
  }

  /** The instruction that makes the difference, and those before it. */
  private culprit(program: Program, plan: Plan): string[] {
    const again = this.run(program, plan);
    if (again === null) return ['it does not come again from a new start'];
    const points = plan.points.filter((point) => point <= again.at);
    this.trace = new Trace(this.differing);
    this.run(program, { ...plan, points });
    const lines = this.trace.report(6);
    this.trace = null;
    return lines;
  }

  /** A program that makes the host throw, as small as it can be. */
  reportError(program: Program, plan: Plan): string {
    let best = program;
    const throws = (p: Program): boolean => {
      try {
        this.run(p, plan);
        return false;
      } catch {
        return true;
      }
    };
    for (let b = 0; b < best.blocks.length; b++) {
      for (let i = best.blocks[b]!.length - 1; i >= 0; i--) {
        const blocks = best.blocks.map((block, n): Block => (n === b ? block.filter((_, k) => k !== i) : block));
        if (throws({ ...best, blocks })) best = { ...best, blocks };
      }
    }
    const { kind } = program;
    return `mode ${kind.mode}, CPL ${kind.cpl}, ${kind.paging} paging\n${listing(best)}\nregisters ${[...best.registers].map((r) => r.toString(16)).join(' ')}`;
  }

  report(program: Program, plan: Plan): string {
    const small = this.shrink(program, plan);
    const { difference } = small;
    const { kind } = program;
    return [
      `${difference.engine} differs after ${difference.at} instructions (mode ${kind.mode}, CPL ${kind.cpl}, ${kind.paging} paging, code 0x${kind.code.toString(16)}, data 0x${kind.data.toString(16)}; stops ${small.plan.stops.join()}; choose ${plan.choose})`,
      ...difference.lines.map((line) => `  ${line}`),
      ...this.culprit(small.program, small.plan),
      listing(small.program),
      `registers ${[...program.registers].map((r) => r.toString(16)).join(' ')}`,
      `mxcsr ${program.mxcsr.toString(16)} flags ${program.flags.toString(16)}`,
    ].join('\n');
  }
}
