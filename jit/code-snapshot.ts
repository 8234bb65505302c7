/**
 * The code bytes that one translation is made from: pages copied when the region former first asks for them, with the
 * physical pages that they were copied from. What was translated from a snapshot is valid as long as memory still holds
 * the same bytes, wherever the guest's page tables lead by then.
 */

import type { CodePage } from '../src/execute/code-pages.ts';
import type { Context } from '../src/execute/context.ts';
import type { Engine } from '../src/execute/engine.ts';
import { type CodeSource, linearOf } from '../src/execute/frontend.ts';
import { sameBytes } from './hash.ts';

/** Linear range of code by its instruction pointer. */
export interface CodeRangeOfRip {
  readonly start: bigint;
  readonly length: number;
}

/** A piece of code within one page. */
export interface CodePart {
  /** Linear address of the page. */
  readonly page: bigint;
  /** Offset in the page. */
  readonly offset: number;
  readonly length: number;
}

/** A page of code for the compiler; `bytes` is null if it cannot be fetched. */
export interface SentPage {
  readonly linear: bigint;
  readonly bytes: Uint8Array | null;
  /** A bit for each byte that the guest has entered code at so far; null = nobody knows, all may be. */
  readonly executed: Uint8Array | null;
}

/** The bit of a linear address in the marks of its page; nothing was executed in a page without. */
export const isMarked = (marks: Uint8Array | null, linear: bigint): boolean => {
  const offset = Number(linear & 0xfffn);
  return marks !== null && (marks[offset >> 3]! & (1 << (offset & 7))) !== 0;
};

export class CodeSnapshot implements CodeSource {
  private readonly engine: Engine;
  private readonly pages = new Map<bigint, CodePage | null>();
  private readonly marks = new Map<bigint, Uint8Array | null>();
  private readonly executedIn: ((page: number) => Uint8Array) | null;

  /** @param executedIn marks what the guest has executed in a physical page; null = nobody knows */
  constructor(engine: Engine, executedIn: ((page: number) => Uint8Array) | null) {
    this.engine = engine;
    this.executedIn = executedIn;
  }

  page(linear: bigint): Uint8Array | null {
    return this.take(linear & ~0xfffn)?.bytes ?? null;
  }
  /** Copies a page unless that is done already. */
  take(page: bigint): CodePage | null {
    let copy = this.pages.get(page);
    if (copy === undefined) this.pages.set(page, (copy = this.engine.pages.copy(page)));
    return copy;
  }
  executed(linear: bigint): boolean {
    if (this.executedIn === null) return true;
    return isMarked(this.marksOf(linear & ~0xfffn), linear);
  }
  private marksOf(page: bigint): Uint8Array | null {
    let marks = this.marks.get(page);
    if (marks === undefined) {
      const copy = this.take(page);
      marks = copy === null || this.executedIn === null ? null : this.executedIn(Math.floor(copy.physical / 4096));
      this.marks.set(page, marks);
    }
    return marks;
  }
  /** Copies a page that is known to lie, or to have lain, at a physical address; -1: it could not be fetched. */
  takeAt(page: bigint, physical: number): void {
    const bytes = physical < 0 ? null : this.engine.pages.bytesAt(physical, 4096);
    this.pages.set(page, bytes === null ? null : { physical, bytes: bytes.slice() });
  }
  has(page: bigint): boolean {
    return this.pages.has(page);
  }
  /** Adds a page that was copied before. */
  adopt(page: bigint, copy: CodePage): void {
    if (!this.pages.has(page)) this.pages.set(page, copy);
  }
  /** As if the page could not be fetched. */
  leaveOut(page: bigint): void {
    this.pages.set(page, null);
  }
  /** What was copied. */
  list(): SentPage[] {
    return Array.from(this.pages, ([linear, copy]) => ({
      linear,
      bytes: copy?.bytes ?? null,
      executed: this.executedIn === null ? null : this.marksOf(linear),
    }));
  }
  /** The physical pages of what was copied. */
  places(): Map<bigint, number> {
    return new Map(Array.from(this.pages, ([linear, copy]) => [linear, copy?.physical ?? -1]));
  }
  physicalOf(page: bigint): number {
    return this.pages.get(page)?.physical ?? -1;
  }
  /** The bytes of a part as they were when the snapshot was taken. */
  bytesOf({ page, offset, length }: CodePart): Uint8Array | null {
    return this.pages.get(page)?.bytes.subarray(offset, offset + length) ?? null;
  }
  /** Memory holds the bytes of these parts now. */
  isCurrent(parts: readonly CodePart[]): boolean {
    return parts.every((part) => {
      const taken = this.bytesOf(part);
      const now =
        taken === null ? null : this.engine.pages.bytesAt(this.physicalOf(part.page) + part.offset, part.length);
      return taken !== null && now !== null && sameBytes(taken, now);
    });
  }
}

/** The ranges cut at page boundaries, in order, those that touch made one. */
export function partsOf(ranges: readonly CodeRangeOfRip[], context: Context): CodePart[] {
  const cut: { page: bigint; offset: number; length: number }[] = [];
  for (const { start, length } of ranges) {
    const linear = linearOf(context, start);
    for (let done = 0; done < length; ) {
      const at = wrap(linear + BigInt(done), context);
      const offset = Number(at & 0xfffn);
      const size = Math.min(length - done, 4096 - offset);
      cut.push({ page: at & ~0xfffn, offset, length: size });
      done += size;
    }
  }
  cut.sort((a, b) => (a.page < b.page ? -1 : a.page > b.page ? 1 : a.offset - b.offset));
  const parts: typeof cut = [];
  for (const part of cut) {
    const last = parts.at(-1);
    if (last === undefined || last.page !== part.page || last.offset + last.length < part.offset) parts.push(part);
    else last.length = Math.max(last.length, part.offset + part.length - last.offset);
  }
  return parts;
}

/** A linear address as the context counts them. */
export function wrap(linear: bigint, context: Context): bigint {
  return context.codeSize === 64 ? BigInt.asIntN(64, linear) : BigInt.asUintN(32, linear);
}
