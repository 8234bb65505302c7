/**
 * Debug registers as conditions: what DR7 enables goes to whoever meets it. Instruction breakpoints are the engine's, data
 * breakpoints the MMU's, I/O breakpoints the port instructions'. SDM volume 3, chapter 19.
 *
 * Traps (data and I/O breakpoints, single steps) are collected in the field `pendingDebug`, in DR6's places, and delivered
 * together after the instruction.
 */
import { addressOfBig } from '../mmu/linear.ts';
import type { Watch } from '../mmu/watch.ts';
import { offsetOf } from '../state/layout.ts';
import type { InstructionBreakpoint } from './engine.ts';
import { CR4_DE, type PortBreakpoint, type Processor } from './processor.ts';

export const DR6_BD = 1 << 13;
export const DR6_BS = 1 << 14;
export const DR6_BT = 1 << 15;
export const DR7_GD = 1 << 13;
const HITS = 15n;
/** IA32_DEBUGCTL: last-branch records, and single steps at branches only. */
const LBR = 1n;
export const BTF = 2n;

const DR7 = offsetOf('dr7') >> 2;
const PENDING = offsetOf('pendingDebug') >> 2;
const CR4 = offsetOf('cr4') >> 2;

const lengths = [1, 2, 8, 4];
const EXECUTE = 0;
const PORTS = 2;

/** After a change of DR0-3, DR7 or CR4.DE: tells everyone who looks for what. */
export function debugChanged(p: Processor): void {
  const instructions: InstructionBreakpoint[] = [];
  const watches: Watch[] = [];
  const ports: PortBreakpoint[] = [];
  const control = p.state.u32[DR7]!;
  for (let i = 0; i < 4; i++) {
    if (((control >>> (2 * i)) & 3) === 0) continue;
    const type = (control >>> (16 + 4 * i)) & 3;
    const length = lengths[(control >>> (18 + 4 * i)) & 3]!;
    const address = p.state.get64(`dr${i}`);
    const bit = 1 << i;
    if (type === EXECUTE) instructions.push({ linear: address, bit });
    else if (type !== PORTS) {
      const start = addressOfBig(BigInt.asIntN(64, address & ~BigInt(length - 1)));
      watches.push({ start, length, writesOnly: type === 1, bit });
    } else if ((p.state.u32[CR4]! & CR4_DE) !== 0) {
      const first = Number(address & 0xffffn) & ~(length - 1);
      ports.push({ first, last: first + length - 1, bit });
    }
  }
  p.watchedPorts = ports;
  p.engine.forgetPrograms();
  p.keepsResumeFlag = instructions.length > 0;
  p.mmu.watch(watches);
  p.engine.setBreakpoints(instructions);
}

/** An access to ports, done or about to be: notes the breakpoints that it meets. */
export function notePorts(p: Processor, port: number, bytes: number): void {
  for (const { first, last, bit } of p.watchedPorts)
    if (port <= last && port + bytes > first) p.state.u32[PENDING] = p.state.u32[PENDING]! | bit;
}

/** What DR6, DR7 and IA32_DEBUGCTL show of a debug exception that is about to be delivered. */
export function enterDebugException(p: Processor, cause: number): void {
  const { state } = p;
  state.set64('dr6', (state.get64('dr6') & ~HITS) | BigInt(cause >>> 0));
  leaveDebugging(p);
}
/** Any vector-1 event, INT1 too. */
export function leaveDebugging(p: Processor): void {
  const { state } = p;
  state.set64('dr7', state.get64('dr7') & ~BigInt(DR7_GD));
  state.set64('debugCtl', state.get64('debugCtl') & ~(LBR | BTF));
}
