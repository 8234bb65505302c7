/**
 * The translator of one vCPU thread: has hot code compiled, on another thread or on this one, installs the functions in
 * the table, and drops them when their code changes or there are too many.
 */

import type { CodeMemory, CodeUser, InterpreterBlock } from '../src/execute/code-memory.ts';
import type { Context } from '../src/execute/context.ts';
import type { Engine } from '../src/execute/engine.ts';
import { linearOf } from '../src/execute/frontend.ts';
import { InternalError } from '../src/execute/internal-error.ts';
import type { FoundRegion } from '../src/execute/jump-cache.ts';
import { hotThreshold, neverAgain } from '../src/execute/leave.ts';
import type { Regions } from '../src/execute/regions.ts';
import { addressOfBig, bigOf } from '../src/mmu/linear.ts';
import { profileEntries } from '../src/state/layout.ts';
import type { BackgroundCompiler, Made } from './background-compiler.ts';
import { type CodePart, CodeSnapshot, partsOf, wrap } from './code-snapshot.ts';
import type { TranslationMode } from './compiler-protocol.ts';
import { sameBytes } from './hash.ts';
import { costOf, InstalledRegions, type Translated } from './installed-regions.ts';
import { INEXACT, type InexactFlag } from './mxcsr.ts';
import { PlaceMap } from './place-map.ts';
import { unbounded } from './region.ts';
import { RegionEnds } from './region-ends.ts';
import { RegionProfile } from './region-profile.ts';
import type { Translate } from './translate.ts';
import type { CachedRegion, TranslationCache } from './translation-cache.ts';

/** Hot code that waits for its turn with the compiler: most of it waits in vain. */
interface Waiting {
  readonly rip: bigint;
  /** The same as a number. */
  readonly key: number;
  readonly context: Context;
  /** Where its page lies and those before and after it, when it became hot; -1: that one cannot be fetched. */
  readonly physical: readonly [before: number, own: number, after: number];
  /** A region is there that does not fit. */
  readonly again: boolean;
  /** Entries of its block when it was last looked at. */
  entries: number | null;
}

/** What the cache wants to know of a translation. */
type Kept = Pick<Made, 'ranges' | 'instructions' | 'indirect' | 'inexact'>;

export interface TranslatorStatistics {
  /** Regions installed. */
  regions: number;
  fromCache: number;
  bytes: number;
  instructions: number;
  /** Milliseconds spent in compiling, wherever. */
  compileMillis: number;
  invalidated: number;
  dropped: number;
}

/** Who translates hot code. */
export type TranslatorWay =
  /** This thread, when a block becomes hot. */
  | { readonly kind: 'hot'; readonly translate: Translate }
  /** This thread, at the first execution. */
  | { readonly kind: 'first'; readonly translate: Translate }
  /** Another thread; the guest is interpreted meanwhile. */
  | { readonly kind: 'background'; readonly compiler: BackgroundCompiler };

export interface TranslatorParts {
  readonly engine: Engine;
  readonly code: CodeMemory;
  readonly memory: WebAssembly.Memory;
  readonly table: WebAssembly.Table;
  readonly arithmetic: WebAssembly.Exports;
  readonly mode: TranslationMode;
  readonly way: TranslatorWay;
  /** Translations of earlier runs. */
  readonly cache: TranslationCache | null;
  /** Bytes of the host's memory that translations may take, about. */
  readonly maximumBytes: number;
}

/** Times that a region is made anew for the other state of the inexact flag. */
const maximumFlips = 3;
/**
 * Instructions of hot code that are interpreted before it makes the compiler load, some 3 ms: a machine whose compiler is
 * not loaded knows most of what its guest runs from the cache.
 */
const patience = 200_000;
/**
 * Entries of a hot block until it is sent to the compiler: a region costs as much as a million interpreted instructions, on
 * all the host's threads, and a boot of Linux, in which much is a little hot, is quicker with fewer of them.
 */
const moreEntries = 3000;
/** Instructions of a region that takes the compiler as long as that. */
const ordinarySize = 64;
/**
 * What a region that does not fit is worth, in interpreted instructions between two requests: it runs all the same, and what
 * is interpreted in loops goes first.
 */
const againHeat = 100_000;
/** Translated in a way that does not fit, a region is left for the interpreter: times until the compiler is loaded. */
const leavePatience = 3000;
/** A region that refuses to run has all its instructions interpreted. */
const leavesPerRefusal = 10;
/** Indirect jumps to unknown targets that cost as much as leaving once. */
const jumpsPerLeave = 16;
/**
 * A region that lacks a page where it is looked for: entries of its block until the next look, until the first look of a
 * block that is hot otherwise, and such blocks' looks until it is made anew.
 */
const lookPatience = 100;
const unfoundPatience = 200;
const maximumUnfound = 20;
/**
 * Requests that the compiler has at once. What waits may turn out to be part of what comes; and a region costs this thread
 * some 2 ms, by which more of them, of what is less hot, make a boot of Linux slower.
 */
const largestUnderWay = 1;

export class Translator implements Regions {
  private readonly parts: TranslatorParts;
  private readonly installed: InstalledRegions;
  /** Places that were asked for, or where there is nothing to translate. */
  private readonly settled = new PlaceMap<true>();
  private readonly learned: RegionProfile;
  private readonly waiting = new Set<Waiting>();
  /** How much of the hot code is with the compiler now, which may not be ready for any. */
  private underWay = 0;
  private readonly patient = new Set<number>();
  /** Places of blocks that are hot, and are to be a little hotter. */
  private readonly warm = new PlaceMap<true>();
  private readonly ends: RegionEnds;
  private leaves = 0;
  private awaitsCompiler = false;
  /** Regions made for a clear inexact flag, to be made for a set one when there is nothing else to do. */
  private readonly companions: { readonly rip: bigint; readonly context: Context }[] = [];
  /** How often regions have met another state of MXCSR's inexact flag than they were made for. */
  private readonly flips = new Map<bigint, number>();
  readonly statistics: TranslatorStatistics = {
    regions: 0,
    fromCache: 0,
    bytes: 0,
    instructions: 0,
    compileMillis: 0,
    invalidated: 0,
    dropped: 0,
  };

  constructor(parts: TranslatorParts) {
    this.parts = parts;
    this.installed = new InstalledRegions(parts, () => void this.statistics.invalidated++);
    this.ends = new RegionEnds(this.installed);
    this.learned = new RegionProfile(this.installed, ({ context, key }) => this.settled.has(context, key));
  }

  hot(block: InterpreterBlock, context: Context): number {
    if (context.watched) return neverAgain;
    const { way } = this.parts;
    if (way.kind === 'background' && !way.compiler.isLoading && !this.patient.has(block.key)) {
      this.patient.add(block.key);
      return Math.ceil(patience / block.instructions);
    }
    // A region of this very code that lacks a page here (not accessed yet, by this process) is given time.
    const page = block.physical - (block.physical % 4096);
    const unfinished = this.installed.at(context.id, block.key).find(({ entry }) => entry === page);
    if (unfinished !== undefined && unfinished.unfound++ < maximumUnfound) return unfoundPatience;
    if (way.kind === 'background' && !this.warm.delete(context.id, block.key)) {
      this.warm.set(context.id, block.key, true);
      // What is part of a region already is mostly entered that way, and a region of its own has all that follows once more.
      const around = this.installed.around(context.id, block.physical).map(({ instructions }) => instructions);
      return Math.ceil(moreEntries * Math.max(1, Math.max(...around) / ordinarySize));
    }
    this.translate(block.rip, context);
    return neverAgain;
  }
  /** It is time to translate again: regions were left so often. Where the compiler is not loaded, that is later. */
  private isDue(leaves: number): boolean {
    const { way } = this.parts;
    if (way.kind !== 'background' || way.compiler.isLoading) return true;
    this.leaves += leaves;
    return this.leaves >= leavePatience;
  }
  /** False if that was done before, or cannot be. */
  private translate(rip: bigint, context: Context): boolean {
    const { way } = this.parts;
    if (way.kind === 'background') return this.request(rip, context, way.compiler);
    return this.translateNow(rip, context, way.translate);
  }

  profile(entries: BigInt64Array): boolean {
    if (!this.isDue(profileEntries / jumpsPerLeave)) return false;
    const { engine } = this.parts;
    const context = engine.contexts.current(engine.state);
    const regions = this.learned.profiled(entries, context);
    for (const { rip } of regions) this.translate(rip, context);
    return regions.length > 0; // they may be under way already
  }
  retried(context: Context, key: number, times = 1): void {
    if (!this.learned.left(key, times) || !this.isDue(times)) return;
    const { pages } = this.parts.engine;
    const region = this.learned.worn(context, key, (at) => pages.physicalOf(linearOf(context, at)));
    if (region !== null) this.translate(region.rip, context);
  }

  /**
   * A region that was made for another state of the inexact flag is made anew, in the end for both. It goes at once: what
   * is interpreted is quicker without asking it each time.
   */
  refused(context: Context, key: number): void {
    const region = this.installed.at(context.id, key)[0];
    if (region === undefined || region.inexact === 'either' || region.inexact === this.inexactFlag(region.rip)) return;
    this.flips.set(region.rip, (this.flips.get(region.rip) ?? 0) + 1);
    if (this.fromCache(context, key)) return;
    if (this.isDue(leavesPerRefusal)) this.translate(region.rip, context);
    if (this.parts.way.kind === 'background') this.installed.remove(region);
  }
  private inexactFlag(rip: bigint): InexactFlag {
    if ((this.flips.get(rip) ?? 0) >= maximumFlips) return 'either';
    return (this.parts.engine.state.get32('mxcsr') & INEXACT) !== 0 ? 'set' : 'clear';
  }

  find(context: Context, key: number): FoundRegion | null {
    const { way } = this.parts;
    if (way.kind === 'background') way.compiler.poll();
    const region = this.installed.valid(context.id, key);
    if (region !== null || context.watched) return region;
    if (this.fromCache(context, key)) return this.installed.valid(context.id, key);
    if (way.kind !== 'first') return null;
    this.translateNow(bigOf(key), context, way.translate);
    return this.installed.valid(context.id, key);
  }
  mayFind(context: Context, key: number): number {
    const any =
      this.installed.at(context.id, key).length > 0 ||
      (context.stable && this.parts.cache?.knows(context.id, key) === true);
    return any ? lookPatience : 0;
  }

  private snapshot(context: Context): CodeSnapshot {
    const { engine, code, way } = this.parts;
    return new CodeSnapshot(engine, way.kind === 'first' ? null : (page) => code.executed(page, context.id));
  }

  // --- this thread
  private translateNow(rip: bigint, context: Context, translate: Translate): boolean {
    const key = addressOfBig(rip);
    if (this.settled.has(context.id, key)) return false;
    const snapshot = this.snapshot(context);
    const page = linearOf(context, rip) & ~0xfffn;
    if (snapshot.page(page) === null) return false; // it will fault
    const started = performance.now();
    const { parts } = this;
    const { seen, apart } = this.learned;
    const inexact = this.inexactFlag(rip);
    const physical = snapshot.physicalOf(page) + Number(linearOf(context, rip) & 0xfffn);
    const bounds = parts.way.kind === 'first' ? unbounded : this.ends.of(context, rip, physical);
    let made: ReturnType<Translate>;
    try {
      made = translate(snapshot, context, rip, parts.mode, seen, apart, inexact, bounds);
    } catch (error) {
      this.settled.set(context.id, key, true); // it is interpreted if the guest goes on
      throw new InternalError(`translation of the code at 0x${rip.toString(16)}: ${(error as Error).message}`);
    }
    if (made === null) {
      this.refuse(rip, context, snapshot);
      return false;
    }
    const module = new WebAssembly.Module(made.bytes as BufferSource);
    this.statistics.compileMillis += performance.now() - started;
    this.take(made.bytes, module, made, rip, context, snapshot, apart);
    return true;
  }

  // --- the compiler's thread
  private request(rip: bigint, context: Context, compiler: BackgroundCompiler): boolean {
    const key = addressOfBig(rip);
    if (this.settled.has(context.id, key)) return false;
    const { pages } = this.parts.engine;
    const page = linearOf(context, rip) & ~0xfffn;
    const own = pages.physicalOf(page);
    if (own < 0 || pages.bytesAt(own, 1) === null) return false;
    this.settled.set(context.id, key, true);
    // Most regions need no more: to ask for pages costs a turn of this thread, and then the guest may be in another context.
    const [before, after] = [
      pages.physicalOf(wrap(page - 4096n, context)),
      pages.physicalOf(wrap(page + 4096n, context)),
    ];
    const again = this.installed.valid(context.id, key) !== null;
    const waiting: Waiting = { rip, key, context, physical: [before, own, after], again, entries: null };
    if (this.underWay >= largestUnderWay || !this.isReady(compiler)) this.waiting.add(waiting);
    else this.send(waiting, compiler);
    return true;
  }
  private send({ rip, key, context, physical }: Waiting, compiler: BackgroundCompiler): void {
    const { engine } = this.parts;
    const page = linearOf(context, rip) & ~0xfffn;
    const [before, own, after] = physical;
    // The guest may be in another address space by now; whether this is the code that it runs is seen when it does.
    const snapshot = this.snapshot(context);
    snapshot.takeAt(page, own);
    snapshot.takeAt(wrap(page - 4096n, context), before);
    snapshot.takeAt(wrap(page + 4096n, context), after);
    this.underWay++;
    const bounds = this.ends.of(context, rip, own + Number(linearOf(context, rip) & 0xfffn));
    const { seen } = this.learned;
    const profile = { apart: new Set(this.learned.apart), inexact: this.inexactFlag(rip), bounds };
    compiler.request({
      context,
      rip,
      snapshot,
      seen,
      ...profile,
      afresh: this.installed.at(context.id, key).length > 0,
      mayGoOn: () => engine.inContext(context.id) && engine.pages.physicalOf(page) === own,
      done: (made) => {
        this.underWay--;
        if (made === null) this.refuse(rip, context, snapshot);
        else {
          this.settled.delete(context.id, key);
          if (made !== undefined) {
            this.statistics.compileMillis += made.millis;
            const isCurrent = this.take(made.bytes, made.module, made, rip, context, snapshot, profile.apart);
            if (!isCurrent && made.kept.length > 0) compiler.forgetPages();
            if (made.inexact === 'clear') this.companions.push({ rip, context });
            this.forgetCovered(made.ranges, context);
          }
          engine.regionChanged(key, context.id); // found, or counted anew
        }
        this.requestNext(compiler);
      },
    });
  }
  /** What waits and is part of a region now is likely to be entered through that region: it is counted anew. */
  private forgetCovered(ranges: Made['ranges'], context: Context): void {
    const spans = ranges.map(({ start, length }) => ({ from: addressOfBig(start), length }));
    for (const waiting of this.waiting) {
      const { key, context: wanted } = waiting;
      if (wanted.id !== context.id || !spans.some(({ from, length }) => key >= from && key < from + length)) continue;
      if (waiting.again || this.installed.valid(context.id, key) !== null) continue; // it is to be translated again
      this.waiting.delete(waiting);
      this.settled.delete(context.id, key);
      this.parts.engine.regionChanged(key, context.id);
    }
  }
  private isReady(compiler: BackgroundCompiler): boolean {
    if (this.awaitsCompiler) return false;
    this.awaitsCompiler = !compiler.ready(() => {
      this.awaitsCompiler = false;
      this.requestNext(compiler);
    });
    return !this.awaitsCompiler;
  }
  /** Of what waits, what is executed most now goes on; what is not executed any more is counted anew. */
  private requestNext(compiler: BackgroundCompiler): void {
    const { engine } = this.parts;
    const wanted = Array.from(this.waiting, (waiting) => ({ waiting, heat: this.heat(waiting) }));
    wanted.sort((a, b) => b.heat - a.heat);
    for (const { waiting, heat } of wanted) {
      const { key, context } = waiting;
      if (heat > 0 && this.underWay >= largestUnderWay) continue;
      this.waiting.delete(waiting);
      if (heat > 0) this.send(waiting, compiler);
      else {
        this.settled.delete(context.id, key);
        engine.regionChanged(key, context.id);
      }
    }
    if (this.underWay === 0) this.requestCompanion(compiler);
  }
  /** Its flag may be set for a region at any time, in this run or in one that finds it in the cache. */
  private requestCompanion(compiler: BackgroundCompiler): void {
    const { engine, cache } = this.parts;
    const { rip, context } = this.companions.pop() ?? {};
    if (cache === null || rip === undefined || context === undefined || !engine.inContext(context.id)) return;
    if (cache.candidates(context.id, rip).some((region) => region.inexact !== 'clear')) return;
    const page = linearOf(context, rip) & ~0xfffn;
    const snapshot = this.snapshot(context);
    if (snapshot.take(page) === null) return;
    for (const beside of [page - 4096n, page + 4096n]) snapshot.take(wrap(beside, context));
    this.underWay++;
    const { seen } = this.learned;
    const apart = new Set(this.learned.apart);
    compiler.request({
      context,
      rip,
      snapshot,
      seen,
      apart,
      bounds: unbounded,
      inexact: 'set',
      afresh: false,
      mayGoOn: () => engine.inContext(context.id) && engine.pages.physicalOf(page) === snapshot.physicalOf(page),
      done: (made) => {
        this.underWay--;
        const parts = made ? partsOf(made.ranges, context) : [];
        if (made && snapshot.isCurrent(parts)) this.keep(made.bytes, made, parts, rip, context, snapshot, apart);
        this.requestNext(compiler);
      },
    });
  }
  /** What a place is worth: instructions that were interpreted there since it was last looked at, and {@link againHeat}. */
  private heat(waiting: Waiting): number {
    return Math.max(waiting.again ? againHeat : 0, this.interpretedAt(waiting));
  }
  private interpretedAt(waiting: Waiting): number {
    const { code } = this.parts;
    const [, page] = waiting.physical;
    let block = code.find(waiting.context.id, waiting.key, false) ?? null;
    while (block !== null && block.physical - (block.physical % 4096) !== page) block = block.other;
    if (block === null) return 0;
    const before = waiting.entries ?? hotThreshold - neverAgain - 1; // the first time it is worth something at least
    const now = code.entriesOf(block);
    waiting.entries = now;
    // What was made or counted anew meanwhile begins at 0.
    const entries = now < before || (before < 0 && now >= 0) ? now : now - before;
    return entries * block.instructions;
  }

  /** Installs what was made of a snapshot. False if the code is not what it was. */
  private take(
    wasm: Uint8Array,
    module: WebAssembly.Module,
    made: Kept,
    rip: bigint,
    context: Context,
    snapshot: CodeSnapshot,
    apart: ReadonlySet<bigint>,
  ): boolean {
    const { ranges, instructions, indirect, inexact } = made;
    const parts = partsOf(ranges, context);
    if (!snapshot.isCurrent(parts) || !this.parts.engine.contexts.knows(context)) return false; // overwritten meanwhile
    const translated = { wasm, instructions, parts, indirect, inexact, apart: apart.size };
    const main = this.install(translated, module, context, rip, snapshot.places());
    const kept = this.keep(wasm, made, parts, rip, context, snapshot, apart);
    if (kept !== null) this.parts.cache?.executes(kept, module, main);
    return true;
  }
  /** Puts a translation into the cache; null where it does not belong there. */
  private keep(
    wasm: Uint8Array,
    { ranges, instructions, indirect, inexact }: Kept,
    parts: readonly CodePart[],
    rip: bigint,
    context: Context,
    snapshot: CodeSnapshot,
    apart: ReadonlySet<bigint>,
  ): CachedRegion | null {
    if (!context.stable) return null;
    const region: CachedRegion = {
      context: context.id,
      rip,
      instructions,
      indirect,
      apart: [...apart].filter((at) => ranges.some(({ start, length }) => at >= start && at < start + BigInt(length))),
      inexact,
      parts: parts.map((part) => ({ page: part.page, offset: part.offset, code: snapshot.bytesOf(part)!.slice() })),
      wasm,
    };
    this.parts.cache?.add(region);
    return region;
  }

  /** Nothing to translate here, until the code changes. */
  private refuse(rip: bigint, context: Context, snapshot: CodeSnapshot): void {
    const { code } = this.parts;
    const key = addressOfBig(rip);
    this.settled.set(context.id, key, true);
    const linear = linearOf(context, rip);
    const offset = Number(linear & 0xfffn);
    const physical = snapshot.physicalOf(linear & ~0xfffn) + offset;
    const length = Math.min(15, 4096 - offset);
    const invalidate = () => void this.settled.delete(context.id, key);
    const user: CodeUser = { physical, second: -1, length, invalidate };
    code.watch(user);
  }

  // --- the cache
  private fromCache(context: Context, key: number): boolean {
    const { cache } = this.parts;
    if (cache === null || !context.stable || !cache.knows(context.id, key)) return false;
    for (const region of cache.candidates(context.id, bigOf(key))) {
      if (region.inexact !== 'either' && region.inexact !== this.inexactFlag(region.rip)) continue;
      const physical = this.whereCached(region);
      if (physical === null) continue;
      const made = cache.moduleOf(region);
      if (made === null) continue;
      const { wasm, module } = made;
      const parts = region.parts.map(({ page, offset, code }) => ({ page, offset, length: code.length }));
      const { instructions, indirect, rip, inexact } = region;
      for (const jump of indirect) this.learned.see(jump);
      for (const at of region.apart) this.learned.lookUpApart(at);
      const translated = { wasm, instructions, parts, indirect, inexact, apart: this.learned.apart.size };
      const main = this.install(translated, module, context, rip, physical);
      cache.executes(region, module, main);
      this.statistics.fromCache++;
      return true;
    }
    return false;
  }
  /** The physical pages of a cached region's code; null if the guest has other code there. */
  private whereCached({ parts }: CachedRegion): Map<bigint, number> | null {
    const { engine } = this.parts;
    const where = new Map<bigint, number>();
    for (const { page, offset, code } of parts) {
      let physical = where.get(page);
      if (physical === undefined) where.set(page, (physical = engine.pages.physicalOf(page)));
      const bytes = physical < 0 ? null : engine.pages.bytesAt(physical + offset, code.length);
      if (bytes === null || !sameBytes(bytes, code)) return null;
    }
    return where;
  }

  private install(
    made: Translated,
    module: WebAssembly.Module,
    context: Context,
    rip: bigint,
    where: ReadonlyMap<bigint, number>,
  ): () => bigint {
    if (this.installed.liveCost + costOf(made.wasm) > this.parts.maximumBytes) this.dropAll();
    this.statistics.regions++;
    this.statistics.bytes += made.wasm.length;
    this.statistics.instructions += made.instructions;
    return this.installed.add(made, module, context, rip, where);
  }

  /** Forgets every region and what was learned of them; the interpreter goes on and hot code is translated again. */
  dropAll(): void {
    this.learned.forget();
    this.flips.clear();
    this.companions.length = 0;
    this.ends.forget();
    this.installed.clear();
    this.statistics.dropped++;
  }
  /** As it was when it was new: all translations are dropped, and what was learnt of the guest is forgotten. */
  forget(): void {
    this.dropAll();
    for (const known of [this.settled, this.warm]) known.clear();
  }
}
