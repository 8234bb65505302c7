/**
 * What is known of a block's nodes whatever region it is part of. The nodes of recorded blocks go into many regions
 * (jit/recorded-blocks.ts), unchanged, and so do those that are made of them: what is found out of them is kept with them.
 */
import type { Block } from '../src/execute/frontend.ts';
import { codeOf, type Node, opList, x87Codes } from '../src/ir/micro-ops.ts';
import { isMmx } from '../src/ir/mmx-ops.ts';

/** A unit whose registers are the x87 ones. */
export type Unit = 'x87' | 'mmx';
/** The unit that a micro-op, by its number, is of. */
export const unitOf: readonly (Unit | null)[] = opList.map((op, code) =>
  x87Codes[code]! ? 'x87' : isMmx(op) ? 'mmx' : null,
);

/**
 * An instruction pointer as the key of a map: a number where that is exact, since each look-up of a bigint is a call of the
 * engine's runtime.
 */
export type PlaceKey = number | bigint;
export function placeKey(rip: bigint): PlaceKey {
  const number = Number(rip);
  return Number.isSafeInteger(number) ? number : rip;
}

const INSN = codeOf('insn');
const BRANCH = codeOf('branch');
const JUMP = codeOf('jump');

export class BlockFacts {
  /** Instruction pointers of its instructions. */
  readonly places: readonly PlaceKey[];
  /** Where it jumps to from its middle: a repeated string instruction to itself. */
  readonly inner: readonly bigint[];
  /** The unit of its first micro-op that is of one, and how many instructions come before that. */
  readonly unit: Unit | null = null;
  readonly beforeUnit: number;
  /** How many come before the first one of the other unit. */
  readonly beforeOther: number;
  /** What the optimiser made of it (src/ir/optimise.ts) where nothing was known of the flags before it. */
  forwarded: readonly Node[] | null = null;
  /** That without flags that are dead, and the flags that were live behind it then. */
  undead: { readonly live: number; readonly nodes: readonly Node[] } | null = null;

  constructor(nodes: readonly Node[]) {
    const places: PlaceKey[] = [];
    const inner: bigint[] = [];
    let beforeUnit = -1;
    let beforeOther = -1;
    for (let i = 0; i < nodes.length; i++) {
      const { code, imm } = nodes[i]!;
      const unit = unitOf[code]!;
      if (unit !== null && this.unit === null) {
        this.unit = unit;
        beforeUnit = places.length - 1;
      } else if (unit !== null && unit !== this.unit && beforeOther < 0) beforeOther = places.length - 1;
      if (code === INSN) places.push(placeKey(imm[0] as bigint));
      else if (i < nodes.length - 1 && (code === BRANCH || code === JUMP)) addInner(inner, nodes, nodes[i]!);
    }
    this.places = places;
    this.inner = inner;
    this.beforeUnit = beforeUnit < 0 ? places.length : beforeUnit;
    this.beforeOther = beforeOther < 0 ? places.length : beforeOther;
  }
}

function addInner(inner: bigint[], nodes: readonly Node[], { code, args, imm }: Node): void {
  if (code === BRANCH) {
    inner.push(imm[0] as bigint, imm[1] as bigint);
    return;
  }
  const target = nodes[args[0]!]!;
  if (target.op === 'i64.const') inner.push(target.imm[0] as bigint);
}

/** Of a block without instructions. */
export const noFacts = new BlockFacts([]);
/** What is known of a block that has been recorded. */
export const factsOf = (block: Block): BlockFacts => (block.found ??= new BlockFacts(block.nodes)) as BlockFacts;
