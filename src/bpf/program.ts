/** A program ready to run, whatever runs it: the interpreter (interpreter.ts) or its translation. */
import { BpfError } from './errors.ts';
import type { LinearMemory, PlacedContext, PlacedMaps, PlacedRegions } from './placement.ts';
import type { VerifiedProgram } from './verifier.ts';

export interface BpfProgram {
  readonly name: string;
  /**
   * Runs once.
   *
   * @param context whose fields were set; a context serves one call at a time
   * @returns r0, unsigned
   * @throws BpfError `already-running` if the context is in use; what a helper throws goes through
   */
  run(context: PlacedContext): bigint;
  /** The same for results that are small: the low 32 bits of r0, signed, without a bigint on the way. */
  runSmall(context: PlacedContext): number;
}

/** Helpers of the embedder by name. A helper whose result is a region answers whether there is one. */
export type HelperCalls = Readonly<Record<string, HelperCall>>;
export type HelperCall = (...values: never[]) => unknown;

/** What a program is run with. */
export interface BpfLinkage {
  readonly memory: LinearMemory;
  readonly maps: PlacedMaps;
  readonly regions: PlacedRegions;
  readonly calls: HelperCalls;
}

/** @throws BpfError if something that the program uses is missing */
export function checkLinkage(program: VerifiedProgram, { maps, regions, calls }: BpfLinkage): void {
  const fail = (reason: string): never => {
    throw new BpfError('bad-placement', null, `program ${program.name}: ${reason}`);
  };
  program.maps.forEach((map, index) => {
    if (maps.maps[index] !== map) fail(`map ${index}, ${map.name}, has no place`);
  });
  for (const [name, { size }] of Object.entries(program.environment.regions)) {
    const place = regions[name];
    if (place === undefined) fail(`region ${name} has no place`);
    else if (place.size < size) fail(`region ${name} has ${place.size} bytes instead of ${size}`);
  }
  for (const i of program.code) {
    if (i?.kind !== 'call') continue;
    const helper = program.environment.helpers[i.helper]!;
    if ((helper.by === 'bigint' || helper.by === 'number') && calls[helper.name] === undefined)
      fail(`there is no function for helper ${helper.name}`);
  }
}

/** What a helper's answer becomes in a register if it is called with numbers: truncated and saturated. */
export function numberResult(answer: unknown): bigint {
  const value = Math.trunc(Number(answer ?? 0));
  if (Number.isNaN(value)) return 0n;
  if (value >= 2 ** 63) return (1n << 63n) - 1n;
  if (value <= -(2 ** 63)) return 1n << 63n;
  return BigInt.asUintN(64, BigInt(value));
}

/** A helper that answers what it never may is a bug of the embedder. */
export function checkResult(name: string, value: bigint, min: bigint | undefined, max: bigint | undefined): bigint {
  if ((min !== undefined && value < min) || (max !== undefined && value > max))
    throw new RangeError(`helper ${name} gave ${value}, which is not within ${min ?? 0n} to ${max ?? 'any'}`);
  return value;
}
