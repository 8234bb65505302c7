/** Random numbers of a seed, with the values that arithmetic goes wrong at more often than others. */
const corners = [
  0n,
  1n,
  2n,
  7n,
  8n,
  31n,
  32n,
  63n,
  64n,
  0x7fn,
  0x80n,
  0xffn,
  0x7fffffffn,
  0x80000000n,
  0xffffffffn,
  1n << 32n,
  1n << 63n,
];

export class Random {
  private state: number;

  constructor(seed: number) {
    this.state = seed >>> 0;
  }
  /** 32 bits. */
  next(): number {
    this.state = (this.state + 0x9e3779b9) >>> 0;
    let x = this.state;
    x = Math.imul(x ^ (x >>> 16), 0x21f0aaad);
    x = Math.imul(x ^ (x >>> 15), 0x735a2d97);
    return (x ^ (x >>> 15)) >>> 0;
  }
  below(limit: number): number {
    return this.next() % limit;
  }
  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!;
  }
  /** A number of at most so many bits. */
  bits(count: number): bigint {
    return ((BigInt(this.next()) << 32n) | BigInt(this.next())) & ((1n << BigInt(count)) - 1n);
  }
  /** Any 64 bits, often near a corner. */
  number(): bigint {
    if (this.below(3) === 0) return this.bits(1 + this.below(64));
    const corner = this.pick(corners) + BigInt(this.below(5) - 2);
    return BigInt.asUintN(64, this.below(2) === 0 ? corner : -corner);
  }
}
