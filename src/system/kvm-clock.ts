/**
 * KVM's clock: the guest names two places in its memory, and finds there the date at which the machine's time was zero, and
 * for each vCPU how time follows from the time-stamp counter. It then reads the time without leaving translated code. Linux,
 * Documentation/virt/kvm/x86/msr.rst.
 *
 * All vCPUs are told of one moment, so that their clocks agree to the nanosecond, whatever their counters' offsets.
 */
import { PAGE_ROM } from '../mmu/physical-memory.ts';
import type { Processor } from './processor.ts';
import { nanosScale } from './tsc-scale.ts';

const ENABLED = 1n;
/** The counters of all vCPUs show one time. */
const TSC_STABLE = 1;
/** struct pvclock_vcpu_time_info: version, padding, counter, nanoseconds, multiplier, shift, flags. */
const timeBytes = 32;
/** struct pvclock_wall_clock: version, seconds, nanoseconds. */
const wallBytes = 12;

/** The structure's new version, even; while it is being written the one before stands there, which is odd. */
const nextVersion = (old: number): number => ((old | 1) + 1) >>> 0;

/** All of a structure lies in memory that can be written: what does not is left alone, as KVM does. */
function isWritable(p: Processor, address: bigint, bytes: number): boolean {
  if (address >= 1n << 52n) return false;
  const first = Math.floor(Number(address) / 4096);
  const last = Math.floor((Number(address) + bytes - 1) / 4096);
  for (let page = first; page <= last; page++)
    if (!p.memory.isMemory(page) || (p.memory.flagsOf(page) & PAGE_ROM) !== 0) return false;
  return true;
}

/** The date at which the machine's time was zero. */
export function setWallClock(p: Processor, address: bigint): void {
  p.state.set64('kvmWallClock', address);
  const { paravirt, memory } = p;
  if (paravirt === null || !isWritable(p, address, wallBytes)) return;
  const at = Number(address);
  const version = nextVersion(memory.read32(at));
  const seconds = Math.floor(paravirt.epoch / 1000);
  memory.write32(at, version - 1);
  memory.write32(at + 4, seconds >>> 0);
  memory.write32(at + 8, Math.round((paravirt.epoch - seconds * 1000) * 1e6));
  memory.write32(at, version);
}

/** Bit 0: on. The rest is the structure's address. */
export function setSystemTime(p: Processor, value: bigint): void {
  p.state.set64('kvmSystemTime', value);
  updateSystemTime(p);
}

/** The counter has moved against time, or has another rate: what the guest was told is written anew. */
export function updateSystemTime(p: Processor): void {
  const { paravirt, memory } = p;
  const value = p.state.get64('kvmSystemTime');
  const address = value & ~ENABLED;
  if (paravirt === null || (value & ENABLED) === 0n || !isWritable(p, address, timeBytes)) return;
  const { reference, hertz } = paravirt;
  const { multiplier, shift } = nanosScale(hertz);
  const at = Number(address);
  const version = nextVersion(memory.read32(at));
  memory.write32(at, version - 1);
  memory.write32(at + 4, 0);
  memory.write64(at + 8, BigInt.asUintN(64, reference.tsc + p.state.get64('tscOffset')));
  memory.write64(at + 16, BigInt(reference.nanos));
  memory.write32(at + 24, multiplier);
  memory.write32(at + 28, (shift & 0xff) | (TSC_STABLE << 8));
  memory.write32(at, version);
}
