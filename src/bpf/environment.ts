/**
 * What a program may use, as its embedder states it: the structure it gets a pointer to, memory of known size, maps, and
 * helpers. The verifier reads nothing else about the host.
 */
import { BpfError } from './errors.ts';
import type { AccessSize } from './instructions.ts';

/** A field of the context structure. */
export interface BpfField {
  readonly name: string;
  readonly offset: number;
  readonly size: AccessSize;
  /** What the program may do with it. */
  readonly read: boolean;
  readonly write: boolean;
  /** The field holds the address of this region; it can only be loaded whole. */
  readonly pointsTo?: string;
}

/** The structure whose address is in r1 when the program starts. */
export interface BpfContextLayout {
  readonly name: string;
  readonly size: number;
  readonly fields: readonly BpfField[];
}

/** Memory that context fields and helpers give pointers to: a device's state, a packet, a page shared with user space. */
export interface BpfRegion {
  readonly size: number;
  readonly read: boolean;
  readonly write: boolean;
}

/** An array map: a table of `maxEntries` values, found by a 32-bit index. */
export interface BpfMap {
  readonly name: string;
  readonly keySize: 4;
  readonly valueSize: number;
  readonly maxEntries: number;
  /** The program may write its values. */
  readonly write: boolean;
  /** What the values begin as, from the first on; the rest is zero. */
  readonly contents: Uint8Array | null;
}

/** Map values lie this far apart. */
export const valueStride = (map: BpfMap): number => (map.valueSize + 7) & ~7;

export type BpfArgument =
  /** Any number within the bounds, which are those of 64 bits unless given; unsigned. */
  | { readonly kind: 'number'; readonly min?: bigint; readonly max?: bigint }
  | { readonly kind: 'context' }
  /** A map; `key` and `value` below are those of the last one before them. */
  | { readonly kind: 'map'; readonly write?: boolean }
  | { readonly kind: 'key' }
  | { readonly kind: 'value' }
  /** Memory of as many bytes as the next argument says, a `size`. What a helper writes need not be initialised. */
  | { readonly kind: 'memory'; readonly access: 'read' | 'write'; readonly nullable?: boolean }
  | { readonly kind: 'size'; readonly min: number; readonly max: number };

export type BpfResult =
  | { readonly kind: 'number'; readonly min?: bigint; readonly max?: bigint }
  | { readonly kind: 'none' }
  /** A pointer to a value of the map among the arguments, or null. */
  | { readonly kind: 'value' }
  | { readonly kind: 'region'; readonly region: string; readonly nullable: boolean };

/** Helpers that interpreter and translation do themselves. */
export type BpfIntrinsic = 'map-lookup' | 'map-update' | 'muldiv64';

/** A function that programs call by number. */
export interface BpfHelper {
  readonly name: string;
  /** In r1, r2 and so on, at most five. */
  readonly arguments: readonly BpfArgument[];
  readonly result: BpfResult;
  /**
   * How it is called. `bigint`: a function of the embedder with 64-bit arguments and result. `number`: the same with
   * JavaScript numbers, which is quicker; arguments are rounded to 53 bits, results truncated towards zero and saturated
   * to signed 64 bits.
   */
  readonly by: 'bigint' | 'number' | BpfIntrinsic;
}

export interface BpfEnvironment {
  readonly context: BpfContextLayout;
  readonly regions: Readonly<Record<string, BpfRegion>>;
  readonly helpers: Readonly<Record<number, BpfHelper>>;
  /** What r0 may be when the program ends, unsigned. */
  readonly result: { readonly min: bigint; readonly max: bigint };
  /** Pointers may be stored in memory that others see, and may be what the program returns. */
  readonly pointersMayLeak?: boolean;
  /** Accesses to regions and map values must be aligned to their size; those to stack and context always must. */
  readonly strictAlignment?: boolean;
  /** The verifier gives up after looking at so many instructions; 200,000 if not given. */
  readonly maxComplexity?: number;
}

/** Numbers as Linux has them. */
export const mapHelpers: Readonly<Record<number, BpfHelper>> = {
  1: {
    name: 'map_lookup_elem',
    arguments: [{ kind: 'map' }, { kind: 'key' }],
    result: { kind: 'value' },
    by: 'map-lookup',
  },
  2: {
    name: 'map_update_elem',
    arguments: [{ kind: 'map', write: true }, { kind: 'key' }, { kind: 'value' }, { kind: 'number' }],
    result: { kind: 'number' },
    by: 'map-update',
  },
};

const fail = (reason: string): never => {
  throw new BpfError('bad-environment', null, reason);
};

/** @throws BpfError if the environment contradicts itself */
export function checkEnvironment(environment: BpfEnvironment, maps: readonly BpfMap[]): void {
  const { context, regions, helpers } = environment;
  const taken = new Set<number>();
  for (const { name, offset, size, pointsTo } of context.fields) {
    if (offset < 0 || offset + size > context.size) fail(`field ${name} lies outside of ${context.name}`);
    if (offset % size !== 0) fail(`field ${name} at offset ${offset} is not aligned to its ${size} bytes`);
    for (let byte = offset; byte < offset + size; byte++) {
      if (taken.has(byte)) fail(`field ${name} overlaps another of ${context.name}`);
      taken.add(byte);
    }
    if (pointsTo !== undefined && regions[pointsTo] === undefined) fail(`there is no region ${pointsTo} for ${name}`);
    if (pointsTo !== undefined && size !== 8) fail(`field ${name} holds a pointer in ${size} bytes instead of 8`);
  }
  for (const [name, { size }] of Object.entries(regions)) {
    if (!Number.isInteger(size) || size < 0 || size >= maximumObject) fail(`region ${name} has ${size} bytes`);
  }
  for (const [id, helper] of Object.entries(helpers)) {
    if (helper.arguments.length > 5) fail(`helper ${id} has more than 5 arguments`);
    helper.arguments.forEach((argument, index) => {
      const next = helper.arguments[index + 1]?.kind;
      if (argument.kind === 'memory' && next !== 'size') fail(`helper ${id} has memory without a size`);
      if (argument.kind === 'size' && helper.arguments[index - 1]?.kind !== 'memory')
        fail(`helper ${id} has a size without memory`);
    });
    const { result } = helper;
    if (result.kind === 'region' && regions[result.region] === undefined)
      fail(`helper ${id} gives a region ${result.region} that is not there`);
  }
  for (const map of maps) {
    const total = map.maxEntries * valueStride(map);
    if (map.valueSize < 1 || map.maxEntries < 1 || total >= maximumObject)
      fail(`map ${map.name} has ${map.maxEntries} values of ${map.valueSize} bytes`);
    if (map.contents !== null && map.contents.length > total) fail(`map ${map.name} begins with more than it holds`);
  }
}

/** Pointers stay within this distance of what they point to. */
export const maximumObject = 2 ** 29;
