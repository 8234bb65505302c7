/** The x87 unit of a region, if the region needs one, with the values that the embedder has chosen. */
import type { Emitter, Expr } from './emitter.ts';
import type { Region } from './region.ts';
import { RegionX87 } from './region-x87.ts';
import { ExactValues } from './x87-exact.ts';
import { FastValues } from './x87-fast.ts';
import { usesX87 } from './x87-flow.ts';

export function regionX87(
  e: Emitter,
  region: Region,
  precision: 'exact' | 'fast',
  exitIf: (condition: Expr) => void,
): RegionX87 | null {
  if (!usesX87(region)) return null;
  const Values = precision === 'fast' ? FastValues : ExactValues;
  return new RegionX87(e, region, exitIf, (unit) => new Values(unit));
}
