/** IN, OUT, INS, OUTS and who may use which port. SDM volume 1, chapter 20. */
import { offsetOf } from '../state/layout.ts';
import { SS_FAULT } from '../state/vectors.ts';
import { notePorts } from './debug.ts';
import { GuestFault, generalProtection } from './fault.ts';
import { type Processor, RFLAGS_DF, RFLAGS_TF } from './processor.ts';
import { ES, FS, GS, SS } from './segment-register.ts';

type PortBytes = 1 | 2 | 4;
const RAX = 0;
const GPR = offsetOf('rax') >> 2;
const RCX = offsetOf('rcx') >> 2;
const RDX = 2;
const RSI = 6;
const RDI = 7;
const PENDING = offsetOf('pendingDebug') >> 2;
const ATTENTION = offsetOf('attention') >> 2;
/** Iterations of a repeated instruction before the engine is asked again. */
const BATCH = 4096;

/** #GP(0) unless IOPL or the TSS's permission bitmap allows the ports. */
function checkPermission(p: Processor, port: number, bytes: PortBytes): void {
  if (!p.protectedMode || (!p.virtual8086 && p.cpl <= p.iopl)) return;
  const { tr, linear } = p;
  const type = tr.access & 15;
  if (!tr.usable || (type & 8) === 0 || tr.limit < 103) throw generalProtection();
  const map = linear.system16(p.systemLinear(tr.base, 102));
  const at = map + (port >> 3);
  if (at + 1 > tr.limit) throw generalProtection();
  const bits = linear.system16(p.systemLinear(tr.base, at)) >> (port & 7);
  if ((bits & ((1 << bytes) - 1)) !== 0) throw generalProtection();
}

/** `in` (port, bytes): into AL, AX or EAX. */
export function portIn(p: Processor): void {
  const port = p.argument(0) & 0xffff;
  const bytes = p.argument(1) as PortBytes;
  checkPermission(p, port, bytes);
  if (p.watchedPorts.length > 0) notePorts(p, port, bytes);
  p.setGpr(RAX, (bytes * 8) as 8 | 16 | 32, p.ports.read(port, bytes));
  p.advance();
}

/** `out` (port, bytes): from AL, AX or EAX. */
export function portOut(p: Processor): void {
  const port = p.argument(0) & 0xffff;
  const bytes = p.argument(1) as PortBytes;
  checkPermission(p, port, bytes);
  if (p.watchedPorts.length > 0) notePorts(p, port, bytes);
  const value = p.gpr32(RAX);
  // The instruction counts as done before the device acts on it: whatever it stops sees the state after.
  p.advance();
  p.ports.write(port, bytes, bytes === 4 ? value : value & (bytes === 2 ? 0xffff : 0xff));
}

/** An index or count register cut to the address size, as a number (64 bits: signed, an address). */
function indexValue(p: Processor, register: number, width: number): number {
  const low = p.gpr32(register);
  if (width === 16) return low & 0xffff;
  return width === 32 ? low : low + p.state.i32[GPR + register * 2 + 1]! * 2 ** 32;
}
function setIndex(p: Processor, register: number, width: number, value: number): void {
  p.setGpr(register, width as 16 | 32 | 64, value >>> 0, Math.floor(value / 2 ** 32));
}

/** Offset in a segment -> linear address, with the segment's checks. */
function checkedLinear(p: Processor, segment: number, offset: number, bytes: number, write: boolean): number {
  const s = p.segments[segment]!;
  if (p.code64) return segment === FS || segment === GS ? s.base + offset : offset;
  const low = write ? s.writeLow : s.readLow;
  const high = write ? s.writeHigh : s.readHigh;
  if (offset < low || offset + bytes - 1 > high)
    throw segment === SS ? new GuestFault(SS_FAULT, 0) : generalProtection();
  return (s.base + offset) >>> 0;
}

/**
 * The loop of INS and OUTS. arguments: bytes, address width, 1 = repeated, segment (OUTS). Stops early when the engine
 * wants attention; rip then stays at the instruction.
 */
function stringIo(p: Processor, register: number, once: (bytes: PortBytes, offset: number) => void): void {
  const bytes = p.argument(0) as PortBytes;
  const width = p.argument(1);
  const repeated = p.argument(2) !== 0;
  const { u32 } = p.state;
  checkPermission(p, p.gpr32(RDX) & 0xffff, bytes);
  const step = (p.rflagsRest & RFLAGS_DF) !== 0 ? -bytes : bytes;
  const stepped = (p.rflagsRest & RFLAGS_TF) !== 0;
  for (let done = 0; ; done++) {
    if (repeated && indexValue(p, 1, width) === 0) break;
    if (done > 0 && (done === BATCH || stepped || u32[ATTENTION] !== 0 || u32[PENDING] !== 0)) return;
    const offset = indexValue(p, register, width);
    once(bytes, offset);
    if (p.watchedPorts.length > 0) notePorts(p, p.gpr32(RDX) & 0xffff, bytes);
    setIndex(p, register, width, offset + step);
    if (!repeated) break;
    if (width === 64) {
      const low = u32[RCX]!;
      u32[RCX] = low - 1;
      if (low === 0) u32[RCX + 1]!--;
    } else setIndex(p, 1, width, indexValue(p, 1, width) - 1);
  }
  p.advance();
}

/** `ins` (bytes, address width, repeated). */
export function ins(p: Processor): void {
  const port = p.gpr32(RDX) & 0xffff;
  stringIo(p, RDI, (bytes, offset) => {
    const linear = checkedLinear(p, ES, offset, bytes, true);
    p.linear.probeWrite(linear, bytes, false); // before the device gives the value away
    p.linear.store(linear, bytes, p.ports.read(port, bytes), 0, false);
  });
}

/** `outs` (bytes, address width, repeated, segment). */
export function outs(p: Processor): void {
  const port = p.gpr32(RDX) & 0xffff;
  const segment = p.argument(3);
  stringIo(p, RSI, (bytes, offset) => {
    p.ports.write(port, bytes, p.linear.load(checkedLinear(p, segment, offset, bytes, false), bytes, false));
  });
}
