/**
 * The interrupts of a VM (`vm.irq`): wires and events come in as GSIs, the routing table takes them to the inputs of
 * controllers or makes messages of them, controllers send to the local APICs over the APIC bus. Controllers (8259 pair,
 * I/O APIC) are ordinary devices behind channels, in this thread or another:
 *
 *     const pic = picPairOn(vm.irq.attach('pic', picPins));
 *     vm.io.attach({ space: 'port', address: 0x20, length: 2 }, pic.first);
 *     vm.io.attach({ space: 'port', address: 0xa0, length: 2 }, pic.second);
 *     vm.routes.replace(pcRoutes({ ioApic: null }));
 *     const serial = new Serial16550(out, vm.irq.line(4));
 */
import type { ApicBus, InterruptMessage } from '../../src/system/apic-bus.ts';
import type { InterruptSource } from '../../src/system/interrupt-pins.ts';
import { outcome } from '../../src/system/local-apic.ts';
import { quoted } from '../arguments.ts';
import type { IrqLine } from '../devices/irq-line.ts';
import { InterruptError } from '../errors.ts';
import { type ControllerEnd, channelPair, type MachineEnd } from './apic-bus-channel.ts';
import { type ConnectionListener, ControllerConnection, type EdgeResult } from './controller-connection.ts';
import {
  type EventSource,
  type IrqCounter,
  type IrqEventState,
  IrqEvents,
  type ResampleCounter,
} from './irq-events.ts';
import { decodeMsi } from './msi.ts';
import {
  checkGsi,
  gsiCount,
  type Route,
  type Routes,
  type RouteTarget,
  type RoutingTable,
  routingTable,
} from './routes.ts';

/** What a read of the bus gives in an acknowledge cycle that nobody answers. */
const floatingVector = 0xff;

/**
 * Everything of routing that a snapshot must keep; controllers and local APICs keep their own. What is on its way to or from
 * a controller of another thread is not in it: such a controller should be at rest.
 */
export interface InterruptState {
  readonly routes: readonly Route[];
  /** Levels of the devices' wires, in the order in which they were made. */
  readonly wires: readonly { readonly gsi: number; readonly high: boolean }[];
  /** GSIs that the embedder holds up, in order. */
  readonly held: readonly number[];
  /** The outputs of the controllers, by name. */
  readonly controllers: readonly { readonly name: string; readonly intr: boolean }[];
  /** The one whose output rose last: it answers when none is up. Null: none has. */
  readonly lastIntr: string | null;
  readonly events: readonly IrqEventState[];
}

class Wire implements IrqLine {
  readonly gsi: number;
  high = false;
  readonly #changed: (wire: Wire) => void;

  constructor(gsi: number, changed: (wire: Wire) => void) {
    this.gsi = gsi;
    this.#changed = changed;
  }
  set(high: boolean): void {
    if (high === this.high) return;
    this.high = high;
    this.#changed(this);
  }
}

const edgeOf = (result: number): EdgeResult =>
  result === outcome.accepted ? 'sent' : result === outcome.merged ? 'merged' : 'ignored';

/** The interrupts of a VM: `vm.irq`. */
export class VmInterrupts implements ConnectionListener {
  readonly #bus: ApicBus;
  readonly #fallback: () => number;
  #processors: readonly InterruptSource[] = [];
  readonly #connections = new Map<string, ControllerConnection>();
  readonly #onError = new Map<ControllerConnection, (error: InterruptError) => void>();
  #table: RoutingTable = { routes: [], targets: new Map() };
  /** How many wires of each GSI are up. */
  readonly #levels = new Uint16Array(gsiCount);
  /** Of devices and of level-triggered events, in the order in which they were made. */
  readonly #wires: Wire[] = [];
  /** The embedder's own wires, by GSI. */
  readonly #own = new Map<number, Wire>();
  readonly #events: IrqEvents;
  /** Some event wants ends of interrupts. */
  #resamples = false;
  /** The controller whose INTR rose last: it answers when none is up. */
  #lastIntr: ControllerConnection | null = null;
  /** The routing table; `vm.routes` is the same. */
  readonly routes: Routes = { replace: (routes) => this.#replace(routes), list: () => [...this.#table.routes] };

  /** @param fallback answers an ExtINT acknowledge where no controller is on the bus */
  constructor(bus: ApicBus, fallback: (() => number) | undefined) {
    this.#bus = bus;
    this.#fallback = fallback ?? (() => floatingVector);
    this.#events = new IrqEvents({ edge: (gsi, done) => this.#edge(gsi, done), source: (gsi) => this.#removable(gsi) });
    bus.onTaken = () => this.#events.retry();
    bus.onEndOfInterrupt.push((vector) => this.#endOfInterrupt(vector));
  }
  /** The processors whose LINT0 the controllers' INTR goes to. */
  setProcessors(processors: readonly InterruptSource[]): void {
    this.#processors = processors;
  }

  // --- controllers
  /**
   * Puts a controller on the bus.
   * @param name how routes name it
   * @param pins the number of its inputs
   * @param onError told if the other end sends what no controller sends; it is disconnected then
   * @throws InterruptError `bad-controller` if the name is taken or the inputs are none
   */
  connect(name: string, pins: number, channel: MachineEnd, onError: (error: InterruptError) => void = () => {}): void {
    if (typeof name !== 'string' || this.#connections.has(name))
      throw new InterruptError('bad-controller', `controller ${quoted(name)}: no name, or taken`);
    if (!Number.isInteger(pins) || pins < 1 || pins > gsiCount)
      throw new InterruptError('bad-controller', `controller ${name}: ${String(pins)} inputs`);
    const connection = new ControllerConnection(name, pins, channel, this);
    this.#connections.set(name, connection);
    this.#onError.set(connection, onError);
  }
  /** Puts a controller of this thread on the bus. @returns its end of the channel */
  attach(name: string, pins: number): ControllerEnd {
    const [machine, controller] = channelPair();
    this.connect(name, pins, machine);
    return controller;
  }
  /**
   * Takes a controller off the bus.
   * @throws InterruptError `bad-controller` if it is not there, or routes still lead to it
   */
  disconnect(name: string): void {
    const connection = this.#connections.get(name);
    if (connection === undefined)
      throw new InterruptError('bad-controller', `controller ${quoted(name)}: not on the bus`);
    const routed = this.#table.routes.find((route) => 'controller' in route && route.controller === name);
    if (routed !== undefined)
      throw new InterruptError('bad-controller', `controller ${name}: GSI ${routed.gsi} is routed to it`);
    this.#remove(connection);
  }
  #remove(connection: ControllerConnection): void {
    this.#connections.delete(connection.name);
    this.#onError.delete(connection);
    if (this.#lastIntr === connection) this.#lastIntr = null;
    connection.close();
  }

  /** Ends events and hangs up on every controller: ports and counters keep nothing alive. */
  close(): void {
    this.#events.close();
    for (const connection of this.#connections.values()) connection.close();
  }

  deliver(message: InterruptMessage): EdgeResult {
    return edgeOf(this.#bus.message(message));
  }
  intrChanged(): void {
    let high = false;
    for (const connection of this.#connections.values()) {
      if (!connection.intr) continue;
      high = true;
      this.#lastIntr = connection;
    }
    for (const processor of this.#processors) processor.setPin(0, high);
  }
  acknowledged(): void {
    this.#events.retry();
  }
  ended(connection: ControllerConnection, pin: number): void {
    if (!this.#events.active) return;
    this.#events.ended((gsi) =>
      this.#table.targets.get(gsi)?.some((target) => target.connection === connection && target.pin === pin),
    );
    this.#events.retry();
  }
  failed(connection: ControllerConnection, error: InterruptError): void {
    const onError = this.#onError.get(connection);
    onError?.(new InterruptError(error.code, `controller ${connection.name}: ${error.message}`));
  }
  #endOfInterrupt(vector: number): void {
    for (const connection of this.#connections.values()) connection.endOfInterrupt(vector);
    if (!this.#events.active) return;
    this.#events.ended((gsi) =>
      this.#table.targets.get(gsi)?.some(({ message }) => message?.level === true && message.vector === vector),
    );
    this.#events.retry();
  }
  /** A processor takes an ExtINT. @returns the vector; -1 = it is told later */
  acknowledge(processor: InterruptSource): number {
    let asked = this.#lastIntr;
    for (const connection of this.#connections.values()) if (connection.intr) asked = connection;
    if (asked === null) return this.#fallback();
    asked.acknowledge(processor);
    return -1;
  }

  // --- what comes in
  /**
   * The level of a GSI, as the embedder drives it; other wires to the same GSI are wired-or.
   * @throws InterruptError `bad-gsi`
   */
  set(gsi: number, high: boolean): void {
    checkGsi(gsi);
    if (typeof high !== 'boolean') throw new InterruptError('bad-gsi', `GSI ${gsi}: level ${String(high)}`);
    let wire = this.#own.get(gsi);
    if (wire === undefined) {
      if (!high) return;
      wire = this.#newWire(gsi);
      this.#own.set(gsi, wire);
    }
    wire.set(high);
  }
  /**
   * A wire of its own to a GSI, for one device.
   * @throws InterruptError `bad-gsi`
   */
  line(gsi: number): IrqLine {
    checkGsi(gsi);
    return this.#wire(gsi);
  }
  #newWire(gsi: number): Wire {
    return new Wire(gsi, (changed) => this.#changed(changed));
  }
  #wire(gsi: number): Wire {
    const wire = this.#newWire(gsi);
    this.#wires.push(wire);
    return wire;
  }
  #removable(gsi: number): EventSource {
    const wire = this.#wire(gsi);
    return {
      get high() {
        return wire.high;
      },
      set: (high) => wire.set(high),
      remove: () => {
        wire.set(false);
        this.#wires.splice(this.#wires.indexOf(wire), 1);
      },
    };
  }
  #changed({ gsi, high }: Wire): void {
    const before = this.#levels[gsi]!;
    const now = before + (high ? 1 : -1);
    this.#levels[gsi] = now;
    if (before > 0 && now > 0) return;
    for (const target of this.#table.targets.get(gsi) ?? []) {
      if (target.connection !== null) target.connection.shift(target.pin, high);
      else if (high && target.message !== null) this.#bus.message(target.message);
    }
  }
  /**
   * Each event of the counter is one edge of the GSI (KVM_IRQFD); none is merged with the one before it, and they wait
   * while the GSI has no route. An edge at a masked input is lost as it is in hardware. Counters of other threads are looked
   * at every few thousand instructions and before each entry.
   * @param options `resample`: the GSI is level-triggered; at its end of interrupt it falls and this counter gets one event
   * @returns what ends it
   * @throws InterruptError `bad-gsi`, `bad-event`
   */
  event(
    counter: IrqCounter,
    gsi: number,
    { resample }: { readonly resample?: ResampleCounter } = {},
  ): { close(): void } {
    checkGsi(gsi);
    const event = this.#events.add(counter, gsi, resample);
    if (resample === undefined) return event;
    this.#markResampled();
    return {
      close: () => {
        event.close();
        this.#markResampled();
      },
    };
  }
  /** Tells controllers which inputs fall when their interrupts end. */
  #markResampled(): void {
    const { resampled } = this.#events;
    const inputs = new Map<ControllerConnection, Set<number>>();
    for (const gsi of resampled) {
      for (const { connection, pin } of this.#table.targets.get(gsi) ?? []) {
        if (connection === null) continue;
        const pins = inputs.get(connection) ?? new Set();
        inputs.set(connection, pins.add(pin));
      }
    }
    this.#resamples = resampled.size > 0;
    for (const connection of this.#connections.values())
      for (let pin = 0; pin < connection.pins; pin++)
        connection.resample(pin, inputs.get(connection)?.has(pin) === true);
  }
  /**
   * One edge of a GSI that is low, whatever becomes of it; `event` is for edges that must not be lost.
   * @param done told what became of it, at once unless a controller of another thread has to answer
   * @throws InterruptError `bad-gsi`
   */
  pulse(gsi: number, done: (result: EdgeResult) => void = () => {}): void {
    checkGsi(gsi);
    if (!this.#edge(gsi, done)) done('ignored');
  }
  /** @returns false if there is no route; nobody is told anything then */
  #edge(gsi: number, done: (result: EdgeResult) => void): boolean {
    const targets = this.#table.targets.get(gsi);
    if (targets === undefined) return false;
    let best: EdgeResult = 'ignored';
    let left = targets.length;
    const one = (result: EdgeResult) => {
      if (result === 'sent' || (result === 'merged' && best === 'ignored')) best = result;
      left--;
      if (left === 0) done(best);
    };
    for (const { connection, pin, message } of targets) {
      if (connection !== null) connection.pulse(pin, one);
      else one(message === null ? 'ignored' : edgeOf(this.#bus.message(message)));
    }
    return true;
  }
  /**
   * A message-signalled interrupt, as a device's write to memory is one.
   * @returns `sent`; `merged` if the vector waits at its processors already; `ignored` if no local APIC takes it
   * @throws InterruptError `bad-msi`
   */
  msi(address: number | bigint, data: number): EdgeResult {
    const message = decodeMsi(address, data);
    return message === null ? 'ignored' : edgeOf(this.#bus.message(message));
  }

  #replace(routes: readonly Route[]): void {
    const old = this.#table;
    const table = routingTable(routes, this.#connections);
    this.#table = table;
    if (this.#resamples) this.#markResampled();
    const after = this.#inputs(table);
    const fallen: [ControllerConnection, number][] = [];
    for (const [connection, ups] of after) {
      for (let pin = 0; pin < connection.pins; pin++) {
        if (ups[pin]! > 0) connection.place(pin, ups[pin]!);
        else fallen.push([connection, pin]);
      }
    }
    for (const [connection, pin] of fallen) connection.place(pin, 0);
    for (const [gsi, targets] of table.targets) {
      if (this.#levels[gsi] === 0 || old.targets.get(gsi)?.some(isMessage) === true) continue;
      for (const { message } of targets) if (message !== null) this.#bus.message(message);
    }
    this.#events.retry();
  }
  /** For each input of each controller the number of GSIs that are up there. */
  #inputs(table: RoutingTable): Map<ControllerConnection, Uint16Array> {
    const inputs = new Map<ControllerConnection, Uint16Array>();
    for (const connection of this.#connections.values()) inputs.set(connection, new Uint16Array(connection.pins));
    for (const [gsi, targets] of table.targets) {
      if (this.#levels[gsi] === 0) continue;
      for (const { connection, pin } of targets) if (connection !== null) inputs.get(connection)![pin]!++;
    }
    return inputs;
  }

  // --- what the vCPUs ask
  /** Whether there are counters to look at. */
  get polls(): boolean {
    return this.#events.active;
  }
  /** Looks at the counters of events. */
  poll(): void {
    this.#events.poll();
  }

  // --- snapshots
  get state(): InterruptState {
    return {
      routes: this.routes.list(),
      wires: this.#wires.map(({ gsi, high }) => ({ gsi, high })),
      held: [...this.#own.values()]
        .filter(({ high }) => high)
        .map(({ gsi }) => gsi)
        .sort((one, other) => one - other),
      controllers: [...this.#connections.values()].map(({ name, intr }) => ({ name, intr })),
      lastIntr: this.#lastIntr?.name ?? null,
      events: this.#events.state,
    };
  }
  /**
   * Of a VM that was put together in the same way; tells nobody, since controllers and local APICs restore their own.
   * @throws InterruptError `bad-interrupt-state`, `bad-route` and its kind; nothing is changed then
   */
  set state(saved: InterruptState) {
    const { routes, wires, held, controllers, lastIntr, events } = checkedState(saved);
    const table = routingTable(routes, this.#connections);
    if (wires.length !== this.#wires.length || !this.#wires.every((wire, i) => wires[i]!.gsi === wire.gsi))
      throw new InterruptError('bad-interrupt-state', `${wires.length} wires saved: this VM has others`);
    for (const gsi of held) checkGsi(gsi);
    const names = new Set(controllers.map(({ name }) => name));
    for (const name of [...names, ...this.#connections.keys()])
      if (!this.#connections.has(name) || !names.has(name))
        throw new InterruptError('bad-interrupt-state', `controller ${name}: not on both buses`);
    if (lastIntr !== null && !this.#connections.has(lastIntr))
      throw new InterruptError('bad-interrupt-state', `lastIntr ${String(lastIntr)}: not on the bus`);
    if (!this.#events.fits(events))
      throw new InterruptError('bad-interrupt-state', `${events.length} events saved: this VM has others`);

    for (const [i, wire] of this.#wires.entries()) wire.high = wires[i]!.high;
    for (const gsi of held) if (!this.#own.has(gsi)) this.#own.set(gsi, this.#newWire(gsi));
    for (const wire of this.#own.values()) wire.high = held.includes(wire.gsi);
    this.#levels.fill(0);
    for (const { gsi, high } of [...this.#wires, ...this.#own.values()]) if (high) this.#levels[gsi]!++;
    this.#table = table;
    if (this.#resamples) this.#markResampled();
    for (const [connection, ups] of this.#inputs(table))
      for (let pin = 0; pin < connection.pins; pin++) connection.note(pin, ups[pin]!);
    for (const { name, intr } of controllers) this.#connections.get(name)!.intr = intr;
    this.#lastIntr = lastIntr === null ? null : this.#connections.get(lastIntr)!;
    this.#events.restore(events);
  }
}

/** Edges that wait: no counter has come further. */
const isCount = (value: unknown): boolean =>
  Number.isInteger(value) && (value as number) >= 0 && (value as number) < 2 ** 32;

/** A snapshot may hold anything. */
function checkedState(saved: InterruptState): InterruptState {
  const isList = (value: unknown, fits: (item: Record<string, unknown>) => boolean) =>
    Array.isArray(value) && value.every((item) => typeof item === 'object' && item !== null && fits(item));
  const wrong =
    typeof saved !== 'object' || saved === null
      ? 'everything'
      : !isList(saved.wires, ({ high }) => typeof high === 'boolean')
        ? 'wires'
        : !Array.isArray(saved.held)
          ? 'held'
          : !isList(saved.controllers, ({ name, intr }) => typeof name === 'string' && typeof intr === 'boolean')
            ? 'controllers'
            : !isList(saved.events, ({ pending }) => isCount(pending))
              ? 'events'
              : null;
  if (wrong !== null) throw new InterruptError('bad-interrupt-state', `saved interrupts: ${wrong} cannot be`);
  return saved;
}

const isMessage = ({ message }: RouteTarget) => message !== null;
