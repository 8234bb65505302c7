/** The time-stamp counter and what its MSRs add; RDTSC reads it in generated code (jit/time-stamp.ts). SDM volume 3, section 19.17. */
import { updateSystemTime } from './kvm-clock.ts';
import type { Processor } from './processor.ts';

/** What RDTSC and IA32_TIME_STAMP_COUNTER show. */
export function timeStamp(p: Processor): bigint {
  return BigInt.asUintN(64, p.tsc.read() + p.state.get64('tscOffset'));
}
/** A write to IA32_TIME_STAMP_COUNTER: IA32_TSC_ADJUST moves by the same amount. */
export function setTimeStamp(p: Processor, value: bigint): void {
  const by = value - timeStamp(p);
  p.state.set64('tscOffset', BigInt.asUintN(64, p.state.get64('tscOffset') + by));
  p.state.set64('tscAdjust', BigInt.asUintN(64, p.state.get64('tscAdjust') + by));
  timeMoved(p);
}
export function setTimeStampAdjust(p: Processor, value: bigint): void {
  const by = value - p.state.get64('tscAdjust');
  p.state.set64('tscOffset', BigInt.asUintN(64, p.state.get64('tscOffset') + by));
  p.state.set64('tscAdjust', value);
  timeMoved(p);
}
/** The counter has moved against the machine's time, or has another rate. */
export function timeMoved(p: Processor): void {
  p.apic?.timeMoved();
  updateSystemTime(p);
}
