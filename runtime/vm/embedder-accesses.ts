/**
 * The accesses that the embedder makes for the guest: ports, memory and MSRs that nobody inside the machine claims, and
 * hypercalls.
 *
 * Where the guest waits for an answer, its instruction is given up before it has had an effect, and executed once more when
 * the answer is there. An instruction can make several accesses: those that were made are kept in the vCPU's access log
 * (src/mmu/access-log.ts) until it is done, so each is made once. What only writes does not wait: the instruction ends as
 * usual and the exit follows it; a second write of the same instruction gives it up, since an exit tells of one.
 */
import type { AccessLog } from '../../src/mmu/access-log.ts';
import { exitRequest } from '../../src/system/exit-request.ts';
import type { WideSize } from '../devices/device.ts';
import type { Exit, HypercallExit, MmioExit, MsrExit, PioExit } from './exits.ts';

type AccessExit = PioExit | MmioExit | MsrExit | HypercallExit;

/** What an MSR access is answered with. */
export interface MsrAnswer {
  readonly low: number;
  readonly high: number;
  /** #GP(0) instead. */
  readonly fault: boolean;
}

const ones = (size: 1 | 2 | 4): number => (size === 4 ? 0xffff_ffff : (1 << (size * 8)) - 1);

export class EmbedderAccesses {
  /** What the vCPU comes back with. */
  exit: AccessExit | null = null;
  private readonly log: AccessLog;
  private readonly stopSoon: () => void;
  private readonly pio: PioExit;
  private readonly mmio: MmioExit;
  private readonly msr: MsrExit;
  private readonly call: HypercallExit;
  /** The exit that the embedder has got last, to whose answer an instruction may wait. */
  private handedOver: AccessExit | null = null;

  /**
   * @param log what the vCPU's present instruction has accessed
   * @param stopSoon ends the run after the present instruction
   */
  constructor(cpu: number, log: AccessLog, stopSoon: () => void) {
    this.log = log;
    this.stopSoon = stopSoon;
    this.pio = { kind: 'pio', cpu, write: false, port: 0, size: 1, value: 0 };
    this.mmio = { kind: 'mmio', cpu, write: false, physical: 0, size: 1, low: 0, high: 0 };
    this.msr = { kind: 'msr', cpu, write: false, index: 0, low: 0, high: 0, fault: false };
    const none = (): [number, number, number, number] => [0, 0, 0, 0];
    this.call = { kind: 'hypercall', cpu, number: 0, low: none(), high: none(), resultLow: 0, resultHigh: 0 };
  }

  // --- what the vCPU's loop asks
  /** An instruction has made accesses and is not done: nothing but that instruction can come next. */
  get halfDone(): boolean {
    return this.log.givenUp && this.log.count > 0;
  }
  /** An instruction was given up in the middle of its accesses: it is to be executed once more before anything else. */
  get waiting(): boolean {
    return this.log.givenUp && (this.handedOver !== null || this.log.count > 0);
  }
  /** Takes the exit to hand over. */
  take(): Exit {
    const exit = this.exit!;
    this.exit = null;
    this.handedOver = this.log.givenUp ? exit : null;
    return exit;
  }
  /** Takes the embedder's answer to a read of ports that is all its instruction does; -1: the exit is no such one. */
  takeRead(size: 1 | 2 | 4): number {
    const { handedOver: exit } = this;
    if (exit?.kind !== 'pio' || exit.write || exit.size !== size || this.log.count > 0) return -1;
    this.forget();
    return cut(exit.value, size);
  }
  /** Takes the embedder's answer; the instruction is to be executed once more. */
  resume(): void {
    const { log, handedOver: exit } = this;
    this.handedOver = null;
    // What was written stands in the log already; a fault of WRMSR is an answer.
    switch (exit?.kind) {
      case 'pio':
        if (!exit.write) log.note('port', false, exit.port, exit.size, cut(exit.value, exit.size), 0);
        break;
      case 'mmio': {
        const { physical, size, low, high } = exit;
        if (!exit.write) log.note('memory', false, physical, size, size === 8 ? low >>> 0 : cut(low, size), high >>> 0);
        break;
      }
      case 'msr':
        log.note('msr', exit.write, exit.index, 8, exit.low, exit.high, exit.fault);
        break;
      case 'hypercall':
        log.note('hypercall', false, exit.number, 8, exit.resultLow, exit.resultHigh);
    }
    log.resume();
  }
  /** The instruction is done, or is no more: another state was set. */
  forget(): void {
    this.handedOver = null;
    this.log.forget();
  }

  // --- accesses
  /** A read: the instruction is given up. */
  private ask(exit: AccessExit): void {
    this.exit ??= exit;
    this.log.giveUp();
  }
  /** A write: the instruction goes on, unless another write is to be handed over first. */
  private tell(kind: 'port' | 'memory', address: number, size: WideSize, exit: PioExit | MmioExit): void {
    if (this.exit !== null) {
      this.log.giveUp();
      return;
    }
    this.exit = exit;
    this.log.note(kind, true, address, size, 0, 0);
    this.stopSoon();
  }

  /** Of an instruction, it gives it up. Others read all ones. */
  readPort(port: number, size: 1 | 2 | 4): number {
    if (this.log.takes()) {
      const { pio } = this;
      if (this.exit === null) {
        pio.write = false;
        pio.port = port;
        pio.size = size;
        pio.value = ones(size);
      }
      this.ask(pio);
    }
    return ones(size);
  }
  writePort(port: number, size: 1 | 2 | 4, value: number): void {
    if (!this.log.takes()) return;
    const { pio } = this;
    if (this.exit === null) {
      pio.write = true;
      pio.port = port;
      pio.size = size;
      pio.value = value;
    }
    this.tell('port', port, size, pio);
  }
  /** As {@link readPort}; of eight bytes the low half. */
  readMemory(physical: number, size: WideSize): number {
    const answer = size === 8 ? 0xffff_ffff : ones(size);
    if (this.log.takes()) {
      const { mmio } = this;
      if (this.exit === null) {
        mmio.write = false;
        mmio.physical = physical;
        mmio.size = size;
        mmio.low = answer;
        mmio.high = size === 8 ? answer : 0;
      }
      this.ask(mmio);
    }
    return answer;
  }
  writeMemory(physical: number, size: WideSize, low: number, high: number): void {
    if (!this.log.takes()) return;
    const { mmio } = this;
    if (this.exit === null) {
      mmio.write = true;
      mmio.physical = physical;
      mmio.size = size;
      mmio.low = low;
      mmio.high = high;
    }
    this.tell('memory', physical, size, mmio);
  }
  /** RDMSR of a register that the policy hands over. Only from an instruction. */
  readMsr(index: number): MsrAnswer {
    return this.accessMsr(index, false, 0, 0);
  }
  /** WRMSR, which waits for the answer as well: it may be a fault. */
  writeMsr(index: number, low: number, high: number): MsrAnswer {
    return this.accessMsr(index, true, low, high);
  }
  private accessMsr(index: number, write: boolean, low: number, high: number): MsrAnswer {
    const { msr, log } = this;
    if (log.takes() && log.knows('msr', write, index, 8)) return log;
    if (this.exit === null) {
      msr.write = write;
      msr.index = index;
      msr.low = low;
      msr.high = high;
      msr.fault = false;
    }
    this.ask(msr);
    throw exitRequest;
  }
  /** VMCALL and VMMCALL; `registers` gives the halves of RAX, RBX, RCX, RDX and RSI. Only from an instruction. */
  hypercall(registers: (index: 0 | 1 | 2 | 3 | 4, half: 0 | 1) => number): { low: number; high: number } {
    const { call, log } = this;
    const number = registers(0, 0);
    if (log.takes() && log.knows('hypercall', false, number, 8)) return log;
    if (this.exit === null) {
      call.number = number;
      for (const i of [0, 1, 2, 3] as const) {
        call.low[i] = registers((i + 1) as 1, 0);
        call.high[i] = registers((i + 1) as 1, 1);
      }
      call.resultLow = 0;
      call.resultHigh = 0;
    }
    this.ask(call);
    throw exitRequest;
  }
}

/** The low bytes of an answer, unsigned. */
const cut = (value: number, size: 1 | 2 | 4): number => (value & ones(size)) >>> 0;
