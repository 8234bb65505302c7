/**
 * The guests of a long run of random programs: one in lock step for each kind, made when it is first wanted, and made anew
 * after so many programs, so that what a VM learns of its guest (the contexts of code at ever other segments among it) does
 * not pile up, and new VMs are tested as well as old ones.
 */
import type { GuestKind } from './guest.ts';
import type { Lockstep } from './lockstep.ts';

/** Programs that one has before another takes its place. */
const most = 2000;

export class LockstepPool {
  private readonly make: (kind: GuestKind) => Lockstep;
  private readonly present = new Map<GuestKind, { lockstep: Lockstep; programs: number }>();
  private readonly gone = { translated: 0, instructions: 0 };

  constructor(make: (kind: GuestKind) => Lockstep) {
    this.make = make;
  }
  /** For one more program. */
  take(kind: GuestKind): Lockstep {
    let entry = this.present.get(kind);
    if (entry !== undefined && entry.programs >= most) {
      this.drop(kind);
      entry = undefined;
    }
    if (entry === undefined) this.present.set(kind, (entry = { lockstep: this.make(kind), programs: 0 }));
    entry.programs++;
    return entry.lockstep;
  }
  /** The next program of this kind has new guests. */
  drop(kind: GuestKind): void {
    const entry = this.present.get(kind);
    if (entry === undefined) return;
    this.gone.translated += entry.lockstep.translatedInstructions;
    this.gone.instructions += entry.lockstep.instructions;
    this.present.delete(kind);
  }
  /** Instructions that were executed in translations, and one at a time. */
  get totals(): { translated: number; instructions: number } {
    let { translated, instructions } = this.gone;
    for (const { lockstep } of this.present.values()) {
      translated += lockstep.translatedInstructions;
      instructions += lockstep.instructions;
    }
    return { translated, instructions };
  }
}
