/**
 * The accesses that one vCPU's present instruction has made outside of RAM: to devices, programs, its local APIC's page,
 * the embedder. An instruction may have to be given up after some of them and executed once more (the embedder is to answer
 * the next one, a page of memory could not be had, a watchpoint is met); made again, they are answered from here, so that
 * whoever is out there sees each of them once.
 *
 * Whether the instruction was given up is known here and nowhere else.
 */

/** What was accessed. */
export type AccessKind = 'port' | 'memory' | 'msr' | 'hypercall';

/** An access that was made, with its answer. */
interface Made {
  kind: AccessKind;
  write: boolean;
  address: number;
  size: number;
  low: number;
  high: number;
  /** An MSR: #GP(0). */
  fault: boolean;
}

/** Who executes instructions. */
export interface Executor {
  /** An access that is made now belongs to an instruction. */
  readonly inInstruction: boolean;
  /** Instructions that are left of its run: never the same for two that are executed. */
  readonly left: number;
}

export class AccessLog {
  /**
   * The instruction has no effect and will be executed once more. Whoever is in the middle of it sees to it that nothing
   * follows; the engine ends the run.
   */
  givenUp = false;
  /** The answer that {@link knows} has found; `low` and `high` are unsigned halves. */
  low = 0;
  high = 0;
  fault = false;
  /** Set by the engine. */
  executor: Executor | null = null;
  /** Accesses that were made. */
  count = 0;
  private readonly made: Made[] = [];
  /** The next that an instruction that is executed again will make. */
  private next = 0;
  private left = Number.NaN;
  /** The next access that is made belongs to the instruction whose accesses these are. */
  private continues = false;
  /** Somebody acts on an access: what that one accesses itself is no instruction's. */
  private acting = false;

  /**
   * Whether an access that is about to be made belongs to an instruction: then {@link knows} is asked, and {@link note} told.
   * Otherwise it is a device's or the processor's own, between instructions.
   */
  takes(): boolean {
    const { executor } = this;
    if (this.acting || executor?.inInstruction !== true) return false;
    const { left } = executor;
    if (left === this.left) return true;
    this.left = left;
    this.next = 0;
    if (!this.continues) this.count = 0;
    this.continues = false;
    return true;
  }
  /** Whether the access was made before; its answer is here then. */
  knows(kind: AccessKind, write: boolean, address: number, size: number): boolean {
    if (this.next >= this.count) return false;
    const made = this.made[this.next]!;
    if (made.kind !== kind || made.write !== write || made.address !== address || made.size !== size) return false;
    this.next++;
    this.low = made.low;
    this.high = made.high;
    this.fault = made.fault;
    return true;
  }
  /** From here to {@link note} somebody acts on the access. */
  begin(): void {
    this.acting = true;
  }
  /** It was nobody's after all. */
  pass(): void {
    this.acting = false;
  }
  /** The access was made. What was known to follow is no more: another instruction has taken the place of that one. */
  note(
    kind: AccessKind,
    write: boolean,
    address: number,
    size: number,
    low: number,
    high: number,
    fault = false,
  ): void {
    this.acting = false;
    const at = this.next++;
    this.count = this.next;
    const made = this.made[at];
    if (made === undefined) this.made[at] = { kind, write, address, size, low, high, fault };
    else {
      made.kind = kind;
      made.write = write;
      made.address = address;
      made.size = size;
      made.low = low;
      made.high = high;
      made.fault = fault;
    }
  }

  /** The instruction cannot go on now. */
  giveUp(): void {
    this.givenUp = true;
    this.count = this.next;
  }
  /** The same instruction is executed once more, at once. */
  again(): void {
    this.next = 0;
  }
  /** The instruction that was given up is executed once more, in another run. */
  resume(): void {
    this.givenUp = false;
    this.continues = true;
    this.next = 0;
    this.left = Number.NaN;
    this.acting = false;
  }
  /** The instruction that is being executed has been given up: the rest of it must not be done. */
  get stopped(): boolean {
    return this.givenUp && this.executor?.inInstruction === true;
  }
  /** A part of the instruction is done for good; it goes on from there. */
  commit(): void {
    this.count = 0;
    this.next = 0;
  }
  /** What was made is no present instruction's: that one is done, or another state was set. */
  forget(): void {
    this.givenUp = false;
    this.continues = false;
    this.count = 0;
    this.next = 0;
    this.left = Number.NaN;
    this.acting = false;
  }
}
