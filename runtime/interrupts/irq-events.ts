/**
 * Event counters that raise interrupts: KVM_IRQFD. Each event is one edge of a GSI, and none is lost: while an edge still
 * waits to be taken by a processor the next one stays here. With `resample` the GSI is level-triggered: an event raises it,
 * the end of the interrupt lowers it and counts in the resample counter, whose reader looks at its device again.
 */
import { InterruptError } from '../errors.ts';
import type { EdgeResult } from './controller-connection.ts';

/** What is taken from: `EventCounter` of runtime/io is one of these. */
export interface IrqCounter {
  /** Takes the events that are there; 0 = none. */
  take(): number;
  /** Calls back when events are added on this thread. */
  onAdd?(listener: () => void): () => void;
  /** Resolves with the next events of any thread, which it takes: wakes a VM that sleeps. */
  next?(options: { readonly signal: AbortSignal }): Promise<number>;
}
/** What an end of interrupt is counted in. */
export interface ResampleCounter {
  /** Counts an end of interrupt, or so many. */
  add(events?: number): void;
}

/** What events do to GSIs. */
export interface EventTarget {
  /** One edge. @param done told what became of it, at once or later; @returns false: there is no route, nobody is told */
  edge(gsi: number, done: (result: EdgeResult) => void): boolean;
  /** A new wire to the GSI. */
  source(gsi: number): EventSource;
}
/** The wire of a level-triggered event. */
export interface EventSource {
  readonly high: boolean;
  set(high: boolean): void;
  /** Takes the wire away. */
  remove(): void;
}

/** What a snapshot keeps of one event. */
export interface IrqEventState {
  gsi: number;
  /** Edges taken from the counter that the guest has not got yet. */
  pending: number;
}

interface IrqEvent extends IrqEventState {
  readonly counter: IrqCounter;
  readonly resample: ResampleCounter | null;
  /** Null: edges. */
  readonly source: EventSource | null;
  /** An edge is on its way, and what becomes of it not known yet. */
  underWay: boolean;
  /** Ends what looks at the counter. */
  readonly stop: AbortController;
}

export class IrqEvents {
  readonly #target: EventTarget;
  readonly #events: IrqEvent[] = [];
  /** Some event has edges that wait for room. */
  #waiting = false;
  /** How often there has been room. */
  #room = 0;

  constructor(target: EventTarget) {
    this.#target = target;
  }
  /** Counters have to be polled. */
  get active(): boolean {
    return this.#events.length > 0;
  }

  /** GSIs whose interrupts' ends are wanted. */
  get resampled(): ReadonlySet<number> {
    return new Set(this.#events.filter(({ resample }) => resample !== null).map(({ gsi }) => gsi));
  }

  /** @throws InterruptError `bad-event` */
  add(counter: IrqCounter, gsi: number, resample: ResampleCounter | undefined): { close(): void } {
    if (typeof counter?.take !== 'function')
      throw new InterruptError('bad-event', `GSI ${gsi}: events come from an EventCounter`);
    if (resample !== undefined && typeof resample?.add !== 'function')
      throw new InterruptError('bad-event', `GSI ${gsi}: resample is an EventCounter`);
    if (this.#events.some((event) => event.counter === counter && event.gsi === gsi))
      throw new InterruptError('bad-event', `GSI ${gsi}: this counter raises it already`);
    const event: IrqEvent = {
      gsi,
      counter,
      resample: resample ?? null,
      pending: 0,
      underWay: false,
      source: resample === undefined ? null : this.#target.source(gsi),
      stop: new AbortController(),
    };
    this.#events.push(event);
    const { signal } = event.stop;
    const stopListening = counter.onAdd?.(() => this.#look(event));
    if (stopListening !== undefined) signal.addEventListener('abort', stopListening);
    this.#look(event);
    void this.#listen(event, signal);
    return {
      close: () => {
        const index = this.#events.indexOf(event);
        if (index < 0) return;
        this.#events.splice(index, 1);
        event.stop.abort();
        event.source?.remove();
      },
    };
  }

  /** Listens to nobody any more. */
  close(): void {
    for (const event of this.#events.splice(0)) {
      event.stop.abort();
      event.source?.remove();
    }
  }

  /** Takes what counters have, from whatever thread. */
  poll(): void {
    for (const event of this.#events) this.#look(event);
  }
  /** Other threads' events while nobody polls, since every processor sleeps. */
  async #listen(event: IrqEvent, signal: AbortSignal): Promise<void> {
    const { counter } = event;
    if (counter.next === undefined) return;
    while (!signal.aborted) {
      try {
        this.#take(event, await counter.next({ signal }));
      } catch (error) {
        if (!signal.aborted) throw error;
      }
    }
  }
  #look(event: IrqEvent): void {
    this.#take(event, event.counter.take());
  }
  #take(event: IrqEvent, count: number): void {
    if (event.source !== null) {
      if (count > 0) event.source.set(true);
      return;
    }
    event.pending += count;
    this.#send(event);
  }
  #send(event: IrqEvent): void {
    for (let goesOn = true; goesOn && event.pending > 0 && !event.underWay; ) {
      let returned = false;
      const room = this.#room;
      event.underWay = true;
      const routed = this.#target.edge(event.gsi, (result) => {
        event.underWay = false;
        if (result === 'ignored')
          event.pending = 0; // so would the others be
        else if (result !== 'merged') event.pending--;
        // An answer of another thread may come when what this edge was merged with has been taken already.
        goesOn = result !== 'merged' || this.#room !== room;
        if (!goesOn) this.#waiting = true;
        if (returned && goesOn) this.#send(event);
      });
      returned = true;
      if (routed) continue;
      event.underWay = false;
      this.#waiting = true;
      return;
    }
  }
  /** There may be room for edges that wait. */
  retry(): void {
    this.#room++;
    if (!this.#waiting) return;
    this.#waiting = false;
    for (const event of this.#events) if (event.pending > 0) this.#send(event);
  }
  /** The interrupt of some GSIs was ended. */
  ended(concerns: (gsi: number) => boolean | undefined): void {
    for (const event of this.#events) {
      const { source, resample } = event;
      if (source?.high !== true || concerns(event.gsi) !== true) continue;
      source.set(false);
      resample?.add(1);
      this.#look(event); // what has come since
    }
  }

  get state(): IrqEventState[] {
    return this.#events.map(({ gsi, pending }) => ({ gsi, pending }));
  }
  fits(state: readonly IrqEventState[]): boolean {
    return state.length === this.#events.length && state.every(({ gsi }, i) => gsi === this.#events[i]!.gsi);
  }
  restore(state: readonly IrqEventState[]): void {
    for (const [i, { pending }] of state.entries()) this.#events[i]!.pending = pending;
    this.#waiting = state.some(({ pending }) => pending > 0);
  }
}
