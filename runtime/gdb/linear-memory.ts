/**
 * Guest memory as a debugger sees it: by linear addresses, through the paging of one vCPU as it is now, whoever may access it.
 * The guest notices nothing: no fault, no accessed flag, no device is touched.
 */
import { PAGE_ROM } from '../../src/mmu/physical-memory.ts';
import type { Vcpu } from '../vm/vcpu.ts';

/** The parts of an area, each within a page; false as soon as there is no memory. */
function eachPart(
  { mmu, memory }: Vcpu,
  linear: bigint,
  length: number,
  take: (physical: number, offset: number, bytes: number) => boolean,
): boolean {
  for (let done = 0; done < length; ) {
    const at = BigInt.asUintN(64, linear + BigInt(done));
    const within = Number(at & 0xfffn);
    const page = mmu.walker.look(Number(at & 0xffff_ffffn), Number(BigInt.asIntN(32, at >> 32n)));
    if (page < 0 || memory.hostOf(Math.floor(page / 4096)) < 0) return done > 0 && take(-1, done, 0);
    const bytes = Math.min(4096 - within, length - done);
    if (!take(page + within, done, bytes)) return false;
    done += bytes;
  }
  return true;
}

/** The bytes at a linear address, fewer where memory ends before; null if there is none at all. */
export function readLinear(vcpu: Vcpu, linear: bigint, length: number): Uint8Array | null {
  const into = new Uint8Array(length);
  let read = 0;
  const found = eachPart(vcpu, linear, length, (physical, offset, bytes) => {
    if (bytes === 0) return true;
    vcpu.memory.readBytes(physical, into.subarray(offset, offset + bytes));
    read = offset + bytes;
    return true;
  });
  return found ? into.subarray(0, read) : null;
}

/** Writes to RAM, with or without write permission of the guest's; code that was made from it notices. False: nothing was. */
export function writeLinear(vcpu: Vcpu, linear: bigint, from: Uint8Array): boolean {
  const { memory } = vcpu;
  const isRam = (physical: number) => (memory.flagsOf(Math.floor(physical / 4096)) & PAGE_ROM) === 0;
  const all = eachPart(vcpu, linear, from.length, (physical, _, bytes) => bytes > 0 && isRam(physical));
  if (!all) return false;
  return eachPart(vcpu, linear, from.length, (physical, offset, bytes) => {
    memory.writeBytes(physical, from.subarray(offset, offset + bytes));
    return true;
  });
}
