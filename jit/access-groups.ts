/**
 * Accesses of a block that share a base: registers plus constants, such as the fields of a stack frame or of a structure.
 * One look-up that covers all of them serves the whole group. If the group straddles a page the region leaves although
 * each access might be fine: a place where that happens often is translated again without its group (`apart`).
 */
import { memoryAccesses, type Node } from '../src/ir/micro-ops.ts';

/** Groups wider than this are too likely to straddle a page. */
const maximumSpan = 512;

export interface AccessGroup {
  /** Offset from the base of the first byte, and of the byte after the last. */
  low: number;
  high: number;
  /** A store or a read-modify-write is among them. */
  write: boolean;
  accesses: number;
  /** Address arithmetic wraps at 32 or 64 bits. */
  readonly width: 32 | 64;
  /** Instruction of the first access: where the region leaves if the look-up misses. */
  readonly site: bigint;
  /** Host address of the byte at `low`, once it is known. */
  host: (() => number) | null;
}

export interface GroupedAccess {
  readonly group: AccessGroup;
  /** Offset of the access from the base. */
  readonly offset: number;
}

interface Place {
  /** Name of the base: a value, or the two values and the scale of an indexed address. */
  readonly root: string;
  readonly value: number;
  readonly offset: number;
  readonly width: 32 | 64;
}

const isConstant = (node: Node): boolean => node.op === 'i64.const' || node.op === 'i32.const';
const small = (n: number): boolean => Math.abs(n) < 0x40000000;

/** A value as base plus constant. */
function placeOf(nodes: readonly Node[], v: number, width: 32 | 64): Place {
  let offset = 0;
  const place = (): Place => ({ root: `${v}`, value: v, offset, width });
  for (;;) {
    const { op, args, imm } = nodes[v]!;
    const second = args.length > 1 ? nodes[args[1]!]! : null;
    if (op === 'address.base' && imm[1] === width) {
      offset += imm[0] as number;
      v = args[0]!;
    } else if (width === 64 && (op === 'i64.add' || op === 'i64.sub') && second !== null && isConstant(second)) {
      const n = Number(second.imm[0]);
      offset += op === 'i64.add' ? n : -n;
      v = args[0]!;
    } else if (width === 32 && op === 'i64.extend_u') {
      const inner = nodes[args[0]!]!;
      const by = inner.args.length > 1 ? nodes[inner.args[1]!]! : null;
      if (inner.op === 'i32.wrap') v = inner.args[0]!;
      else if ((inner.op === 'i32.add' || inner.op === 'i32.sub') && by !== null && isConstant(by)) {
        const base = nodes[inner.args[0]!]!;
        if (base.op !== 'i32.wrap') return place();
        offset += inner.op === 'i32.add' ? Number(by.imm[0]) : -Number(by.imm[0]);
        v = base.args[0]!;
      } else return place();
    } else if (op === 'address.index' && imm[2] === width) {
      offset += imm[1] as number;
      return { root: `${args[0]},${args[1]},${imm[0]}`, value: args[1]!, offset, width };
    } else return place();
    if (!small(offset)) return { root: '', value: -1, offset, width };
  }
}

/** The grouped accesses of a block, by node. `apart`: instructions whose groups are not to be made. */
export function accessGroups(
  nodes: readonly Node[],
  addressWidth: 32 | 64,
  apart: ReadonlySet<bigint>,
): Map<number, GroupedAccess> {
  const groups = new Map<string, AccessGroup>();
  const grouped = new Map<number, GroupedAccess>();
  let depth = 0;
  let rip = 0n;
  nodes.forEach(({ op, code, args, imm }, i) => {
    if (op === 'insn') rip = imm[0] as bigint;
    else if (op === 'when') depth++;
    else if (op === 'end') depth--;
    const access = memoryAccesses[code]!;
    if (access === null || depth > 0) return;
    const { root, value, offset, width } = placeOf(nodes, args[0]!, addressWidth);
    if (value < 0 || isConstant(nodes[value]!)) return;
    const end = offset + access.bytes;
    const write = access.kind !== 'load';
    let group = groups.get(root);
    if (group === undefined) {
      if (apart.has(rip)) return;
      group = { low: offset, high: end, write, accesses: 0, width, site: rip, host: null };
      groups.set(root, group);
    }
    const low = Math.min(group.low, offset);
    const high = Math.max(group.high, end);
    if (high - low > maximumSpan) return;
    Object.assign(group, { low, high, write: group.write || write });
    group.accesses++;
    grouped.set(i, { group, offset });
  });
  for (const [i, { group }] of grouped) if (group.accesses < 2) grouped.delete(i);
  return grouped;
}
