/**
 * Which blocks there are at a place: a context, an instruction pointer, and whether it is a single instruction's. Tens of
 * thousands come and go while a guest starts, so they are linked in the table themselves; a Map of them costs several times
 * as much, since the instruction pointers of systems are no small integers.
 */
const initialBits = 12;

/** What the table knows of a block. */
export interface TableBlock<B> {
  readonly context: number;
  /** Instruction pointer as a number. */
  readonly key: number;
  readonly single: boolean;
  /** Another one at the same place, from other pages: of the program that another address space has there. */
  other: B | null;
  /** The first one of another place, for the table. */
  next: B | null;
}

export class BlockTable<B extends TableBlock<B>> {
  /** The first block of each place with the hash; `next` leads to the first of another place. */
  private heads: (B | null)[] = [];
  private shift = 0;
  private places = 0;

  constructor() {
    this.clear();
  }
  clear(): void {
    this.resize(initialBits);
    this.places = 0;
  }
  private resize(bits: number): void {
    this.heads = new Array<B | null>(1 << bits).fill(null);
    this.shift = 32 - bits;
  }
  private headOf(context: number, key: number): number {
    // Far addresses (linear.ts) lose bits here, and nothing else.
    return Math.imul((key | 0) ^ Math.imul(context, 0x85ebca6b), 0x9e3779b1) >>> this.shift;
  }

  /** The block that was put at a place last; the others follow it as `other`. */
  find(context: number, key: number, single: boolean): B | null {
    let block = this.heads[this.headOf(context, key)]!;
    while (block !== null && (block.key !== key || block.context !== context || block.single !== single))
      block = block.next!;
    return block;
  }
  /** Puts a block, which is in no table, before the others at its place. */
  put(block: B): void {
    const first = this.find(block.context, block.key, block.single);
    block.other = first;
    if (first !== null) return this.exchange(first, block);
    if (this.places++ === this.heads.length) this.grow();
    this.link(block);
  }
  private link(block: B): void {
    const head = this.headOf(block.context, block.key);
    block.next = this.heads[head]!;
    this.heads[head] = block;
  }
  /** Another block (null: none) stands where the first one of a place stood. */
  private exchange(first: B, by: B | null): void {
    const head = this.headOf(first.context, first.key);
    const { next } = first;
    first.next = null;
    if (by !== null) by.next = next;
    const follows = by ?? next;
    let before = this.heads[head]!;
    if (before === first) {
      this.heads[head] = follows;
      return;
    }
    while (before.next !== first) before = before.next!;
    before.next = follows;
  }
  /** Takes a block out, if it is there. */
  take(block: B): void {
    const first = this.find(block.context, block.key, block.single);
    if (first === block) {
      if (block.other === null) this.places--;
      this.exchange(block, block.other);
    } else {
      let at = first;
      while (at !== null && at.other !== block) at = at.other;
      if (at !== null) at.other = block.other;
    }
    block.other = null;
  }
  private grow(): void {
    const { heads } = this;
    this.resize(33 - this.shift);
    for (let block of heads)
      while (block !== null) {
        const { next } = block;
        this.link(block);
        block = next;
      }
  }
}
