/** Regions to a WebAssembly module: what the compiler, on this thread or in a worker, does for one request. */
import type { Context } from '../src/execute/context.ts';
import type { CodeSource } from '../src/execute/frontend.ts';
import { importLibrary } from './arith.ts';
import type { CodeRangeOfRip } from './code-snapshot.ts';
import type { IndirectJump, TranslationMode } from './compiler-protocol.ts';
import { coreMemory } from './core-memory.ts';
import { offerAskProgram } from './direct-memory.ts';
import { Emitter } from './emitter.ts';
import { offerF80Functions } from './f80-functions.ts';
import type { InexactFlag } from './mxcsr.ts';
import { formRegion, type IndirectTargets, type Region, type RegionBounds } from './region.ts';
import { RegionEmitter } from './region-emitter.ts';
import { offerDirectPort } from './region-ports.ts';
import './lower-families.ts';

export interface Translation {
  readonly bytes: Uint8Array;
  /** The code that the region was made from. */
  readonly ranges: readonly CodeRangeOfRip[];
  readonly instructions: number;
  /** The indirect jumps in it, with the targets that are part of it. */
  readonly indirect: readonly IndirectJump[];
  /** The state of the inexact flag that it is for: either, where that makes no difference. */
  readonly inexact: InexactFlag;
}

/** `translate`, for those who must not import it. */
export type Translate = typeof translate;

/** Name of the i-th function of a module. */
export const regionName = (i: number): string => (i === 0 ? 'region' : `region${i}`);

/** The module of the region at `rip`, or null if there is nothing to translate. Its function is exported as `region`. */
export function translate(
  source: CodeSource,
  context: Context,
  rip: bigint,
  mode: TranslationMode,
  seen?: IndirectTargets,
  apart?: ReadonlySet<bigint>,
  inexact: InexactFlag = 'either',
  bounds?: RegionBounds,
): Translation | null {
  const region = formRegion(source, context, rip, seen, apart, undefined, bounds);
  return region === null ? null : assemble(region, mode, inexact);
}

/** The module's text, for people. */
export function translationText(source: CodeSource, context: Context, rip: bigint): string | null {
  const region = formRegion(source, context, rip);
  if (region === null) return null;
  return modules.use({ shared: false, x87: 'exact' }, (e) => {
    fill(e, [region], 'exact', 'either');
    return e.text();
  });
}

/** One module of several regions; the function of the i-th is exported as `region`, `region1`, `region2` … */
export function assembleRegions(
  regions: readonly Region[],
  mode: TranslationMode,
  inexact: InexactFlag = 'either',
): Uint8Array {
  return modules.use(mode, (e) => {
    fill(e, regions, mode.x87, inexact);
    return e.binary();
  });
}

/**
 * Modules that this thread has ready for functions: with what all of them import. To make one takes as long as to fill it
 * with a small region.
 */
class ReadyModules {
  private readonly ready = new Map<string, { readonly e: Emitter; uses: number }>();

  /** Lends the module of a way of translating, and takes all functions out of it afterwards. */
  use<T>(mode: TranslationMode, make: (e: Emitter) => T): T {
    const key = `${mode.shared} ${mode.cpu}`;
    let module = this.ready.get(key);
    this.ready.delete(key);
    module ??= { e: emptyModule(mode), uses: 0 };
    let isWhole = false;
    try {
      const made = make(module.e);
      isWhole = ++module.uses < maximumUses;
      return made;
    } finally {
      if (isWhole) {
        module.e.clear();
        this.ready.set(key, module);
      } else module.e.dispose();
    }
  }
}
/** Functions that were taken out of a module go on to take memory. */
const maximumUses = 64;
const modules = new ReadyModules();

function emptyModule({ shared, cpu }: TranslationMode): Emitter {
  const e = new Emitter();
  e.cpuBase = cpu ?? null;
  e.importMemory({ ...coreMemory, shared });
  e.importTable(1);
  importFunctions(e);
  offerF80Functions(e);
  return e;
}
/** Declares, or offers, the functions and globals that regions may import. */
export function importFunctions(e: Emitter): void {
  e.importFunction('flagsWord', 'core', ['i32'], 'i32');
  e.importFunction('flagsTest', 'core', ['i32', 'i32'], 'i32');
  offerDirectPort(e);
  offerAskProgram(e);
  e.offerFunction('timeStamp', 'core', ['i32', 'i32'], 'i64');
  importLibrary(e);
}

/** Fills a module. True: the state of the inexact flag makes a difference. */
function fill(e: Emitter, regions: readonly Region[], x87: TranslationMode['x87'], inexact: InexactFlag): boolean {
  const minds = regions.map((region, i) => RegionEmitter.add(e, regionName(i), region, { x87, inexact }));
  e.addOffered();
  return minds.includes(true);
}

/** The module of one region. */
export function assemble(region: Region, mode: TranslationMode, inexact: InexactFlag): Translation {
  const made = modules.use(mode, (e) => {
    const mindsInexact = fill(e, [region], mode.x87, inexact);
    return { bytes: e.binary(), inexact: mindsInexact ? inexact : ('either' as const) };
  });
  return {
    ...made,
    ranges: region.blocks.filter((b) => b.instructions > 0).map((b) => ({ start: b.rip, length: b.length })),
    instructions: region.instructions,
    indirect: region.blocks.flatMap(({ terminator: t }) =>
      t.kind === 'indirect' ? [{ site: t.site, targets: t.targets }] : [],
    ),
  };
}
