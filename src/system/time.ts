/** The time-stamp counter: RDTSC, RDTSCP and what its MSRs add. SDM volume 3, section 19.17. */
import { generalProtection } from './fault.ts';
import { CR4_TSD, type Processor } from './processor.ts';

const RAX = 0;
const RCX = 1;
const RDX = 2;

/** What RDTSC and IA32_TIME_STAMP_COUNTER show. */
export function timeStamp(p: Processor): bigint {
  return BigInt.asUintN(64, p.tsc.read() + p.state.get64('tscOffset'));
}
/** A write to IA32_TIME_STAMP_COUNTER: IA32_TSC_ADJUST moves by the same amount. */
export function setTimeStamp(p: Processor, value: bigint): void {
  const by = value - timeStamp(p);
  p.state.set64('tscOffset', BigInt.asUintN(64, p.state.get64('tscOffset') + by));
  p.state.set64('tscAdjust', BigInt.asUintN(64, p.state.get64('tscAdjust') + by));
  p.apic?.timeMoved();
}
export function setTimeStampAdjust(p: Processor, value: bigint): void {
  const by = value - p.state.get64('tscAdjust');
  p.state.set64('tscOffset', BigInt.asUintN(64, p.state.get64('tscOffset') + by));
  p.state.set64('tscAdjust', value);
  p.apic?.timeMoved();
}

function read(p: Processor): void {
  if ((p.cr4 & CR4_TSD) !== 0 && p.cpl !== 0 && p.protectedMode) throw generalProtection();
  const now = timeStamp(p);
  p.setGpr(RAX, 64, Number(now & 0xffff_ffffn));
  p.setGpr(RDX, 64, Number(now >> 32n));
}
/** `rdtsc`. */
export function rdtsc(p: Processor): void {
  read(p);
  p.advance();
}
/** `rdtscp`. */
export function rdtscp(p: Processor): void {
  read(p);
  p.setGpr(RCX, 64, p.state.get32('tscAux'));
  p.advance();
}
