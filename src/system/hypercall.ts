/** VMCALL and VMMCALL: a guest's call to whoever made its machine, as KVM takes it: number in RAX, arguments in RBX, RCX, RDX, RSI. */
import { undefinedOpcode } from './fault.ts';
import type { Processor } from './processor.ts';

const RAX = 0;
/** By the numbers of registers' encodings. */
const registers = [RAX, 3, 1, 2, 6] as const;
/** KVM_EPERM and KVM_ENOSYS, negative. */
const NOT_PERMITTED = -1;
const NO_SUCH_CALL = -1000;

function answer(p: Processor, low: number, high: number): void {
  if (p.code64) p.setGpr(RAX, 64, low, high);
  else p.setGpr(RAX, 32, low);
}

/** `vmcall`. */
export function vmcall(p: Processor): void {
  if (p.hypercalls === 'fault') throw undefinedOpcode();
  if (p.cpl !== 0) answer(p, NOT_PERMITTED >>> 0, NOT_PERMITTED >>> 0);
  else if (p.hypercalls === 'kvm' || p.embedder === null) answer(p, NO_SUCH_CALL >>> 0, 0xffff_ffff);
  else {
    const wide = p.code64;
    const { low, high } = p.embedder.hypercall((index, half) => {
      const register = registers[index]!;
      return half === 0 ? p.gpr32(register) : wide ? p.gprHigh(register) : 0;
    });
    answer(p, low, high);
  }
  p.advance();
}
