/**
 * The translated regions that can be entered: their functions in the table that generated code calls through, where their
 * code lies, and what goes when it is written.
 */
import type { CodeMemory, CodeUser } from '../src/execute/code-memory.ts';
import type { Context } from '../src/execute/context.ts';
import type { Engine } from '../src/execute/engine.ts';
import type { CoreExports } from '../src/execute/engine-parts.ts';
import { linearOf } from '../src/execute/frontend.ts';
import type { FoundRegion } from '../src/execute/jump-cache.ts';
import { addressOfBig } from '../src/mmu/linear.ts';
import { firstRegionSlot } from '../src/system/direct-programs.ts';
import type { CodePart } from './code-snapshot.ts';
import type { IndirectJump } from './compiler-protocol.ts';
import type { InexactFlag } from './mxcsr.ts';

export interface Installed extends FoundRegion {
  readonly context: number;
  readonly key: number;
  /** What it takes of the host's memory, about. */
  readonly cost: number;
  readonly users: CodeUser[];
  readonly rip: bigint;
  /** Physical page of its first instruction. */
  readonly entry: number;
  readonly indirect: readonly IndirectJump[];
  /** What it was made for. */
  readonly inexact: InexactFlag;
  /** How many instructions apart there were when it was made. */
  readonly apart: number;
  readonly instructions: number;
  alive: boolean;
  /** How often it was not valid where it was looked for. */
  unfound: number;
}

/** A translation, wherever it comes from. */
export interface Translated {
  readonly wasm: Uint8Array;
  readonly instructions: number;
  readonly parts: readonly CodePart[];
  readonly indirect: readonly IndirectJump[];
  readonly inexact: InexactFlag;
  readonly apart: number;
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

/** Regions at one instruction pointer: address spaces may have different code there. */
const regionsPerPlace = 4;
/** What a module takes of the host's memory beside its code, and its machine code for each byte of WebAssembly. */
const moduleBytes = 32 * 1024;
const machineBytes = 6;
export const costOf = (wasm: Uint8Array): number => moduleBytes + machineBytes * wasm.length;

/** The region has the instruction at a physical address. */
export const holds = ({ users }: Installed, physical: number): boolean =>
  users.some((user) => physical >= user.physical && physical < user.physical + user.length);

interface Parts {
  readonly engine: Engine;
  readonly code: CodeMemory;
  readonly memory: WebAssembly.Memory;
  readonly table: WebAssembly.Table;
  readonly arithmetic: WebAssembly.Exports;
}
const none: readonly Installed[] = [];

export class InstalledRegions {
  private readonly parts: Parts;
  private readonly imports: WebAssembly.Imports;
  private readonly places = new Map<number, Map<number, Installed[]>>();
  /** By physical page. */
  private readonly onPages = new Map<number, Set<Installed>>();
  private readonly onInvalidated: () => void;
  private readonly freeSlots: number[] = [];
  private nextSlot = firstRegionSlot;
  /** What all that is installed takes of the host's memory, about. */
  liveCost = 0;

  /** @param onInvalidated told of each region that goes because its code was written */
  constructor(parts: Parts, onInvalidated: () => void) {
    this.parts = parts;
    this.imports = regionImports(parts.engine.core, parts.memory, parts.table, parts.arithmetic);
    this.onInvalidated = onInvalidated;
  }

  /** The regions at an instruction pointer, the newest first; address spaces may have different code there. */
  at(context: number, key: number): readonly Installed[] {
    return this.places.get(context)?.get(key) ?? none;
  }
  /** The newest region of each place in a context. */
  newest(context: number): Installed[] {
    return Array.from(this.places.get(context)?.values() ?? [], ([region]) => region!);
  }
  /** The regions that hold the instruction at a physical address. */
  around(context: number, physical: number): Installed[] {
    const there = this.onPages.get(Math.floor(physical / 4096));
    return there === undefined ? [] : [...there].filter((r) => r.context === context && holds(r, physical));
  }
  /** The region at an instruction pointer whose code is mapped now. */
  valid(context: number, key: number): Installed | null {
    for (const region of this.at(context, key)) if (this.parts.engine.pages.areMapped(region.pages)) return region;
    return null;
  }

  /**
   * Enters a region.
   * @param where the physical pages of its code
   * @returns its function
   */
  add(
    { wasm, instructions, parts, indirect, inexact, apart }: Translated,
    module: WebAssembly.Module,
    context: Context,
    rip: bigint,
    where: ReadonlyMap<bigint, number>,
  ): () => bigint {
    const { table, code, engine } = this.parts;
    const key = addressOfBig(rip);
    const entry = where.get(linearOf(context, rip) & ~0xfffn)!;
    const cost = costOf(wasm);
    const instance = new WebAssembly.Instance(module, this.imports);
    const slot = this.freeSlots.pop() ?? this.nextSlot++;
    if (slot >= table.length) table.grow(Math.max(1024, table.length));
    const main = instance.exports.region as () => bigint;
    table.set(slot, main);
    const pages = [...new Set(parts.map(({ page }) => page))].map((page) => ({
      low: Number(BigInt.asUintN(32, page)),
      high: Number(BigInt.asIntN(32, page >> 32n)),
      physical: where.get(page)!,
    }));
    const users: CodeUser[] = parts.map(({ page, offset, length }) => ({
      physical: where.get(page)! + offset,
      second: -1,
      length,
      invalidate: () => {
        if (this.remove(region)) this.onInvalidated();
      },
    }));
    const fixed = { context: context.id, key, slot, cost, pages, users, rip, entry, indirect, inexact, apart };
    const region: Installed = { ...fixed, instructions, alive: true, unfound: 0 };
    let places = this.places.get(context.id);
    if (places === undefined) this.places.set(context.id, (places = new Map()));
    // A region of the same code is replaced; one of another address space stays, unless there are many.
    for (const [i, old] of [...this.at(context.id, key)].entries())
      if (old.entry === entry || i >= regionsPerPlace - 1) this.remove(old);
    const regions = places.get(key);
    if (regions === undefined) places.set(key, [region]);
    else regions.unshift(region);
    for (const user of users) code.watch(user);
    for (const { physical } of pages) {
      const number = Math.floor(physical / 4096);
      const there = this.onPages.get(number);
      if (there === undefined) this.onPages.set(number, new Set([region]));
      else there.add(region);
    }
    this.liveCost += cost;
    engine.regionChanged(key, context.id);
    return main;
  }

  /** False if it has gone before. */
  remove(region: Installed): boolean {
    const { table, code, engine } = this.parts;
    const places = this.places.get(region.context)!;
    const regions = places.get(region.key);
    const index = regions?.indexOf(region) ?? -1;
    if (index < 0) return false;
    regions!.splice(index, 1);
    region.alive = false;
    if (regions!.length === 0) places.delete(region.key);
    table.set(region.slot, null);
    this.freeSlots.push(region.slot);
    this.liveCost -= region.cost;
    for (const user of region.users) code.unwatch(user);
    for (const { physical } of region.pages) {
      const there = this.onPages.get(Math.floor(physical / 4096));
      there?.delete(region);
      if (there?.size === 0) this.onPages.delete(Math.floor(physical / 4096));
    }
    engine.regionChanged(region.key, region.context);
    return true;
  }
  clear(): void {
    for (const places of this.places.values())
      for (const regions of [...places.values()]) for (const region of [...regions]) this.remove(region);
  }
}
