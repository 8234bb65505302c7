/**
 * Instructions that were seen to access devices: blocks end with them, so that what a device changes takes effect at the
 * next instruction and time is exact (engine.ts, deviceAccess).
 */
import type { Block } from './frontend.ts';

/** So many are remembered. */
const capacity = 4096;

export class BlockEnds {
  /** As numbers: one that stands for several instructions only makes blocks end that need not. */
  private readonly rips = new Set<number>();

  add(rip: bigint): void {
    if (this.rips.size === capacity) this.rips.clear();
    this.rips.add(Number(BigInt.asIntN(64, rip)));
  }
  has(rip: number): boolean {
    return this.rips.size !== 0 && this.rips.has(rip);
  }
  /** How many instructions a block may have: all of them, or up to the first that is known here. */
  lengthOf(block: Block): number {
    if (this.rips.size === 0) return block.instructions;
    let count = 0;
    for (const node of block.nodes) {
      if (node.op !== 'insn') continue;
      count++;
      if (this.rips.has(Number(BigInt.asIntN(64, node.imm[0] as bigint)))) break;
    }
    return count;
  }
}
