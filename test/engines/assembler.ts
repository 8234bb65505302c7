/** Bytes with labels: enough of an assembler to write a guest of some instructions in a test. */

interface Fix {
  readonly at: number;
  readonly size: number;
  readonly label: string;
  readonly relative: boolean;
  readonly plus: number;
}

/** A reference to a label in the bytes of an instruction. */
export interface Reference {
  readonly label: string;
  readonly size: number;
  readonly relative: boolean;
  readonly plus: number;
}

/** Distance to a label, from the end of its own bytes: the last part of a branch. */
export const to = (label: string, size = 4): Reference => ({ label, size, relative: true, plus: 0 });
/** Address of a label. */
export const at = (label: string, plus = 0, size = 4): Reference => ({ label, size, relative: false, plus });
/** A number of 32 bits. */
export const dword = (n: number): number[] => [0, 8, 16, 24].map((shift) => (n >>> shift) & 0xff);
/** A number of 64 bits. */
export const qword = (n: bigint): number[] =>
  Array.from({ length: 8 }, (_, i) => Number((BigInt.asUintN(64, n) >> BigInt(8 * i)) & 0xffn));

export class Assembler {
  readonly origin: bigint;
  private readonly bytes: number[] = [];
  private readonly fixes: Fix[] = [];
  private readonly labels = new Map<string, number>();

  constructor(origin: bigint) {
    this.origin = origin;
  }
  /** An instruction, or data. */
  put(...parts: readonly (number | readonly number[] | Reference)[]): this {
    for (const part of parts) {
      if (typeof part === 'number') this.bytes.push(part);
      else if ('label' in part) {
        this.fixes.push({ ...part, at: this.bytes.length });
        for (let i = 0; i < part.size; i++) this.bytes.push(0);
      } else this.bytes.push(...part);
    }
    return this;
  }
  label(name: string): this {
    if (this.labels.has(name)) throw new Error(`assembler: label ${name} stands twice`);
    this.labels.set(name, this.bytes.length);
    return this;
  }
  /** Fills with NOP up to an offset from the origin. */
  pad(offset: number): this {
    if (this.bytes.length > offset) throw new Error(`assembler: already at ${this.bytes.length}`);
    while (this.bytes.length < offset) this.bytes.push(0x90);
    return this;
  }
  offsetOf(name: string): number {
    const offset = this.labels.get(name);
    if (offset === undefined) throw new Error(`assembler: no label ${name}`);
    return offset;
  }
  addressOf(name: string): bigint {
    return this.origin + BigInt(this.offsetOf(name));
  }
  finish(): Uint8Array {
    const made = Uint8Array.from(this.bytes);
    for (const { at: place, size, label, relative, plus } of this.fixes) {
      const value = relative ? BigInt(this.offsetOf(label) - place - size) : this.addressOf(label) + BigInt(plus);
      for (let i = 0; i < size; i++) made[place + i] = Number((BigInt.asUintN(64, value) >> BigInt(8 * i)) & 0xffn);
    }
    return made;
  }
}
