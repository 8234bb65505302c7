/**
 * Micro-ops as text, one line each, for `disasm` and for messages: `v7 = i32.add v3, 1`. Constants stand where they are
 * used; what a `when` brackets is indented.
 */
import { conditionNames, flagNames } from './flag-names.ts';
import { type Immediate, microOps, type Node } from './micro-ops.ts';

const registers = ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi'];
const segments = ['es', 'cs', 'ss', 'ds', 'fs', 'gs'];
const register = (n: Immediate | undefined) => registers[Number(n)] ?? `r${n}`;

/** Small numbers in decimal, others in hex. */
function number(n: Immediate | undefined): string {
  if (typeof n === 'bigint')
    return n > -4096n && n < 4096n ? `${n}` : n < 0n ? `-0x${(-n).toString(16)}` : `0x${n.toString(16)}`;
  if (typeof n === 'number') return Number.isInteger(n) ? number(BigInt(n)) : `${n}`;
  if (typeof n === 'string') return n;
  return n === undefined ? '?' : `[${n.join(' ')}]`;
}

/** Immediates of the micro-ops whose numbers need words; the others' stand in order after the operands. */
const words: Readonly<Record<string, (imm: readonly Immediate[]) => string[]>> = {
  'reg.get': ([index]) => [register(index)],
  'reg.set': ([index]) => [register(index)],
  'xmm.get': ([index]) => [`xmm${index}`],
  'xmm.set': ([index]) => [`xmm${index}`],
  'ymm.get': ([index]) => [`ymm${index} high`],
  'ymm.set': ([index]) => [`ymm${index} high`],
  'flags.set': ([kind, width]) => [`${kind}${width}`],
  'flags.get': ([mask]) => [flagNames(Number(mask))],
  'flags.merge': ([mask]) => [flagNames(Number(mask))],
  'flags.test': ([code]) => [conditionNames[Number(code)]!],
  'address.base': ([displacement, width]) => [number(displacement), `${width}-bit`],
  'address.index': ([scale, displacement, width]) => [`<< ${scale}`, number(displacement), `${width}-bit`],
  segment: ([segment, bytes, write]) => [segments[Number(segment)]!, `${bytes} bytes`, write === 1 ? 'write' : 'read'],
  'probe.read': ([bytes]) => [`${bytes} bytes`],
  'probe.write': ([bytes]) => [`${bytes} bytes`],
  raise: raised,
  'raise.if': raised,
  insn: ([rip]) => [`0x${(rip as bigint).toString(16)}`],
};

function raised([vector, errorCode]: readonly Immediate[]): string[] {
  return [`#${vector}`, ...(errorCode === -1 ? [] : [`error code ${number(errorCode)}`])];
}

const isConstant = (node: Node) =>
  node.op === 'i32.const' || node.op === 'i64.const' || node.op === 'f32.const' || node.op === 'f64.const';

/** The text of one micro-op of a block, without indentation. */
export function printNode(nodes: readonly Node[], at: number): string {
  const { op, args, imm } = nodes[at]!;
  const value = (v: number) => (isConstant(nodes[v]!) ? number(nodes[v]!.imm[0]) : `v${v}`);
  const isLoadOrStore = /^(?:load|modify|store)\./.test(op);
  // Loads and stores have one immediate: whether a bad address is a stack fault.
  const immediates = isLoadOrStore ? (imm[0] === 1 ? ['stack'] : []) : (words[op]?.(imm) ?? imm.map(number));
  const leading = /^(?:(?:reg|xmm|ymm|flags)\.set$|state\.set)/.test(op);
  const operands = args.map(value);
  const all = leading ? [...immediates, ...operands] : [...operands, ...immediates];
  const text = all.length === 0 ? op : `${op} ${all.join(', ')}`;
  return microOps[op].result === null ? text : `v${at} = ${text}`;
}

/** The micro-ops from one place in a block to another, a line each; constants that are only used have none. */
export function printNodes(nodes: readonly Node[], from = 0, to = nodes.length): string[] {
  const lines: string[] = [];
  let depth = 0;
  for (let i = from; i < to; i++) {
    const node = nodes[i]!;
    if (isConstant(node)) continue;
    if (node.op === 'end') depth--;
    lines.push('  '.repeat(Math.max(depth, 0)) + printNode(nodes, i));
    if (node.op === 'when') depth++;
  }
  return lines;
}

/** A block's micro-ops by guest instruction. What stands before the first `insn` has no instruction pointer and comes first. */
export function printByInstruction(
  nodes: readonly Node[],
): { readonly rip: bigint | null; readonly lines: readonly string[] }[] {
  const starts = nodes.flatMap((node, i) => (node.op === 'insn' ? [i] : []));
  const first = starts[0] ?? nodes.length;
  const before = printNodes(nodes, 0, first);
  const made: { rip: bigint | null; lines: string[] }[] = before.length > 0 ? [{ rip: null, lines: before }] : [];
  for (const [n, start] of starts.entries()) {
    made.push({
      rip: nodes[start]!.imm[0] as bigint,
      lines: printNodes(nodes, start + 1, starts[n + 1] ?? nodes.length),
    });
  }
  return made;
}
