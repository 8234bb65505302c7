/** IN and OUT at the end of a block of a region: how the region goes on behind them (jit/region-ports.ts). */
import type { Block } from '../src/execute/frontend.ts';
import { type Immediate, type MicroOp, type Node, nodeOf } from '../src/ir/micro-ops.ts';

const RAX = 0;

/**
 * The block as a region has it: one that ends in IN or OUT goes on behind the instruction.
 * @param direct where programs have often answered; elsewhere the block ends with the instruction
 */
export function withDirectPort<B extends Pick<Block, 'nodes'>>(block: B, direct: ReadonlySet<bigint>): B {
  const last = block.nodes.at(-1)!;
  const name = last.imm[0];
  if (last.op !== 'call' || (name !== 'in' && name !== 'out') || !direct.has(last.imm[1] as bigint)) return block;
  const bytes = constantArgument(block.nodes, 'argument1');
  if (bytes === null) return block;
  const next = last.imm[2] as bigint;
  const nodes: Node[] = block.nodes.slice(0, -1);
  const add = (op: MicroOp, args: number[] = [], ...imm: Immediate[]) => nodes.push(nodeOf(op, args, imm)) - 1;
  const constant = (value: bigint) => add('i64.const', [], value);
  if (name === 'out') add('state.set64', [add('reg.get', [], RAX)], 'argument2');
  add('state.set64', [constant(next)], 'result0');
  add('call', [], ...last.imm);
  if (name === 'in') {
    const read = add('state.get64', [], 'result1');
    const mask = bytes === 1 ? ~0xffn : ~0xffffn;
    const kept = bytes === 4 ? -1 : add('i64.and', [add('reg.get', [], RAX), constant(mask)]);
    add('reg.set', [kept < 0 ? read : add('i64.or', [kept, read])], RAX);
  }
  // What the program has led to (an interrupt) comes before the next instruction.
  const wanted = add('state.get32', [], 'attention');
  add('when', [wanted]);
  add('jump', [add('state.get64', [], 'result0')], 'jump', 0n);
  add('end');
  add('jump', [constant(next)], 'jump', 0n);
  return { ...block, nodes };
}

/** An argument of the block's helper, where it is there as a constant. */
export function constantArgument(nodes: readonly Node[], field: 'argument0' | 'argument1'): number | null {
  const set = nodes.findLast(({ op, imm }) => op === 'state.set64' && imm[0] === field);
  let node = set === undefined ? undefined : nodes[set.args[0]!];
  if (node?.op.startsWith('i64.extend') === true) node = nodes[node.args[0]!];
  return node?.op === 'i64.const' || node?.op === 'i32.const' ? Number(node.imm[0]) : null;
}
