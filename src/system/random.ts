/** RDRAND and RDSEED: numbers of the host's, or of a generator that is part of the vCPU's state. SDM volume 1, section 7.3.17. */
import type { Processor } from './processor.ts';

const CF = 1;
const STEP = 0x9e37_79b9_7f4a_7c15n;

/** The next state of the generator (splitmix64), and the number that belongs to it. */
export function nextRandom(state: bigint): { readonly state: bigint; readonly value: bigint } {
  const next = BigInt.asUintN(64, state + STEP);
  let z = next;
  z = BigInt.asUintN(64, (z ^ (z >> 30n)) * 0xbf58_476d_1ce4_e5b9n);
  z = BigInt.asUintN(64, (z ^ (z >> 27n)) * 0x94d0_49bb_1331_11ebn);
  return { state: next, value: z ^ (z >> 31n) };
}

function draw(p: Processor): bigint {
  if (p.random !== null) return p.random();
  const { state, value } = nextRandom(p.state.get64('randomState'));
  p.state.set64('randomState', state);
  return value;
}

/** `random` (register, operand size): there always is a number. */
export function random(p: Processor): void {
  const width = p.argument(1) as 16 | 32 | 64;
  const value = draw(p);
  const register = p.argument(0);
  p.setGpr(register, width, Number(value & 0xffff_ffffn), Number((value >> 32n) & 0xffff_ffffn));
  p.engine.setFlags(CF);
  p.advance();
}
