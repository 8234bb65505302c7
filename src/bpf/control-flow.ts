/**
 * A program's shape, before anything is known about values: which functions it has, that every jump goes to an instruction
 * of its own function, that nothing runs off the end, that all code can be reached, and that calls do not recurse.
 */
import { type BpfCode, BpfError } from './errors.ts';
import type { BpfCodeList, BpfInstruction } from './instructions.ts';

/** As Linux has it. */
export const maximumCallDepth = 8;

export interface BpfFunction {
  /** Number of its first instruction. */
  readonly start: number;
  /** Number of the instruction behind its last. */
  readonly end: number;
  /** Starts of the functions that it calls, each once. */
  readonly calls: readonly number[];
}

export interface ControlFlow {
  /** By start; the first is the program's entry. */
  readonly functions: readonly BpfFunction[];
  /** Instructions at which paths meet, or before which a loop closes. */
  readonly joins: ReadonlySet<number>;
  readonly loopHeads: ReadonlySet<number>;
}

const refuse = (code: BpfCode, at: number, reason: string): never => {
  throw new BpfError(code, at, reason);
};

/** Where control goes within the function. */
export function successors(instruction: BpfInstruction, at: number): readonly number[] {
  switch (instruction.kind) {
    case 'exit':
      return [];
    case 'goto':
      return [instruction.target];
    case 'branch':
      return [at + 1, instruction.target];
    case 'constant':
    case 'map':
    case 'map-value':
      return [at + 2];
    default:
      return [at + 1];
  }
}

/** @throws BpfError */
export function analyseFlow(code: BpfCodeList): ControlFlow {
  const starts = [...functionStarts(code)].sort((a, b) => a - b);
  const functions = starts.map((start, i) => analyseFunction(code, start, starts[i + 1] ?? code.length));
  const reached = reachable(code);
  const dead = code.findIndex((instruction, at) => instruction !== null && !reached.has(at));
  if (dead >= 0) refuse('unreachable', dead, 'no path leads to this instruction');
  checkCalls(code, functions);
  const joins = new Set<number>();
  const loopHeads = new Set<number>();
  for (const { start } of functions) findJoins(code, start, joins, loopHeads);
  return { functions, joins, loopHeads };
}

function checkTarget(code: BpfCodeList, at: number, target: number, what: string): void {
  if (target < 0 || target >= code.length)
    refuse(
      'jump-outside',
      at,
      `the ${what} goes to ${target}, but the program has instructions 0 to ${code.length - 1}`,
    );
  if (code[target] === null)
    refuse('jump-into-constant', at, `the ${what} goes to ${target}, the second half of a 64-bit constant`);
}

function functionStarts(code: BpfCodeList): ReadonlySet<number> {
  const starts = new Set([0]);
  code.forEach((instruction, at) => {
    if (instruction?.kind !== 'call-local') return;
    checkTarget(code, at, instruction.target, 'call');
    starts.add(instruction.target);
  });
  return starts;
}

function analyseFunction(code: BpfCodeList, start: number, end: number): BpfFunction {
  const calls = new Set<number>();
  let last = start;
  for (let at = start; at < end; at++) {
    const instruction = code[at]!;
    if (instruction === null) continue;
    last = at;
    if (instruction.kind === 'call-local') calls.add(instruction.target);
    if (instruction.kind !== 'goto' && instruction.kind !== 'branch') continue;
    checkTarget(code, at, instruction.target, 'jump');
    if (instruction.target < start || instruction.target >= end)
      refuse(
        'jump-out-of-function',
        at,
        `the jump to ${instruction.target} leaves its function, ${start} to ${end - 1}`,
      );
  }
  const kind = code[last]?.kind;
  if (kind !== 'exit' && kind !== 'goto')
    refuse(
      'falls-through',
      last,
      `after this instruction control runs off the end of the function that starts at ${start}`,
    );
  return { start, end, calls: [...calls] };
}

function reachable(code: BpfCodeList): ReadonlySet<number> {
  const reached = new Set<number>();
  const work = [0];
  for (let at = work.pop(); at !== undefined; at = work.pop()) {
    if (reached.has(at)) continue;
    reached.add(at);
    const instruction = code[at]!;
    work.push(...successors(instruction, at));
    if (instruction.kind === 'call-local') work.push(instruction.target);
  }
  return reached;
}

function checkCalls(code: BpfCodeList, functions: readonly BpfFunction[]): void {
  const byStart = new Map(functions.map((f) => [f.start, f]));
  const depths = new Map<number, number>();
  const open = new Set<number>();
  const siteOf = (caller: BpfFunction, target: number): number =>
    code.findIndex((i, at) => at >= caller.start && at < caller.end && i?.kind === 'call-local' && i.target === target);
  /** Frames from this function on; it is the `level`th itself. */
  const depth = (f: BpfFunction, level: number): number => {
    open.add(f.start);
    let deepest = 1;
    for (const target of f.calls) {
      if (open.has(target)) refuse('recursion', siteOf(f, target), `the call of ${target} recurses`);
      const known = depths.get(target);
      if (level + (known ?? 1) > maximumCallDepth)
        refuse('call-depth', siteOf(f, target), `calls nest deeper than ${maximumCallDepth} frames`);
      deepest = Math.max(deepest, 1 + (known ?? depth(byStart.get(target)!, level + 1)));
    }
    open.delete(f.start);
    depths.set(f.start, deepest);
    return deepest;
  };
  depth(functions[0]!, 1);
}

/** Walks in depth: what is entered twice is a join, what is entered while it is being walked heads a loop. */
function findJoins(code: BpfCodeList, start: number, joins: Set<number>, loopHeads: Set<number>): void {
  const state = new Map<number, 'open' | 'done'>();
  const work: { readonly at: number; readonly next: readonly number[]; index: number }[] = [];
  const enter = (at: number): void => {
    const seen = state.get(at);
    if (seen !== undefined) {
      joins.add(at);
      if (seen === 'open') loopHeads.add(at);
      return;
    }
    state.set(at, 'open');
    work.push({ at, next: successors(code[at]!, at), index: 0 });
  };
  enter(start);
  for (let top = work.at(-1); top !== undefined; top = work.at(-1)) {
    if (top.index < top.next.length) {
      enter(top.next[top.index++]!);
      continue;
    }
    state.set(top.at, 'done');
    work.pop();
  }
}
