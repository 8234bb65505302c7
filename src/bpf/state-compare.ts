/**
 * Whether a state needs no look any more, since a more general one at the same place was found safe, and whether a path has
 * come back to where it was without a change. Only what still matters is compared (relevance.ts).
 */
import { framePointer } from './instructions.ts';
import type { Frame, Slot, State, Value } from './machine-state.ts';
import { type Relevance, type RelevanceAnalysis, slotCount } from './relevance.ts';
import { containsScalar, isKnown, type Scalar, sameScalar } from './scalar.ts';

type Compare = (a: Scalar, b: Scalar) => boolean;

/** Values that were one and the same in the old state must be so in the new one; others may be. */
class Naming {
  private readonly known = new Map<number, number | bigint>();
  private strangers = 0;

  /** @param now the value's origin, or what it is if that is known */
  agree(old: number, now: number | bigint): boolean {
    const name = now === 0 ? --this.strangers : now;
    const before = this.known.get(old);
    if (before === undefined) this.known.set(old, name);
    return before === undefined || before === name;
  }
}

class Comparison {
  private readonly naming = new Naming();
  private readonly scalars: Compare;

  constructor(scalars: Compare) {
    this.scalars = scalars;
  }

  private value(old: Value, now: Value, exact: boolean): boolean {
    if (old === null) return true; // it was safe without
    if (now === null || old.kind !== now.kind) return false;
    if (old.kind === 'number') {
      if (!exact) return true;
      const { scalar, origin } = now as typeof old;
      if (!this.scalars(old.scalar, scalar)) return false;
      // Values that were linked learnt from each other.
      return old.origin === 0 || this.naming.agree(old.origin, isKnown(scalar) ? scalar.bits.value : origin);
    }
    const pointer = now as typeof old;
    if (old.to !== pointer.to || !this.scalars(old.offset, pointer.offset)) return false;
    if (old.origin === 0) return pointer.origin === 0;
    return pointer.origin !== 0 && this.naming.agree(old.origin, pointer.origin);
  }

  private slot(old: Slot, now: Slot, exact: boolean): boolean {
    if (old === now) return old.parts.every(({ value }) => this.value(value, value, exact));
    if ((old.written & ~now.written) !== 0) return false;
    for (const part of old.parts) {
      const other = now.parts.find(({ at, size }) => at === part.at && size === part.size);
      if (other !== undefined) {
        if (!this.value(part.value, other.value, exact)) return false;
      } else if (exact || part.value.kind === 'pointer' || overlapsPointer(now, part.at)) return false;
    }
    // Bytes without a known value may be any number, but no pointer.
    return now.parts.every(
      (part) =>
        part.value.kind === 'number' ||
        old.written === 0 ||
        old.parts.some(({ at, size }) => at === part.at && size === part.size),
    );
  }

  frame(old: Frame, now: Frame, { live, exact, liveSlots, exactSlots }: Relevance): boolean {
    for (let r = 0; r < framePointer; r++) {
      const bit = 1 << r;
      if ((live & bit) !== 0 && !this.value(old.registers[r]!, now.registers[r]!, (exact & bit) !== 0)) return false;
    }
    if (liveSlots === 0n) return true;
    for (let index = 0; index < slotCount; index++) {
      const [a, b] = [old.slots[index]!, now.slots[index]!];
      if (a === b && a.parts.length === 0) continue;
      const bit = 1n << BigInt(index);
      if ((liveSlots & bit) !== 0n && !this.slot(a, b, (exactSlots & bit) !== 0n)) return false;
    }
    return true;
  }
}

const overlapsPointer = (slot: Slot, at: number): boolean =>
  slot.parts.some((part) => part.value.kind === 'pointer' && at >= part.at && at < part.at + part.size);

function compare(old: State, now: State, at: number, relevance: RelevanceAnalysis, scalars: Compare): boolean {
  if (old.frames.length !== now.frames.length) return false;
  const comparison = new Comparison(scalars);
  const last = now.frames.length - 1;
  return now.frames.every((frame, index) => {
    const before = old.frames[index]!;
    if (before.returnTo !== frame.returnTo || before.start !== frame.start) return false;
    const relevant = index === last ? relevance.at(at) : relevance.during(now.frames[index + 1]!.returnTo);
    return comparison.frame(before, frame, relevant);
  });
}

/** Whatever `now` can be, `old` can be. */
export const covers = (old: State, now: State, at: number, relevance: RelevanceAnalysis): boolean =>
  compare(old, now, at, relevance, containsScalar);

/** Nothing that matters differs. */
export const unchanged = (old: State, now: State, at: number, relevance: RelevanceAnalysis): boolean =>
  compare(old, now, at, relevance, sameScalar);
