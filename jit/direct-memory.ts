/**
 * How translated code asks a program that answers accesses to memory: the core's function `askProgram(cpu, linear, way, value)`,
 * which looks for it in the table of src/system/direct-memory.ts, and what a region does where an access has often missed
 * the look-aside tables.
 */

import type { Node } from '../src/ir/micro-ops.ts';
import { directMemoryEntries, directMemoryEntryBytes, directMemoryOffset, offsetOf } from '../src/state/layout.ts';
import { directEntry, guardBytes, passedWay } from '../src/system/direct-memory.ts';
import { accessParameters } from './bpf-device.ts';
import type { Emitter, Expr } from './emitter.ts';

const CPU = 0;
const LINEAR = 1;
const WAY = 2;
const VALUE = 3;
const parameters = ['i32', 'i64', 'i32', 'i32'] as const;
/** As the program says, or: none is known. */
const UNKNOWN = -2n;

/** Of the core module. */
export function addAskProgram(e: Emitter): void {
  e.addFunction(
    'askProgram',
    parameters,
    'i64',
    () => {
      const low = e.share(e.op('i32.wrap', e.get(LINEAR, 'i64')), 'i32');
      const place = e.op(
        'i32.and',
        e.op('i32.xor', e.op('i32.shr_u', low(), e.i32(2)), e.op('i32.shr_u', low(), e.i32(12))),
        e.i32(directMemoryEntries - 1),
      );
      const offset = e.op('i32.mul', place, e.i32(directMemoryEntryBytes));
      const entry = e.share(
        e.op('i32.add', e.get(CPU, 'i32'), e.op('i32.add', offset, e.i32(directMemoryOffset))),
        'i32',
      );
      const part = (name: keyof typeof directEntry) => e.load('i32', entry(), directEntry[name]);
      const unknownIf = (condition: Expr) => e.if(condition, () => e.return(e.i64(UNKNOWN)));
      unknownIf(e.op('i64.ne', e.load('i64', entry()), e.get(LINEAR, 'i64')));
      unknownIf(e.op('i32.ne', part('context'), e.state32('context')));
      unknownIf(e.op('i32.ne', part('way'), e.get(WAY, 'i32')));
      const left = e.local('i32');
      const guard = e.local('i32');
      e.set(left, part('guards'));
      e.set(guard, entry());
      e.block('held', () => {
        e.loop('guard', () => {
          e.brIf('held', e.op('i32.eqz', e.get(left, 'i32')));
          const now = e.load('i64', e.load('i32', e.get(guard, 'i32'), directEntry.first));
          unknownIf(e.op('i64.ne', now, e.load('i64', e.get(guard, 'i32'), directEntry.first + 8)));
          e.set(guard, e.op('i32.add', e.get(guard, 'i32'), e.i32(guardBytes)));
          e.set(left, e.op('i32.sub', e.get(left, 'i32'), e.i32(1)));
          e.br('guard');
        });
      });
      const given = [part('low'), part('high'), e.get(WAY, 'i32'), e.get(VALUE, 'i32')];
      e.return(e.callIndirect(part('slot'), given, accessParameters, 'i64'));
    },
    true,
  );
}

export function offerAskProgram(e: Emitter): void {
  e.offerFunction('askProgram', 'core', parameters, 'i64');
  e.offerFunction('findProgram', 'core', ['i32'], 'i32');
}

/** An access that a region makes. */
export interface MissedAccess {
  readonly address: () => Expr;
  readonly bytes: number;
  /** What is to be written; null: it is a load. */
  readonly value: (() => Expr) | null;
  /** The budget after the instruction. */
  readonly budget: Expr;
}

/**
 * Asks a program for an access that has missed. After an answer the field scratch0 stands for the place in memory: a load
 * finds the value there, a store may write to it.
 * @param leaveIf must leave before the instruction
 */
export function askProgram(
  e: Emitter,
  { address, bytes, value, budget }: MissedAccess,
  leaveIf: (c: Expr) => void,
): void {
  const way = bytes * 2 + (value === null ? 0 : 1);
  leaveIf(e.op('i32.eqz', e.state32('directMemory')));
  e.setState32('budget', budget);
  const given = e.local('i32');
  const mask = bytes === 4 ? -1 : 2 ** (8 * bytes) - 1;
  e.set(given, value === null ? e.i32(0) : e.op('i32.and', value(), e.i32(mask)));
  const answer = e.local('i64');
  const ask = () => e.set(answer, e.call('askProgram', [e.cpu(), address(), e.i32(way), e.get(given, 'i32')], 'i64'));
  const find = (request: number) => {
    e.setState64('argument3', address());
    return e.call('findProgram', [e.i32(request)], 'i32');
  };
  ask();
  e.if(e.op('i64.eq', e.get(answer, 'i64'), e.i64(UNKNOWN)), () => e.if(find(way), ask));
  e.if(e.op('i64.lt_s', e.get(answer, 'i64'), e.i64(0n)), () => {
    e.if(e.op('i64.eq', e.get(answer, 'i64'), e.i64(-1n)), () => e.drop(find(way | passedWay)));
    leaveIf(e.i32(1));
  });
  e.setState64('scratch0', e.get(answer, 'i64'));
}
export const answeredAt = (e: Emitter): Expr => e.inCpu(offsetOf('scratch0'));

const harmless =
  /^(?:i32|i64)\.(?:add|sub|mul|and|or|xor|shl|shr_[us]|rot[lr]|eqz?|ne|[lg][te]_[us]|clz|ctz|popcnt|wrap|extend.*|const|select)$|^(?:reg|flags)\.|^(?:insert|extract)|^jump$|^branch$/;

/**
 * Whether the access that a node makes is the last thing in its instruction that may leave the region: what a program has
 * answered must not be asked for again.
 */
export function endsLeaving(nodes: readonly Node[], node: number): boolean {
  if (!/^(?:load|store)\.(?:8|16|32)$/.test(nodes[node]!.op)) return false;
  for (let at = node + 1; at < nodes.length && nodes[at]!.op !== 'insn'; at++)
    if (!harmless.test(nodes[at]!.op)) return false;
  return true;
}
