/**
 * What the verifier knows at one point of one path: registers and stack of each frame. Values and slots are never changed
 * in place, so that a copy of a state is a copy of its lists.
 */
import { framePointer, registerCount } from './instructions.ts';
import { slotCount, stackBytes } from './relevance.ts';
import { isKnown, knownScalar, type Scalar, scalarText } from './scalar.ts';
import { truncateScalar } from './scalar-arithmetic.ts';

/** What a pointer points to; two pointers to the same have the same object here. */
export type Target =
  | { readonly kind: 'context' }
  | { readonly kind: 'stack'; readonly frame: number }
  | { readonly kind: 'value'; readonly map: number }
  | { readonly kind: 'map'; readonly map: number }
  | { readonly kind: 'region'; readonly region: string };

export interface NumberValue {
  readonly kind: 'number';
  readonly scalar: Scalar;
  /** Values of the same origin, which are the same number; 0 for none. */
  readonly origin: number;
}
export interface PointerValue {
  readonly kind: 'pointer';
  readonly to: Target;
  /** Bytes from the start of what it points to; for the stack from the frame's upper end. */
  readonly offset: Scalar;
  /** Not 0: it may be null, and is null exactly if the others of this origin are. */
  readonly origin: number;
}
/** Null: not initialised. */
export type Value = NumberValue | PointerValue | null;

export const numberValue = (scalar: Scalar, origin = 0): NumberValue => ({ kind: 'number', scalar, origin });
export const pointerValue = (to: Target, offset: Scalar = knownScalar(0n), origin = 0): PointerValue => ({
  kind: 'pointer',
  to,
  offset,
  origin,
});

/** A value in some of the eight bytes of a slot. */
export interface Part {
  readonly at: number;
  readonly size: number;
  readonly value: NonNullable<Value>;
}
export interface Slot {
  /** A bit for each byte that holds something. */
  readonly written: number;
  /** Values that are known; they do not overlap. A pointer fills the slot. */
  readonly parts: readonly Part[];
}
const noSlots: readonly Slot[] = new Array<Slot>(slotCount).fill({ written: 0, parts: [] });

export class Frame {
  readonly registers: Value[];
  /** Shared with copies of the frame: replaced, not changed. */
  slots: readonly Slot[];
  /** Where the caller goes on; -1 in the first frame. */
  readonly returnTo: number;
  /** Start of the function. */
  readonly start: number;

  constructor(start: number, returnTo: number, registers?: Value[], slots: readonly Slot[] = noSlots) {
    this.start = start;
    this.returnTo = returnTo;
    this.registers = registers ?? new Array<Value>(registerCount).fill(null);
    this.slots = slots;
  }
  copy(): Frame {
    return new Frame(this.start, this.returnTo, this.registers.slice(), this.slots);
  }

  /** Bytes from `from` to before `to`, offsets from the frame's upper end, hold something. */
  isWritten(from: number, to: number): boolean {
    for (let at = from + stackBytes; at < to + stackBytes; at++) {
      if ((this.slots[at >> 3]!.written & (1 << (at & 7))) === 0) return false;
    }
    return true;
  }
  /** A pointer lies in one of these bytes. */
  holdsPointer(from: number, to: number): boolean {
    for (let index = (from + stackBytes) >> 3; index <= (to - 1 + stackBytes) >> 3; index++) {
      if (this.slots[index]!.parts.some(({ value }) => value.kind === 'pointer')) return true;
    }
    return false;
  }
  /** What is in these bytes of one slot, if it was stored whole or is part of a number that was. */
  load(offset: number, size: number): Value {
    const at = offset + stackBytes;
    const within = at & 7;
    for (const part of this.slots[at >> 3]!.parts) {
      if (part.at !== within || part.size < size) continue;
      if (part.size === size) return part.value;
      if (part.value.kind === 'number') return numberValue(truncateScalar(size * 8, part.value.scalar));
    }
    return null;
  }
  /** @param value null for bytes of which nothing is known */
  store(offset: number, size: number, value: Value): void {
    const at = offset + stackBytes;
    const within = at & 7;
    const { written, parts } = this.slots[at >> 3]!;
    const kept = parts.filter((part) => part.at + part.size <= within || part.at >= within + size);
    this.slots = this.slots.with(at >> 3, {
      written: written | (((1 << size) - 1) << within),
      parts: value === null ? kept : [...kept, { at: within, size, value }],
    });
  }
  /** Bytes that may have been written: what was known of them is forgotten. */
  blur(from: number, to: number): void {
    for (let at = from + stackBytes; at < to + stackBytes; at++) {
      const { written, parts } = this.slots[at >> 3]!;
      const within = at & 7;
      const kept = parts.filter((p) => p.at > within || p.at + p.size <= within);
      if (kept.length < parts.length) this.slots = this.slots.with(at >> 3, { written, parts: kept });
    }
  }
  /** Bytes that certainly were written, with what is not known. */
  fill(from: number, to: number): void {
    for (let offset = from; offset < to; offset++) this.store(offset, 1, null);
  }
}

export class State {
  readonly frames: Frame[];

  constructor(frames: Frame[]) {
    this.frames = frames;
  }
  get frame(): Frame {
    return this.frames.at(-1)!;
  }
  copy(): State {
    return new State(this.frames.map((frame) => frame.copy()));
  }

  /** Replaces every value of an origin. */
  replace(origin: number, change: (value: NonNullable<Value>) => Value): void {
    for (const frame of this.frames) {
      const { registers } = frame;
      for (let r = 0; r < framePointer; r++) {
        const value = registers[r]!;
        if (value !== null && value.origin === origin) registers[r] = change(value);
      }
      frame.slots.forEach((slot, index) => {
        if (!slot.parts.some(({ value }) => value.origin === origin)) return;
        const parts = slot.parts.map((part) =>
          part.value.origin === origin ? { ...part, value: change(part.value)! } : part,
        );
        frame.slots = frame.slots.with(index, { ...slot, parts });
      });
    }
  }
}

const copies = <K, V>(make: (key: K) => V): ((key: K) => V) => {
  const made = new Map<K, V>();
  return (key) => {
    let found = made.get(key);
    if (found === undefined) made.set(key, (found = make(key)));
    return found;
  };
};

/** One object for each thing that can be pointed to. */
export class Targets {
  readonly context: Target = { kind: 'context' };
  readonly stack = copies((frame: number): Target => ({ kind: 'stack', frame }));
  readonly value = copies((map: number): Target => ({ kind: 'value', map }));
  readonly map = copies((map: number): Target => ({ kind: 'map', map }));
  readonly region = copies((region: string): Target => ({ kind: 'region', region }));
}

export function targetText(to: Target, maps: readonly { readonly name: string }[]): string {
  switch (to.kind) {
    case 'context':
      return 'the context';
    case 'stack':
      return to.frame === 0 ? 'the stack' : `the stack of frame ${to.frame}`;
    case 'value':
      return `a value of map ${maps[to.map]!.name}`;
    case 'map':
      return `map ${maps[to.map]!.name}`;
    case 'region':
      return `region ${to.region}`;
    default:
      return to satisfies never;
  }
}

/** For messages: what a register holds. */
export function valueText(value: Value, maps: readonly { readonly name: string }[]): string {
  if (value === null) return 'not initialised';
  if (value.kind === 'number') {
    const text = scalarText(value.scalar);
    return isKnown(value.scalar) ? `the number ${text}` : text.startsWith('any') ? text : `a number of ${text}`;
  }
  const offset = scalarText(value.offset);
  const where = `${targetText(value.to, maps)}${offset === '0' ? '' : ` + ${offset}`}`;
  return value.origin === 0 ? `a pointer to ${where}` : `null or a pointer to ${where}`;
}
