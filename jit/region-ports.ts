/**
 * IN and OUT in a region. Where programs answer at ports (the field `directPorts`), the region asks for one itself, and goes
 * on behind the instruction if it has answered (jit/port-block.ts). What no program answers is the interpreter's: the region
 * ends before it, as before every other helper.
 */
import type { Node } from '../src/ir/micro-ops.ts';
import { directPort } from '../src/system/direct-port.ts';
import type { Emitter } from './emitter.ts';
import type { RegionFrame } from './region-frame.ts';

export function offerDirectPort(e: Emitter): void {
  e.offerFunction('directPort', 'core', ['i32'], 'i32');
}

/**
 * Asks a program. The budget in memory is that after the instruction meanwhile, as for a helper.
 * @param again leaves before the instruction, which is to be executed at once: a program has passed it on
 * @param exit leaves before the instruction
 */
export function emitPort(e: Emitter, frame: RegionFrame, node: Node, again: () => void, exit: () => void): void {
  const answer = e.local('i32');
  e.set(answer, e.i32(directPort.nobody));
  e.if(e.state32('directPorts'), () => {
    e.setState32('budget', frame.i32(frame.budget));
    e.set(answer, e.call('directPort', [e.i32(node.imm[0] === 'out' ? 1 : 0)], 'i32'));
  });
  e.if(e.op('i32.ne', e.get(answer, 'i32'), e.i32(directPort.done)), () => {
    e.set(frame.budget, e.op('i32.add', frame.i32(frame.budget), e.i32(1)));
    e.if(e.get(answer, 'i32'), again);
    exit();
  });
}
