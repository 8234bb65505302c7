/**
 * A number for everything that a guest can see of a vCPU and its RAM: two runs of one guest that are in the same state have
 * the same hash, whichever engine ran them. Lazy flags are made up first; look-aside tables and caches do not count.
 */
import { layout } from '../src/state/layout.ts';
import type { ApicKept } from '../src/system/apic-map.ts';
import type { Vcpu } from './vm/vcpu.ts';

/** First seed of each half: any two numbers that differ. */
const seeds = [0x9e3779b9, 0x85ebca6b] as const;

/** 64 bits over 32-bit words, by the mixing step of MurmurHash3 with two seeds. */
class WordHash {
  private first: number = seeds[0];
  private second: number = seeds[1];

  words(list: Uint32Array): void {
    let { first, second } = this;
    for (let i = 0; i < list.length; i++) {
      const word = list[i]!;
      let a = Math.imul(word, 0xcc9e2d51);
      a = (a << 15) | (a >>> 17);
      first ^= Math.imul(a, 0x1b873593);
      first = Math.imul((first << 13) | (first >>> 19), 5) + 0xe6546b64;
      let b = Math.imul(word ^ first, 0x239b961b);
      b = (b << 16) | (b >>> 16);
      second ^= Math.imul(b, 0xab0e9789);
      second = Math.imul((second << 17) | (second >>> 15), 5) + 0x561ccd1b;
    }
    this.first = first | 0;
    this.second = second | 0;
  }
  get text(): string {
    const hex = (n: number) => (n >>> 0).toString(16).padStart(8, '0');
    return hex(this.first) + hex(this.second);
  }
}

/** The fields that a guest can see, as they stand in the layout, the arithmetic flags, and the local APIC. */
export function visibleState(vcpu: Vcpu): Uint32Array {
  const { fields: state } = vcpu;
  const words: number[] = [vcpu.engine.flags()];
  for (const { set, type, offset } of layout.values()) {
    if (set === null) continue;
    const size = { u32: 1, u64: 2, v128: 4, f80: 3 }[type];
    for (let i = 0; i < size; i++) words.push(state.u32[(offset >> 2) + i]!);
  }
  if (vcpu.apic !== null) words.push(...apicWords(vcpu.apic.keep()));
  const { levels, acknowledge } = vcpu.pins.kept;
  words.push(levels, acknowledge, vcpu.memory.a20 ? 1 : 0);
  return Uint32Array.from(words);
}

/** The local APIC's state; how far its timer has come is the clock's. */
function apicWords({ isr, tmr, irr, lvt, timer, ...rest }: ApicKept): number[] {
  const deadline = [Number(timer.deadline & 0xffff_ffffn), Number(timer.deadline >> 32n)];
  return [
    ...Object.values(rest),
    ...isr,
    ...tmr,
    ...irr,
    ...lvt,
    timer.initial,
    timer.divide,
    timer.running,
    ...deadline,
  ];
}

/**
 * The hash of a vCPU's registers and of guest RAM, 16 hexadecimal digits.
 * @param ram guest RAM, a multiple of four bytes at a multiple of four
 */
export function stateHash(vcpu: Vcpu, ram: Uint8Array): string {
  const hash = new WordHash();
  hash.words(visibleState(vcpu));
  hash.words(new Uint32Array(ram.buffer, ram.byteOffset, ram.length >> 2));
  return hash.text;
}
