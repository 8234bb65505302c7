/** Interrupt vectors as a local APIC's registers hold them. */

/** 256 bits, one for each vector. */
export class VectorSet {
  readonly words = new Uint32Array(8);
  has(vector: number): boolean {
    return (this.words[vector >> 5]! & (1 << (vector & 31))) !== 0;
  }
  put(vector: number, present: boolean): void {
    if (present) this.words[vector >> 5]! |= 1 << (vector & 31);
    else this.words[vector >> 5]! &= ~(1 << (vector & 31));
  }
  /** The highest vector, or -1. */
  highest(): number {
    for (let i = 7; i >= 0; i--) if (this.words[i] !== 0) return i * 32 + 31 - Math.clz32(this.words[i]!);
    return -1;
  }
}
