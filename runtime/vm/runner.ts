/**
 * The loop behind `vm.run()`: vCPUs in turns on one thread, each for a number of instructions (`turns.ts`), so that a run does not
 * depend on how fast its host is; the host's events have their turn some hundred times a second.
 */
import { ConfigurationError } from '../errors.ts';
import type { Exit } from './exits.ts';
import { longestTurn, turnLength } from './turns.ts';
import type { Vcpu } from './vcpu.ts';

/** When `vm.run()` ends. */
export interface RunOptions {
  /** Ends the run soon after it is aborted, between two instructions; the guest can go on later. */
  readonly signal?: AbortSignal;
}

/** What the loop needs of the machine around it. */
export interface RunSurroundings {
  /** Lets timers, messages and input of the host have their turn. */
  nextTurn(): Promise<void>;
  /** Before the first instruction. */
  prepare(): Promise<void>;
  /** Answers an access of a device elsewhere; null: the exit is none of those. */
  finish(exit: Exit): Promise<void> | null;
  /** Takes what devices elsewhere have sent. */
  poll(): void;
  /** Says who is told, within an instruction, that a device elsewhere was waited for. */
  onWait(listener: () => void): void;
  /** Says who is told, within an instruction, that its vCPU waits for a time (TPAUSE) and others do not. */
  onPause(listener: () => void): void;
  /** When the next alarm of the VM's time rings; Infinity: no time will. */
  nextAlarm(): number;
  /** Moves virtual time to the next alarm. @returns nanoseconds that the host must wait for it; Infinity: there is none */
  toNextAlarm(): number;
  /** Translations are under way, and the guest should be interrupted often to take them. */
  translating(): boolean;
  /** Takes translations. False: they come in turns of the host alone. */
  takeTranslations(): boolean;
}

/** Milliseconds between two turns of the host, and between two looks for translations that are awaited. */
const hostMillis = 10;
const shortHostMillis = 3;
const firstSlice = 100_000;
const longestSlice = 20_000_000;

export class Runner {
  private readonly vcpus: readonly Vcpu[];
  private readonly around: RunSurroundings;
  private current = 0;
  private turn = longestTurn;
  private turns = 0;
  private slice = firstSlice;
  private lastTurn = 0;
  private lastLook = 0;
  /** For how long the guest has run. */
  millis = 0;
  private prepared = false;
  private running = false;
  private wake: (() => void) | null = null;

  constructor(vcpus: readonly Vcpu[], around: RunSurroundings) {
    this.vcpus = vcpus;
    this.around = around;
    around.onWait(() => {
      // Instructions that wait for another thread are no measure of time.
      if (this.running && performance.now() - this.lastTurn > hostMillis) vcpus[this.current]!.shorten('for good');
    });
    around.onPause(() => {
      if (!this.running) return;
      vcpus[this.current]!.shorten('for good');
      this.turn = 0;
    });
    for (const vcpu of vcpus) vcpu.onEvent = () => this.wake?.();
  }

  /** @throws ConfigurationError `already-entered` if the VM is being run */
  async *run({ signal }: RunOptions): AsyncGenerator<Exit, void, void> {
    if (this.running) throw new ConfigurationError('already-entered', 'the VM is being run already');
    this.running = true;
    const abort = () => this.kick();
    const aborted = () => signal?.aborted === true;
    signal?.addEventListener('abort', abort);
    try {
      if (!this.prepared) await this.around.prepare();
      this.prepared = true;
      this.lastTurn = this.lastLook = performance.now();
      while (!aborted()) {
        if (this.vcpus[0]!.heldFor !== null) {
          await this.sleep(Number.POSITIVE_INFINITY);
          continue;
        }
        const vcpu = this.next();
        if (vcpu === null) {
          if (this.around.nextAlarm() === Number.POSITIVE_INFINITY) yield this.vcpus[this.current]!.haltExit;
          while (!aborted() && !this.vcpus.some((v) => v.runnable)) await this.idle();
          continue;
        }
        const budget = this.vcpus.length > 1 ? Math.min(this.turn, this.slice) : this.slice;
        const started = performance.now();
        const exit = vcpu.enter(budget);
        this.millis += performance.now() - started;
        this.turn -= budget - vcpu.left;
        this.around.poll();
        const answer = this.around.finish(exit);
        if (answer !== null) {
          await answer;
          await this.hostTurn();
          continue;
        }
        const counts = exit.kind !== 'budget' && exit.kind !== 'halt' && !(exit.kind === 'kicked' && aborted());
        if (counts) yield exit;
        await this.hostTurn();
      }
    } finally {
      signal?.removeEventListener('abort', abort);
      this.running = false;
    }
  }

  private kick(): void {
    for (const vcpu of this.vcpus) if (vcpu.isEntered) vcpu.kick();
    this.wake?.();
  }
  /** The vCPU whose turn it is; null if all of them wait. */
  private next(): Vcpu | null {
    const { vcpus } = this;
    const now = vcpus[this.current]!;
    if (this.turn > 0 && now.runnable) return now;
    for (let i = 1; i <= vcpus.length; i++) {
      const index = (this.current + i) % vcpus.length;
      if (!vcpus[index]!.runnable) continue;
      this.current = index;
      this.turn = turnLength(++this.turns);
      return vcpus[index]!;
    }
    return null;
  }
  /** Every vCPU waits: time goes on to the next alarm, or somebody brings something. */
  private async idle(): Promise<void> {
    const nanos = this.around.toNextAlarm();
    if (nanos > 0) await this.sleep(nanos / 1e6);
    else await this.hostTurn();
  }
  /** Lets vCPUs be entered again, or the run notice that they must not. */
  heldChanged(): void {
    this.wake?.();
  }
  /** Until something comes, the run is aborted, or so many milliseconds have passed. */
  private sleep(millis: number): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        this.wake = null;
        resolve();
      };
      const timer =
        millis === Number.POSITIVE_INFINITY ? undefined : setTimeout(done, Math.min(Math.ceil(millis), 1000));
      this.wake = done;
    });
  }
  /** The host's turn from time to time; slices follow the guest's speed. */
  private async hostTurn(): Promise<void> {
    const takes = this.around.takeTranslations();
    const wanted = this.around.translating() ? shortHostMillis : hostMillis;
    const now = performance.now();
    const millis = now - this.lastLook;
    if (millis < wanted / 4) this.slice = Math.min(this.slice * 2, longestSlice);
    if (millis > wanted * 2) this.slice = Math.max(Math.floor(this.slice / 2), firstSlice);
    if (millis < wanted) return;
    this.lastLook = now;
    if (takes && now - this.lastTurn < hostMillis) return;
    await this.around.nextTurn();
    this.lastTurn = this.lastLook = performance.now();
  }
}
