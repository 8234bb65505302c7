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

export class CodeSnapshot implements CodeSource {
  private readonly engine: Engine;
  private readonly pages = new Map<bigint, CodePage | null>();

  constructor(engine: Engine) {
    this.engine = engine;
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
  /** What was copied. */
  list(): { linear: bigint; bytes: Uint8Array | null }[] {
    return Array.from(this.pages, ([linear, copy]) => ({ linear, bytes: copy?.bytes ?? null }));
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

function wrap(linear: bigint, context: Context): bigint {
  return context.codeSize === 64 ? BigInt.asIntN(64, linear) : BigInt.asUintN(32, linear);
}
