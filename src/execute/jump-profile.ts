/**
 * The profile of indirect jumps in a vCPU's block (src/state/layout.ts): hands what regions have written there to the
 * translator when it is full, and less often the less comes of it.
 */
import type { CpuState } from '../state/cpu-state.ts';
import { offsetOf, profileEntries, profileEntryBytes, profileOffset } from '../state/layout.ts';
import type { Regions } from './regions.ts';

const COUNT = offsetOf('profileCount') >> 2;
/** A profile is looked at after 2^28 indirect jumps at the latest. */
const maximumPatience = 2 ** 18;
/** What came of the last one is being translated: so many rings pass by meanwhile, for as long as that takes at least. */
const fruitfulPatience = 64;

export class JumpProfile {
  private readonly state: CpuState;
  private patience = 1;

  constructor(state: CpuState) {
    this.state = state;
  }
  /** The ring is full. */
  taken(regions: Regions | null): void {
    const { buffer, base, i32 } = this.state;
    const fruitful =
      regions?.profile(new BigInt64Array(buffer, base + profileOffset, (profileEntries * profileEntryBytes) / 8)) ===
      true;
    this.patience = fruitful ? fruitfulPatience : Math.min(this.patience * 2, maximumPatience);
    i32[COUNT] = profileEntries * (1 - this.patience);
  }
}
