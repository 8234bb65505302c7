/**
 * A region that has not found a page in the look-aside table has it entered, if the guest notices nothing of that
 * (Mmu.enterData), and goes on; otherwise it leaves, and the instruction is made again by the interpreter.
 */
import type { Emitter, Expr } from './emitter.ts';

/** In the argument: the access is a store. The other bits are its size in bytes. */
export const enterWrite = 1 << 16;

/** Adds the core module's `enterPage(cpu, address, size)`: 1 if the page stands at its own place now. */
export function addEnterPage(e: Emitter): void {
  e.addFunction(
    'enterPage',
    ['i32', 'i64', 'i32'],
    'i32',
    () => {
      e.setState64('argument3', e.get(1, 'i64'));
      e.return(e.call('enterData', [e.get(2, 'i32')], 'i32'));
    },
    true,
  );
}

/** In a region: could the page be entered? */
export function enterPage(e: Emitter, address: Expr, bytes: number, write: boolean): Expr {
  return e.call('enterPage', [e.cpu(), address, e.i32(bytes | (write ? enterWrite : 0))], 'i32');
}
