/**
 * The translator of one vCPU thread: takes hot entries, has them compiled, installs the functions in the table, and drops
 * them when their code changes or there are too many.
 */
import type { CodeMemory, CodeUser, InterpreterBlock } from '../src/execute/code-memory.ts';
import type { Context, Contexts } from '../src/execute/context.ts';
import type { CoreExports, Engine, Regions } from '../src/execute/engine.ts';
import { linearOf } from '../src/execute/frontend.ts';
import { type Translation, translate } from './translate.ts';

interface Installed {
  readonly context: number;
  readonly key: number;
  readonly slot: number;
  readonly bytes: number;
  readonly instructions: number;
  /** Linear page -> physical page that it must map to. */
  readonly pages: ReadonlyMap<bigint, number>;
  readonly parts: readonly CodeUser[];
  readonly rip: bigint;
  readonly indirectSites: readonly bigint[];
}

export interface TranslatorStatistics {
  regions: number;
  bytes: number;
  instructions: number;
  /** Milliseconds spent in compiling, wherever. */
  compileMillis: number;
  invalidated: number;
  dropped: number;
}

export interface TranslatorParts {
  readonly engine: Engine;
  readonly contexts: Contexts;
  readonly code: CodeMemory;
  readonly memory: WebAssembly.Memory;
  readonly table: WebAssembly.Table;
  readonly arithmetic: WebAssembly.Exports;
  readonly shared: boolean;
  /** Bytes of translated code that may be kept. */
  readonly maximumBytes: number;
}

/** What a module of regions imports. */
export function regionImports(
  core: CoreExports,
  memory: WebAssembly.Memory,
  table: WebAssembly.Table,
  arithmetic: WebAssembly.Exports,
): WebAssembly.Imports {
  return { env: { memory, table }, core: { ...core }, arith: { ...arithmetic } } as WebAssembly.Imports;
}

/** Times that a target must stand in one profile to be taken in, and how many a jump may have. */
const profileThreshold = 4;
const maximumTargets = 48;

export class Translator implements Regions {
  private readonly parts: TranslatorParts;
  private readonly installed = new Map<number, Map<number, Installed>>();
  private readonly refused = new Set<string>();
  /** Targets of indirect jumps that have been seen. */
  private readonly seen = new Map<bigint, readonly bigint[]>();
  private readonly freeSlots: number[] = [];
  private nextSlot = 1;
  private liveBytes = 0;
  readonly statistics: TranslatorStatistics = {
    regions: 0,
    bytes: 0,
    instructions: 0,
    compileMillis: 0,
    invalidated: 0,
    dropped: 0,
  };

  constructor(parts: TranslatorParts) {
    this.parts = parts;
  }

  hot(block: InterpreterBlock, context: Context): void {
    this.force(block.rip, context);
  }

  /** Translates the region at `rip` now, hot or not. False = there is nothing to translate. */
  force(rip: bigint, context: Context): boolean {
    if (context.watched) return false;
    const key = Number(rip);
    const place = `${context.id},${key}`;
    if (this.refused.has(place)) return false;
    const started = performance.now();
    const made = translate(this.parts.engine.source, context, rip, this.parts.shared, this.seen);
    this.statistics.compileMillis += performance.now() - started;
    if (made === null) {
      this.refused.add(place);
      return false;
    }
    this.install(made, new WebAssembly.Module(made.bytes as BufferSource), context, key);
    return true;
  }

  /** Regions that met unknown targets of an indirect jump are translated again with those that are frequent. */
  profile(pairs: BigInt64Array): void {
    const counts = new Map<bigint, Map<bigint, number>>();
    for (let i = 0; i < pairs.length; i += 2) {
      const [site, target] = [pairs[i]!, pairs[i + 1]!];
      let targets = counts.get(site);
      if (targets === undefined) counts.set(site, (targets = new Map()));
      targets.set(target, (targets.get(target) ?? 0) + 1);
    }
    const changed = new Set<bigint>();
    for (const [site, targets] of counts) {
      const known = this.seen.get(site) ?? [];
      const more = [...targets].filter(([t, n]) => n >= profileThreshold && !known.includes(t)).map(([t]) => t);
      if (more.length === 0 || known.length >= maximumTargets) continue;
      this.seen.set(site, [...known, ...more].slice(0, maximumTargets));
      changed.add(site);
    }
    if (changed.size === 0) return;
    const { contexts, engine } = this.parts;
    const context = contexts.current(engine.state);
    for (const region of [...(this.installed.get(context.id)?.values() ?? [])]) {
      if (region.indirectSites.some((site) => changed.has(site))) this.force(region.rip, context);
    }
  }

  find(context: Context, key: number): number {
    const region = this.installed.get(context.id)?.get(key);
    if (region === undefined) return 0;
    for (const [page, physical] of region.pages) if (this.parts.engine.physicalOf(page) !== physical) return 0;
    return region.slot;
  }

  private install(made: Translation, module: WebAssembly.Module, context: Context, key: number): void {
    const { engine, code, memory, table, arithmetic } = this.parts;
    const pages = new Map<bigint, number>();
    const parts: CodeUser[] = [];
    for (const { start, length } of made.ranges) {
      const linear = linearOf(context, start);
      const first = linear & ~0xfffn;
      const last = (linear + BigInt(length) - 1n) & ~0xfffn;
      const physical = engine.physicalOf(linear);
      const second = first === last ? -1 : engine.physicalOf(last);
      if (physical < 0 || (first !== last && second < 0)) return; // unmapped meanwhile
      pages.set(first, physical - Number(linear & 0xfffn));
      if (first !== last) pages.set(last, second);
      parts.push({ physical, second, length, invalidate: () => this.remove(region, true) });
    }
    if (this.liveBytes + made.bytes.length > this.parts.maximumBytes) this.dropAll();
    const slot = this.freeSlots.pop() ?? this.nextSlot++;
    if (slot >= table.length) table.grow(Math.max(1024, table.length));
    const instance = new WebAssembly.Instance(module, regionImports(engine.core, memory, table, arithmetic));
    const region: Installed = {
      context: context.id,
      key,
      slot,
      bytes: made.bytes.length,
      instructions: made.instructions,
      pages,
      parts,
      rip: made.rip,
      indirectSites: made.indirectSites,
    };
    table.set(slot, instance.exports.region as () => bigint);
    let map = this.installed.get(context.id);
    if (map === undefined) {
      map = new Map();
      this.installed.set(context.id, map);
    }
    const old = map.get(key);
    if (old !== undefined) this.remove(old, false);
    map.set(key, region);
    for (const part of parts) code.watch(part);
    this.liveBytes += region.bytes;
    this.statistics.regions++;
    this.statistics.bytes += region.bytes;
    this.statistics.instructions += region.instructions;
    engine.regionChanged();
  }

  private remove(region: Installed, invalidated: boolean): void {
    const map = this.installed.get(region.context);
    if (map?.get(region.key) !== region) return;
    map.delete(region.key);
    this.parts.table.set(region.slot, null);
    this.freeSlots.push(region.slot);
    this.liveBytes -= region.bytes;
    if (invalidated) this.statistics.invalidated++;
    for (const part of region.parts) this.parts.code.unwatch(part);
    this.parts.engine.regionChanged();
  }

  /** Forgets every region; the interpreter goes on and hot code is translated again. */
  dropAll(): void {
    for (const map of this.installed.values()) for (const region of [...map.values()]) this.remove(region, false);
    this.refused.clear();
    this.statistics.dropped++;
  }
}
