/** IN, OUT, INS, OUTS and who may use which port. SDM volume 1, chapter 20. */
import { offsetOf } from '../state/layout.ts';
import { notePorts } from './debug.ts';
import { directPort, portRequest } from './direct-port.ts';
import { generalProtection } from './fault.ts';
import { type Processor, RFLAGS_DF, RFLAGS_TF } from './processor.ts';
import { ES } from './segment-register.ts';
import { checkRange } from './segments.ts';

type PortBytes = 1 | 2 | 4;
const RAX = 0;
const GPR = offsetOf('rax') >> 2;
const RCX = 1;
const RDX = 2;
const RSI = 6;
const RDI = 7;
const PENDING = offsetOf('pendingDebug') >> 2;
/** Nobody puts more than 32 bits there. */
const RESULT1 = offsetOf('result1') >> 2;
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
  const { ports } = p;
  const { answered } = ports;
  const value = ports.read(port, bytes);
  if (p.mmu.accesses.givenUp) {
    p.awaitedIn = bytes;
    return;
  }
  if (ports.answered !== answered) p.engine.portAnswered(p.rip);
  p.setGpr(RAX, (bytes * 8) as 8 | 16 | 32, value);
  p.advance();
  ports.took?.(1);
}

/** `out` (port, bytes): from AL, AX or EAX. */
export function portOut(p: Processor): void {
  const port = p.argument(0) & 0xffff;
  const bytes = p.argument(1) as PortBytes;
  checkPermission(p, port, bytes);
  if (p.watchedPorts.length > 0) notePorts(p, port, bytes);
  const { rip, ports } = p;
  const { answered } = ports;
  const value = p.gpr32(RAX);
  // The instruction counts as done before the device acts on it: whatever it stops sees the state after.
  p.advance();
  ports.write(port, bytes, bytes === 4 ? value : value & (bytes === 2 ? 0xffff : 0xff));
  if (p.mmu.accesses.givenUp) {
    p.rip = rip;
    return;
  }
  if (ports.answered !== answered) p.engine.portAnswered(rip);
  ports.took?.(1);
}

/**
 * A port access of translated code, as far as a program beside the processor does it: port, bytes and, for OUT, the value in
 * the fields argument0-2; the answer in result1.
 * @param request of direct-port.ts
 */
export function portDirectly(p: Processor, request: number): number {
  const { ports } = p;
  const port = p.argument(0) & 0xffff;
  const bytes = p.argument(1) as PortBytes;
  const write = (request & portRequest.write) !== 0;
  if ((request & portRequest.passed) !== 0) {
    ports.passedOn?.(port, bytes, write);
    return directPort.passed;
  }
  if (ports.took !== undefined) return directPort.nobody; // what takes time is done by `in` and `out`
  if ((p.protectedMode && (p.virtual8086 || p.cpl > p.iopl)) || p.watchedPorts.length > 0) return directPort.nobody;
  let answer = -2;
  if (!write) {
    answer = ports.readDirect?.(port, bytes) ?? -2;
    if (answer >= 0) p.state.u32[RESULT1] = answer;
  } else if (ports.writeDirect !== undefined) {
    const value = p.argument(2);
    answer = ports.writeDirect(port, bytes, bytes === 4 ? value : value & (bytes === 2 ? 0xffff : 0xff));
  }
  if (answer === -2) return directPort.nobody;
  const program = ports.directAt?.(port, bytes, write) ?? null;
  if (program !== null) p.engine.portProgram(port, bytes, write, program);
  return answer >= 0 ? directPort.done : directPort.passed;
}

/** The low half of an index or count register cut to the address size, and the high half. */
function indexLow(p: Processor, register: number, width: number): number {
  return width === 16 ? p.gpr32(register) & 0xffff : p.gpr32(register);
}
function indexHigh(p: Processor, register: number, width: number): number {
  return width === 64 ? p.state.i32[GPR + register * 2 + 1]! : 0;
}
function moveIndex(p: Processor, register: number, width: number, by: number): void {
  const sum = p.gpr32(register) + by;
  const carry = sum < 0 ? -1 : sum >= 2 ** 32 ? 1 : 0;
  p.setGpr(register, width as 16 | 32 | 64, sum >>> 0, indexHigh(p, register, width) + carry);
}

/** Where an index register points in a segment -> linear address, with the segment's checks. */
function checkedLinear(
  p: Processor,
  segment: number,
  register: number,
  width: number,
  bytes: number,
  write: boolean,
): number {
  const offset = indexLow(p, register, width);
  checkRange(p, segment, offset, bytes, write);
  return p.linearOf(segment, offset, indexHigh(p, register, width));
}

/**
 * The loop of INS and OUTS. arguments: bytes, address width, 1 = repeated, segment (OUTS). Stops early when the engine
 * wants attention, or when an element was given up (`once` says false); rip then stays at the instruction.
 */
function stringIo(p: Processor, register: number, once: (bytes: PortBytes, width: number) => boolean): void {
  const { ports } = p;
  if (ports.took === undefined) {
    moveElements(p, register, once);
    return;
  }
  // Time passes when the instruction ends, in one piece: an alarm on the way does not cut it at another element.
  let accesses = 0;
  try {
    moveElements(p, register, (bytes, width) => {
      const done = once(bytes, width);
      if (done) accesses++;
      return done;
    });
  } finally {
    if (accesses > 0) ports.took(accesses);
  }
}
function moveElements(p: Processor, register: number, once: (bytes: PortBytes, width: number) => boolean): void {
  const bytes = p.argument(0) as PortBytes;
  const width = p.argument(1);
  const repeated = p.argument(2) !== 0;
  const { u32 } = p.state;
  checkPermission(p, p.gpr32(RDX) & 0xffff, bytes);
  const step = (p.rflagsRest & RFLAGS_DF) !== 0 ? -bytes : bytes;
  const stepped = (p.rflagsRest & RFLAGS_TF) !== 0;
  for (let done = 0; ; done++) {
    if (repeated && indexLow(p, RCX, width) === 0 && indexHigh(p, RCX, width) === 0) break;
    if (done > 0 && (done === BATCH || stepped || u32[ATTENTION] !== 0 || u32[PENDING] !== 0)) {
      p.stoppedInside = done < BATCH;
      return;
    }
    if (!once(bytes, width)) return;
    p.mmu.accesses.commit();
    if (p.watchedPorts.length > 0) notePorts(p, p.gpr32(RDX) & 0xffff, bytes);
    moveIndex(p, register, width, step);
    if (!repeated) break;
    moveIndex(p, RCX, width, -1);
  }
  p.advance();
}

/** `ins` (bytes, address width, repeated). */
export function ins(p: Processor): void {
  const port = p.gpr32(RDX) & 0xffff;
  stringIo(p, RDI, (bytes, width) => {
    const linear = checkedLinear(p, ES, RDI, width, bytes, true);
    p.linear.probeWrite(linear, bytes, false); // before the device gives the value away
    const value = p.ports.read(port, bytes);
    if (p.mmu.accesses.givenUp) return false;
    p.linear.store(linear, bytes, value, 0, false);
    return true;
  });
}

/** `outs` (bytes, address width, repeated, segment). */
export function outs(p: Processor): void {
  const port = p.gpr32(RDX) & 0xffff;
  const segment = p.argument(3);
  stringIo(p, RSI, (bytes, width) => {
    p.ports.write(port, bytes, p.linear.load(checkedLinear(p, segment, RSI, width, bytes, false), bytes, false));
    return !p.mmu.accesses.givenUp;
  });
}
