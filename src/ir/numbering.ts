/**
 * Value numbering: which node of a recording already is a pure micro-op on certain operands. One table serves all
 * recordings of a thread, one after the other; each has a number, by which it knows its own entries. Who records two at a
 * time loses some of them and records a value twice.
 */
import type { Immediate, Node } from './micro-ops.ts';

const bits = 13;
const mask = (1 << bits) - 1;
/** So many places are looked at before one is overwritten. */
const reach = 8;
/** Of each place: the recording's number, and the node's. */
const table = new Int32Array(2 << bits);
let recordings = 0;

function hashOf(imm: Immediate): number {
  if (typeof imm === 'number') return imm | 0;
  if (typeof imm === 'bigint') {
    const n = Number(imm);
    return (n | 0) ^ Math.imul((n / 0x100000000) | 0, 0x85ebca6b);
  }
  if (typeof imm === 'string') return Math.imul(imm.length, 0x2c1b3c6d) ^ imm.charCodeAt(imm.length - 1);
  let hash = 0;
  for (let i = 0; i < imm.length; i++) hash = Math.imul(hash, 31) + imm[i]!;
  return hash;
}

function isSame(one: Immediate, other: Immediate): boolean {
  if (Object.is(one, other)) return true;
  if (typeof one !== 'object' || typeof other !== 'object' || one.length !== other.length) return false;
  for (let i = 0; i < one.length; i++) if (one[i] !== other[i]) return false;
  return true;
}

export class Numbering {
  private readonly nodes: readonly Node[];
  private readonly recording = (recordings = (recordings + 1) | 0);
  /** Beginnings and ends of ranges of nodes that are not to be found any more. */
  private readonly hidden: number[] = [];
  private place = 0;

  constructor(nodes: readonly Node[]) {
    this.nodes = nodes;
  }

  /** The node that is this micro-op already, or -1: then {@link note} what is recorded for it. */
  find(code: number, args: readonly number[], imm: readonly Immediate[]): number {
    const count = args.length;
    let hash = Math.imul(code + 1, 0x9e3779b1);
    for (let i = 0; i < count; i++) hash = Math.imul(hash ^ (args[i]! + 1), 0x85ebca6b) ^ (hash >>> 15);
    for (let i = 0; i < imm.length; i++) hash = Math.imul(hash ^ hashOf(imm[i]!), 0xc2b2ae35) ^ (hash >>> 13);
    const first = (hash ^ (hash >>> 16)) & mask;
    for (let i = 0; i < reach; i++) {
      const place = ((first + i) & mask) * 2;
      this.place = place;
      if (table[place] !== this.recording) return -1;
      const at = table[place + 1]!;
      const node = this.nodes[at]!;
      if (node.code !== code || node.args.length !== count || node.imm.length !== imm.length) continue;
      let k = 0;
      while (k < count && node.args[k] === args[k]) k++;
      if (k < count) continue;
      k = 0;
      while (k < imm.length && isSame(node.imm[k]!, imm[k]!)) k++;
      if (k < imm.length) continue;
      return this.hidden.length !== 0 && this.isHidden(at) ? -1 : at;
    }
    this.place = first * 2;
    return -1;
  }
  /** The micro-op that was not found last is this node. */
  note(node: number): void {
    table[this.place] = this.recording;
    table[this.place + 1] = node;
  }
  /** The nodes from here to the last one are not found any more. */
  hideFrom(node: number): void {
    this.hidden.push(node, this.nodes.length);
  }
  private isHidden(at: number): boolean {
    const { hidden } = this;
    for (let i = 0; i < hidden.length; i += 2) if (at >= hidden[i]! && at < hidden[i + 1]!) return true;
    return false;
  }
}
