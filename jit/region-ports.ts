/**
 * IN and OUT in a region. The region asks the program that answers at the port through the table, where that has been entered
 * (src/system/direct-programs.ts); otherwise, where programs answer at ports (the field `directPorts`), whoever finds and
 * enters it. After an answer it goes on behind the instruction (jit/port-block.ts). What no program answers is the
 * interpreter's: the region ends before it, as before every other helper.
 */
import type { ExecutionContext } from '../src/ir/builder.ts';
import type { Node } from '../src/ir/micro-ops.ts';
import { directPortsOffset } from '../src/state/layout.ts';
import { directPort, portRequest } from '../src/system/direct-port.ts';
import { portKey, portPlace, slotOf } from '../src/system/direct-programs.ts';
import { accessParameters } from './bpf-device.ts';
import type { Emitter, Expr } from './emitter.ts';
import { constantArgument } from './port-block.ts';
import type { RegionFrame } from './region-frame.ts';

export function offerDirectPort(e: Emitter): void {
  e.offerFunction('directPort', 'core', ['i32'], 'i32');
}

/** What a region has of the access: the block, and the mode that it was translated for. */
interface PortAccess {
  readonly nodes: readonly Node[];
  readonly node: Node;
  readonly context: ExecutionContext;
}

/**
 * Asks a program. The budget in memory is that after the instruction meanwhile, as for a helper.
 * @param again leaves before the instruction, which is to be executed at once: a program has passed it on
 * @param exit leaves before the instruction
 */
export function emitPort(
  e: Emitter,
  frame: RegionFrame,
  access: PortAccess,
  again: () => void,
  exit: () => void,
): void {
  const { nodes, node, context } = access;
  const write = node.imm[0] === 'out';
  const bytes = constantArgument(nodes, 'argument1');
  const answer = e.local('i32');
  const request = (passed: number) => e.call('directPort', [e.i32((write ? portRequest.write : 0) | passed)], 'i32');
  const find = () => {
    e.set(answer, e.i32(directPort.nobody));
    e.if(e.state32('directPorts'), () => {
      e.setState32('budget', frame.i32(frame.budget));
      e.set(answer, request(0));
    });
  };
  // Whether the TSS's bitmap allows the port is looked up by the interpreter.
  const mayUse = !context.protectedMode || (!context.virtual8086 && context.cpl <= context.iopl);
  if (!mayUse || bytes === null) find();
  else {
    const { port, place, key } = placeOf(e, nodes, bytes, write);
    const byPlace = e.op('i32.shl', place(), e.i32(2));
    const isKnown = e.op('i32.eq', e.load('i32', e.op('i32.add', e.cpu(), byPlace), directPortsOffset), key());
    const ask = () => {
      e.setState32('budget', frame.i32(frame.budget));
      const mask = bytes === 4 ? -1 : 2 ** (8 * bytes) - 1;
      const value = write ? e.op('i32.and', e.state32('argument2'), e.i32(mask)) : e.i32(0);
      const given = [port(), e.i32(0), e.i32(bytes * 2 + (write ? 1 : 0)), value];
      const slot = e.op('i32.add', place(), e.i32(slotOf(0)));
      const got = e.share(e.callIndirect(slot, given, accessParameters, 'i64'), 'i64');
      e.set(answer, e.i32(directPort.done));
      if (!write) e.setState64('result1', got());
      e.if(e.op('i64.lt_s', got(), e.i64(0n)), () => e.set(answer, request(portRequest.passed)));
    };
    e.if(isKnown, ask, find);
  }
  e.if(e.op('i32.ne', e.get(answer, 'i32'), e.i32(directPort.done)), () => {
    e.set(frame.budget, e.op('i32.add', frame.i32(frame.budget), e.i32(1)));
    e.if(e.get(answer, 'i32'), again);
    exit();
  });
}

/** The port, and where a program for it would be found: constants, or from DX. */
function placeOf(
  e: Emitter,
  nodes: readonly Node[],
  bytes: number,
  write: boolean,
): Readonly<Record<'port' | 'place' | 'key', () => Expr>> {
  const known = constantArgument(nodes, 'argument0');
  if (known !== null) {
    const port = known & 0xffff;
    return {
      port: () => e.i32(port),
      place: () => e.i32(portPlace(port, write)),
      key: () => e.i32(portKey(port, bytes)),
    };
  }
  const port = e.share(e.op('i32.and', e.state32('argument0'), e.i32(0xffff)), 'i32');
  const place = e.share(
    e.op('i32.add', e.op('i32.and', port(), e.i32(portPlace(0xffff, false))), e.i32(portPlace(0, write))),
    'i32',
  );
  return { port, place, key: () => e.op('i32.or', port(), e.i32(portKey(0, bytes))) };
}
