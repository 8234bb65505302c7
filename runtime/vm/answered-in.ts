/**
 * An IN that was given up for the embedder's answer, finished with that answer: what executing it once more would come to,
 * for a third of the price. Whatever may make a difference leaves it to that.
 */
import type { Engine } from '../../src/execute/engine.ts';
import { offsetOf } from '../../src/state/layout.ts';
import type { Cpu } from '../../src/system/cpu.ts';
import type { EmbedderAccesses } from './embedder-accesses.ts';
import type { GuestDebug } from './guest-debug.ts';

const RAX = 0;
const TF_RF = 0x1_0100;
const RFLAGS = offsetOf('rflagsRest') >> 2;
const SHADOW = offsetOf('interruptShadow') >> 2;

interface AnsweredVcpu {
  readonly cpu: Cpu;
  readonly engine: Engine;
  readonly accesses: EmbedderAccesses;
  readonly debug: GuestDebug;
  /** Where, and in which code, the instruction was given up. */
  readonly givenUpAt: { readonly changes: number };
  left: number;
}

/**
 * Before the first instruction of an entry.
 * @param noticed whoever enters wants to know of each instruction
 * @returns whether it is done; otherwise it is to be executed
 */
export function finishIn(vcpu: AnsweredVcpu, noticed: boolean): boolean {
  const { engine, accesses, debug } = vcpu;
  const { processor } = vcpu.cpu;
  const { state, ports, awaitedIn: bytes } = processor;
  processor.awaitedIn = 0;
  if (bytes === 0 || noticed || debug.singleStep) return false;
  if (engine.jumps.changes !== vcpu.givenUpAt.changes) return false; // it may be another instruction now
  if (state.u32[SHADOW] !== 0 || (state.u32[RFLAGS]! & TF_RF) !== 0) return false;
  if (engine.breakpoints.active || processor.watchedPorts.length > 0 || ports.took !== undefined) return false;
  const value = accesses.takeRead(bytes);
  if (value < 0) return false;
  ports.finished?.();
  vcpu.left--;
  engine.beside.set(vcpu.left);
  processor.setGpr(RAX, (bytes * 8) as 8 | 16 | 32, value);
  processor.advance();
  debug.stepped = true;
  return true;
}
