/**
 * The accesses that the embedder makes for the guest: ports, memory and MSRs that nobody inside the machine claims, and
 * hypercalls.
 *
 * Where the guest waits for an answer, its instruction is given up before it has had an effect, and executed once more when
 * the answer is there. An instruction can make several accesses, so the answered ones are kept until it is done: made again,
 * they find their answers here, and a device sees each access once. What only writes does not wait: the instruction ends as
 * usual and the exit follows it; a second write of the same instruction gives it up, since an exit tells of one.
 */
import { exitRequest } from '../../src/system/exit-request.ts';
import type { Exit, HypercallExit, MmioExit, MsrExit, PioExit } from './exits.ts';

type AccessExit = PioExit | MmioExit | MsrExit | HypercallExit;

/** One answered access. */
interface Answered {
  kind: AccessExit['kind'];
  write: boolean;
  address: number;
  size: number;
  low: number;
  high: number;
  fault: boolean;
}

/** What an MSR access is answered with. */
export interface MsrAnswer {
  readonly low: number;
  readonly high: number;
  /** #GP(0) instead. */
  readonly fault: boolean;
}

/** The vCPU, as far as accesses need it. */
export interface AccessingVcpu {
  /** What is made now belongs to an instruction, which can be given up. */
  readonly inInstruction: boolean;
  /** The present instruction, whose helper looks for it, has no effect. */
  giveUp(): void;
  /** Ends the run after the present instruction. */
  stopSoon(): void;
}

const ones = (size: 1 | 2 | 4): number => (size === 4 ? 0xffff_ffff : (1 << (size * 8)) - 1);

export class EmbedderAccesses {
  /** What the vCPU comes back with. */
  exit: AccessExit | null = null;
  private readonly vcpu: AccessingVcpu;
  private readonly pio: PioExit;
  private readonly mmio: MmioExit;
  private readonly msr: MsrExit;
  private readonly call: HypercallExit;
  private readonly answers: Answered[] = [];
  private count = 0;
  private next = 0;
  /** The exit that the embedder has now: its instruction was given up. */
  private asked: AccessExit | null = null;

  constructor(vcpu: AccessingVcpu, cpu: number) {
    this.vcpu = vcpu;
    this.pio = { kind: 'pio', cpu, write: false, port: 0, size: 1, value: 0 };
    this.mmio = { kind: 'mmio', cpu, write: false, physical: 0, size: 1, low: 0, high: 0 };
    this.msr = { kind: 'msr', cpu, write: false, index: 0, low: 0, high: 0, fault: false };
    const none = (): [number, number, number, number] => [0, 0, 0, 0];
    this.call = { kind: 'hypercall', cpu, number: 0, low: none(), high: none(), resultLow: 0, resultHigh: 0 };
  }

  // --- what the vCPU's loop asks
  /** An instruction has made accesses and is not done: nothing but that access can come next. */
  get halfDone(): boolean {
    return (
      this.count > 0 || (this.asked?.kind !== 'msr' && this.asked?.kind !== 'hypercall' && this.asked?.write === true)
    );
  }
  /** An instruction was given up for the exit that the embedder has. */
  get waiting(): boolean {
    return this.asked !== null;
  }
  /** Takes the exit to hand over. */
  take(givenUp: boolean): Exit {
    const exit = this.exit!;
    this.exit = null;
    if (givenUp) this.asked = exit;
    else this.forget();
    return exit;
  }
  /** Takes the embedder's answer to a read of ports that is all its instruction does; -1: the exit is no such one. */
  takeRead(size: 1 | 2 | 4): number {
    const { asked } = this;
    if (asked?.kind !== 'pio' || asked.write || asked.size !== size || this.count > 0) return -1;
    this.forget();
    return (asked.value & ones(size)) >>> 0;
  }
  /** Takes the embedder's answer; the instruction is to be executed once more. */
  resume(): void {
    const { asked } = this;
    if (asked === null) return;
    this.asked = null;
    this.next = 0;
    this.answers[this.count] ??= { kind: 'pio', write: false, address: 0, size: 0, low: 0, high: 0, fault: false };
    const answer = this.answers[this.count++]!;
    answer.kind = asked.kind;
    answer.fault = false;
    answer.high = 0;
    switch (asked.kind) {
      case 'pio':
        answer.write = asked.write;
        answer.address = asked.port;
        answer.size = asked.size;
        answer.low = asked.value;
        break;
      case 'mmio':
        answer.write = asked.write;
        answer.address = asked.physical;
        answer.size = asked.size;
        answer.low = asked.low;
        answer.high = asked.high;
        break;
      case 'msr':
        answer.write = asked.write;
        answer.address = asked.index;
        answer.size = 8;
        answer.low = asked.low;
        answer.high = asked.high;
        answer.fault = asked.fault;
        break;
      case 'hypercall':
        answer.write = false;
        answer.address = asked.number;
        answer.size = 8;
        answer.low = asked.resultLow;
        answer.high = asked.resultHigh;
    }
  }
  /** The instruction could not be executed to its end and will be, from the start: its answers hold. */
  restart(): void {
    this.next = 0;
  }
  /** The instruction is done, or is no more: another state was set. */
  forget(): void {
    this.asked = null;
    this.count = 0;
    this.next = 0;
  }

  // --- accesses
  private known(kind: AccessExit['kind'], write: boolean, address: number, size: number): Answered | null {
    if (this.next >= this.count) return null;
    const answer = this.answers[this.next]!;
    if (answer.kind === kind && answer.write === write && answer.address === address && answer.size === size) {
      this.next++;
      return answer;
    }
    this.count = this.next; // another instruction has taken the place of the one that was given up
    return null;
  }
  /** A read: the instruction is given up. */
  private ask(exit: AccessExit): never {
    this.exit ??= exit;
    throw exitRequest;
  }
  /** A write: the instruction goes on, unless another write is to be handed over first. */
  private tell(exit: AccessExit): void {
    if (this.exit !== null) throw exitRequest;
    this.exit = exit;
    this.vcpu.stopSoon();
  }

  readPort(port: number, size: 1 | 2 | 4): number {
    const known = this.known('pio', false, port, size);
    if (known !== null) return (known.low & ones(size)) >>> 0;
    const { pio } = this;
    if (!this.vcpu.inInstruction) return ones(size);
    if (this.exit === null) {
      pio.write = false;
      pio.port = port;
      pio.size = size;
      pio.value = ones(size);
      this.exit = pio;
    }
    this.vcpu.giveUp(); // a throw costs more than the rest of the way out
    return Number.NaN;
  }
  writePort(port: number, size: 1 | 2 | 4, value: number): void {
    const { pio } = this;
    if (!this.vcpu.inInstruction || this.known('pio', true, port, size) !== null) return;
    if (this.exit === null) {
      pio.write = true;
      pio.port = port;
      pio.size = size;
      pio.value = value;
    }
    this.tell(pio);
  }
  readMemory(physical: number, size: 1 | 2 | 4): number {
    const known = this.known('mmio', false, physical, size);
    if (known !== null) return (known.low & ones(size)) >>> 0;
    const { mmio } = this;
    if (!this.vcpu.inInstruction) return ones(size);
    if (this.exit === null) {
      mmio.write = false;
      mmio.physical = physical;
      mmio.size = size;
      mmio.low = ones(size);
      mmio.high = 0;
    }
    return this.ask(mmio);
  }
  writeMemory(physical: number, size: 1 | 2 | 4, value: number): void {
    const { mmio } = this;
    if (!this.vcpu.inInstruction || this.known('mmio', true, physical, size) !== null) return;
    if (this.exit === null) {
      mmio.write = true;
      mmio.physical = physical;
      mmio.size = size;
      mmio.low = value;
      mmio.high = 0;
    }
    this.tell(mmio);
  }
  /** RDMSR of a register that the policy hands over. Only from an instruction. */
  readMsr(index: number): MsrAnswer {
    return this.known('msr', false, index, 8) ?? this.askMsr(index, false, 0, 0);
  }
  /** WRMSR, which waits for the answer as well: it may be a fault. */
  writeMsr(index: number, low: number, high: number): MsrAnswer {
    return this.known('msr', true, index, 8) ?? this.askMsr(index, true, low, high);
  }
  private askMsr(index: number, write: boolean, low: number, high: number): never {
    const { msr } = this;
    if (this.exit === null) {
      msr.write = write;
      msr.index = index;
      msr.low = low;
      msr.high = high;
      msr.fault = false;
    }
    return this.ask(msr);
  }
  /** VMCALL and VMMCALL; `registers` gives the halves of RAX, RBX, RCX, RDX and RSI. Only from an instruction. */
  hypercall(registers: (index: 0 | 1 | 2 | 3 | 4, half: 0 | 1) => number): { low: number; high: number } {
    const { call } = this;
    const number = registers(0, 0);
    const known = this.known('hypercall', false, number, 8);
    if (known !== null) return known;
    if (this.exit === null) {
      call.number = number;
      for (const i of [0, 1, 2, 3] as const) {
        call.low[i] = registers((i + 1) as 1, 0);
        call.high[i] = registers((i + 1) as 1, 1);
      }
      call.resultLow = 0;
      call.resultHigh = 0;
    }
    return this.ask(call);
  }
}
