/**
 * A device that is somewhere else, as the machine holds it: the client of vfio-user. It is a `Device` and is attached like
 * any other. Writes are posted (No_reply), reads wait for their answer; a read that follows writes sees what they did, since
 * the peer takes messages in their order.
 *
 * Where the thread may block (a worker, Node; a transport with `wait`), `read` does so. Where it may not, `startRead` gives
 * a promise: the access has to end the guest's run and be finished when it is settled.
 *
 * Whatever goes wrong ends the connection and never the machine: from then on registers read all ones, writes are lost,
 * interrupt lines are low, and the embedder is told once. `reconnect` puts another peer behind the same device.
 */
import type { AccessSize, Device, StateElsewhere, WideSize } from '../devices/device.ts';
import type { IrqLine } from '../devices/irq-line.ts';
import { ConfigurationError, RemoteError } from '../errors.ts';
import { Connection } from './connection.ts';
import type { DmaRange, GuestDma } from './dma.ts';
import * as wire from './messages.ts';
import { describePeer } from './peer-description.ts';
import { PeerRequests } from './peer-requests.ts';
import { bytesOf, dataOf, narrow, type Width, wide, wideBytes } from './register-width.ts';
import { RemoteState } from './remote-state.ts';
import type { Transport } from './transport.ts';

/** What the machine's side brings to a connection. */
export interface RemoteDeviceOptions {
  /** Stands in error messages and listings (`remote`). */
  readonly name?: string;
  /** Where the device's interrupt lines lead, in its own order; lines beyond these lead nowhere. */
  readonly lines?: readonly IrqLine[];
  /** Memory that the device may reach; without it there is none. */
  readonly memory?: GuestDma;
  /** How long an answer may take before the peer is taken for dead, in milliseconds (5,000). */
  readonly timeoutMillis?: number;
  /** Largest transfer in one message, in bytes (1 MiB). */
  readonly maxTransferBytes?: number;
  /**
   * Told of each error: the end of a connection, and `peer-refused`, `would-block` and `dma-failed`, which end nothing. It may be
   * called within an instruction of the guest: note it, and act later.
   */
  readonly onError?: (error: RemoteError) => void;
}

/** Posted writes between two that are answered, so that a peer that is too slow for its guest is noticed. */
const fenceInterval = 256;
/** Answers to such writes that may be outstanding before the guest has to wait. */
const fencesAhead = 4;
/** How many there may be if nobody makes the guest wait. */
const mostFences = 64;
const none = new Uint8Array(0);

/** One of several regions of a remote device. */
export interface RemoteRegion extends Device {
  /** Bytes. */
  readonly size: number;
  /** Reads may be made within an instruction. */
  readonly blocks: boolean;
  /** Too many writes are on their way: the next should wait for its `startWrite`. */
  readonly lags: boolean;
  /** Takes what the peer has sent. */
  poll(): void;
  /** A read that need not block; see {@link RemoteDevice.startRead}. */
  startRead(offset: number, size: AccessSize): number | Promise<number>;
  /** A write after which the guest may have to wait; see {@link RemoteDevice.startWrite}. */
  startWrite(offset: number, size: AccessSize, value: number): void | Promise<void>;
  /** The same for eight bytes, which are one message. */
  read64(offset: number): bigint;
  write64(offset: number, value: bigint): void;
  startRead64(offset: number): bigint | Promise<bigint>;
  startWrite64(offset: number, value: bigint): void | Promise<void>;
  /** Posts writes together, in as few messages as the peer takes; see `RemoteRegions.coalesce`. */
  writeMany(writes: readonly RemoteWrite[]): void;
}

/** One of several writes. */
export interface RemoteWrite {
  /** Distance from the start of the region. */
  readonly offset: number;
  /** Bytes. */
  readonly size: WideSize;
  /** Unsigned; of eight bytes the low half. */
  readonly value: number;
  /** Bits 32-63 of eight bytes; 0 if left out. */
  readonly high?: number;
}

/** A device in another thread or process, as the machine sees it. */
export class RemoteDevice implements RemoteRegion {
  readonly name: string;
  readonly elsewhere: StateElsewhere;
  readonly #options: RemoteDeviceOptions;
  readonly #timeout: number;
  readonly #maxTransfer: number;
  readonly #requests: PeerRequests;
  #connection: Connection | null = null;
  #blocks = false;
  #server: wire.Capabilities | null = null;
  #regions: readonly wire.RegionInfo[] = [];
  #peerLines = 0;
  #resets = false;
  /** What the peer was told of memory. */
  #mapped: DmaRange[] = [];
  #unwatch: (() => void) | null = null;
  #posted = 0;
  #fences = 0;
  /** Settled when there is room for another fence. */
  #relief: Promise<void> | null = null;
  #relieve: (() => void) | null = null;

  private constructor(options: RemoteDeviceOptions) {
    const { name = 'remote', timeoutMillis = 5000, maxTransferBytes = 1 << 20 } = options;
    if (!(timeoutMillis > 0)) throw new ConfigurationError('bad-option', `${name}: a timeout of ${timeoutMillis} ms`);
    if (!Number.isInteger(maxTransferBytes) || maxTransferBytes < 4096 || maxTransferBytes > 2 ** 28)
      throw new ConfigurationError('bad-option', `${name}: transfers of ${maxTransferBytes} bytes`);
    this.name = name;
    this.#options = options;
    this.#timeout = timeoutMillis;
    this.#maxTransfer = maxTransferBytes;
    this.#requests = new PeerRequests(options, maxTransferBytes);
    const device = this;
    this.elsewhere = new RemoteState({
      ...{ name, timeoutMillis },
      get blocks() {
        return device.blocks;
      },
      get transferBytes() {
        return Math.min(maxTransferBytes, device.#server?.maxDataXferSize ?? maxTransferBytes);
      },
      request: async (command, payload) => this.#living().request(command, payload),
      requestBlocking: (command, payload) => this.#living().requestBlocking(command, payload),
    });
  }

  /**
   * Agrees with a peer on a version, learns what it has, tells it of the guest's memory and listens to its lines.
   * @throws RemoteError (as a rejection) with what went wrong; the transport is closed then
   */
  static async connect(transport: Transport, options: RemoteDeviceOptions = {}): Promise<RemoteDevice> {
    const device = new RemoteDevice(options);
    await device.reconnect(transport);
    return device;
  }

  /**
   * Puts a peer behind this device, in place of the last one. Regions and lines are those of the new peer. Not while the
   * guest is left for an access of this device, unless this thread can wait for both peers or for neither.
   * @throws RemoteError (as a rejection); the device is then without a peer
   */
  async reconnect(transport: Transport): Promise<void> {
    this.close();
    let told = false;
    const connection = new Connection(transport, {
      maxMessageBytes: this.#maxTransfer + 4096,
      timeoutMillis: this.#timeout,
      command: (message) => this.#requests.answer(message),
      failed: (error) => {
        if (this.#connection !== connection) return;
        this.#requests.lowerLines();
        if (told) this.#options.onError?.(error);
      },
    });
    this.#connection = connection;
    this.#blocks = connection.blocks;
    connection.open();
    try {
      await this.#negotiate(connection);
    } catch (error) {
      // A refusal or an answer that makes no sense leaves nothing to work with.
      if (error instanceof RemoteError) connection.fail(error);
      else connection.close();
      throw connection.error ?? error;
    }
    told = true;
  }

  async #negotiate(connection: Connection): Promise<void> {
    const { Command } = wire;
    const { memory } = this.#options;
    const { capabilities, regions, lines, resets } = await describePeer(connection, this.#maxTransfer);
    this.#server = capabilities;
    this.#regions = regions;
    this.#peerLines = lines;
    this.#resets = resets;
    this.#mapped = [];
    this.#posted = 0;
    this.#fences = 0;
    if (memory !== undefined) {
      const ranges = [...memory.ranges()];
      for (const range of ranges) await connection.request(Command.DMA_MAP, mapOf(range));
      this.#mapped = ranges;
      this.#unwatch ??= memory.watch(() => this.#memoryChanged());
      this.#memoryChanged(); // it may have meanwhile
    }
    if (lines > 0 && capabilities.irqMessages) {
      const flags = wire.IRQ_SET_DATA_NONE | wire.IRQ_SET_ACTION_UNMASK;
      const request = wire.encodeIrqSet({ flags, index: 0, start: 0, count: lines, data: none });
      await connection.request(Command.DEVICE_SET_IRQS, request);
    }
  }

  /** Why there is no peer; null: there is one. */
  get error(): RemoteError | null {
    if (this.#connection === null) return new RemoteError('not-connected', `${this.name}: no peer`);
    return this.#connection.error;
  }
  /** Bytes of region 0. */
  get size(): number {
    return this.#regions[0]?.size ?? 0;
  }
  /** Regions of the peer. */
  get regionCount(): number {
    return this.#regions.length;
  }
  /** Interrupt lines of the peer. */
  get lineCount(): number {
    return this.#peerLines;
  }
  /**
   * Reads may be made within an instruction. It stays as it was when the peer is gone, since an access that has left the guest
   * is still to be finished the same way.
   */
  get blocks(): boolean {
    return this.#blocks;
  }
  /** Too many writes are on their way: the next should wait for its {@link startWrite}. */
  get lags(): boolean {
    return this.#fences >= fencesAhead;
  }

  /**
   * One of the peer's regions; this object itself is region 0.
   * @throws ConfigurationError `bad-option` if the peer has no such region
   */
  region(index: number): RemoteRegion {
    if (this.#regions[index] === undefined)
      throw new ConfigurationError('bad-option', `${this.name}: region ${index} of ${this.#regions.length}`);
    const device = this;
    return {
      name: `${this.name}.${index}`,
      elsewhere: this.elsewhere,
      get size() {
        return device.#regions[index]?.size ?? 0;
      },
      get blocks() {
        return device.blocks;
      },
      get lags() {
        return device.lags;
      },
      poll: () => this.poll(),
      read: (offset, size) => this.#read(index, offset, narrow(size)),
      write: (offset, size, value) => this.#write(index, offset, bytesOf(size, value)),
      startRead: (offset, size) => this.#startRead(index, offset, narrow(size)),
      startWrite: (offset, size, value) => this.#startWrite(index, offset, bytesOf(size, value)),
      read64: (offset) => this.#read(index, offset, wide),
      write64: (offset, value) => this.#write(index, offset, wideBytes(value)),
      startRead64: (offset) => this.#startRead(index, offset, wide),
      startWrite64: (offset, value) => this.#startWrite(index, offset, wideBytes(value)),
      writeMany: (writes) => this.#writeMany(index, writes),
    };
  }

  /** Waits for the answer; all ones if there is none, and where this thread may not wait (`would-block`). */
  read(offset: number, size: AccessSize): number {
    return this.#read(0, offset, narrow(size));
  }
  /** Posts the write. */
  write(offset: number, size: AccessSize, value: number): void {
    this.#write(0, offset, bytesOf(size, value));
  }
  /**
   * Begins a read: the value where it can be had at once (there is no peer, or the thread may block), else a promise of it,
   * which never rejects: all ones if the peer fails.
   */
  startRead(offset: number, size: AccessSize): number | Promise<number> {
    return this.#startRead(0, offset, narrow(size));
  }
  /** Posts the write. A promise means that the peer lags behind: the guest should go on only when it is settled. */
  startWrite(offset: number, size: AccessSize, value: number): void | Promise<void> {
    return this.#startWrite(0, offset, bytesOf(size, value));
  }
  read64(offset: number): bigint {
    return this.#read(0, offset, wide);
  }
  write64(offset: number, value: bigint): void {
    this.#write(0, offset, wideBytes(value));
  }
  startRead64(offset: number): bigint | Promise<bigint> {
    return this.#startRead(0, offset, wide);
  }
  startWrite64(offset: number, value: bigint): void | Promise<void> {
    return this.#startWrite(0, offset, wideBytes(value));
  }

  /** Posts writes together, in as few messages as the peer takes. */
  writeMany(writes: readonly RemoteWrite[]): void {
    this.#writeMany(0, writes);
  }

  /**
   * Resets the device.
   * @throws RemoteError (as a rejection) `peer-refused` if it cannot be reset, or what ended the connection
   */
  async reset(): Promise<void> {
    const connection = this.#living();
    if (!this.#resets) throw new RemoteError('peer-refused', `${this.name}: the device has no reset`);
    await connection.request(wire.Command.DEVICE_RESET);
  }

  /** Masks or unmasks one of the peer's lines; masked, it says nothing, and says its level again when unmasked. */
  async maskLine(line: number, masked: boolean): Promise<void> {
    const action = masked ? wire.IRQ_SET_ACTION_MASK : wire.IRQ_SET_ACTION_UNMASK;
    const flags = wire.IRQ_SET_DATA_NONE | action;
    const request = wire.encodeIrqSet({ flags, index: 0, start: line, count: 1, data: none });
    await this.#living().request(wire.Command.DEVICE_SET_IRQS, request);
  }

  /** Takes what the peer has sent (interrupts, requests for memory) without waiting: between two runs of the guest. */
  poll(): void {
    this.#connection?.poll();
  }

  /** Leaves the peer. Registers read all ones from then on. */
  close(): void {
    this.#unwatch?.();
    this.#unwatch = null;
    const connection = this.#connection;
    this.#connection = null;
    connection?.close();
    this.#settleFences();
    this.#requests.lowerLines();
  }
  [Symbol.dispose](): void {
    this.close();
  }

  #living(): Connection {
    if (this.#connection === null) throw new RemoteError('not-connected', `${this.name}: no peer`);
    return this.#connection;
  }

  /** The connection, if an access of its region can be made. */
  #reach(region: number, offset: number, size: number): Connection | null {
    const connection = this.#connection;
    const info = this.#regions[region];
    if (connection === null || connection.error !== null || info === undefined) return null;
    return offset >= 0 && offset + size <= info.size ? connection : null;
  }

  #read<T>(region: number, offset: number, width: Width<T>): T {
    const connection = this.#reach(region, offset, width.size);
    if (connection === null) return width.ones;
    try {
      const request = wire.encodeRegionAccess(offset, region, width.size);
      return width.from(dataOf(connection.requestBlocking(wire.Command.REGION_READ, request), width.size));
    } catch (error) {
      return this.#failedRead(connection, error, width);
    }
  }

  #startRead<T>(region: number, offset: number, width: Width<T>): T | Promise<T> {
    const connection = this.#reach(region, offset, width.size);
    if (connection === null) return width.ones;
    if (connection.blocks) return this.#read(region, offset, width);
    const request = wire.encodeRegionAccess(offset, region, width.size);
    return connection.request(wire.Command.REGION_READ, request).then(
      (payload) => {
        try {
          return width.from(dataOf(payload, width.size));
        } catch (error) {
          return this.#failedRead(connection, error, width);
        }
      },
      (error) => this.#failedRead(connection, error, width),
    );
  }

  #failedRead<T>(connection: Connection, error: unknown, width: Width<T>): T {
    this.#report(connection, error);
    return width.ones;
  }

  /** A refusal is told; what ended the connection has been; an answer that makes no sense ends it. */
  #report(connection: Connection, error: unknown): void {
    if (!(error instanceof RemoteError)) throw error;
    if (connection.error !== null) return;
    if (error.code === 'peer-refused' || error.code === 'would-block') this.#options.onError?.(error);
    else connection.fail(error);
  }

  #write(region: number, offset: number, bytes: Uint8Array): void {
    const connection = this.#reach(region, offset, bytes.length);
    if (connection === null) return;
    const payload = wire.encodeRegionAccess(offset, region, bytes.length, bytes);
    this.#post(connection, wire.Command.REGION_WRITE, payload, 1);
  }

  #writeMany(region: number, writes: readonly RemoteWrite[]): void {
    const within = writes.filter(({ offset, size }) => this.#reach(region, offset, size) !== null);
    const server = this.#server;
    if (server?.writeMultiple !== true) {
      for (const write of within) this.#write(region, write.offset, bytesOf(write.size, write.value, write.high));
      return;
    }
    const most = Math.max(1, Math.min(fenceInterval, Math.floor(server.maxDataXferSize / 24)));
    for (let done = 0; done < within.length; done += most) {
      const connection = this.#connection;
      if (connection === null || connection.error !== null) return;
      const part = within.slice(done, done + most);
      const payload = wire.encodeWriteMulti(
        part.map(({ offset, size, value, high }) => ({
          ...{ offset, region, count: size },
          data: bytesOf(size, value, high),
        })),
      );
      this.#post(connection, wire.Command.REGION_WRITE_MULTI, payload, part.length);
    }
  }

  /** Sends writes; those that fill an interval are answered. */
  #post(connection: Connection, command: wire.CommandCode, payload: Uint8Array, writes: number): void {
    this.#posted += writes;
    if (this.#posted < fenceInterval) {
      connection.post(command, payload);
      return;
    }
    this.#posted = 0;
    if (!connection.blocks) {
      this.#fence(connection, command, payload);
      return;
    }
    try {
      connection.requestBlocking(command, payload);
    } catch (error) {
      this.#report(connection, error);
    }
  }

  #startWrite(region: number, offset: number, bytes: Uint8Array): void | Promise<void> {
    this.#write(region, offset, bytes);
    if (!this.lags) return;
    this.#relief ??= new Promise((resolve) => {
      this.#relieve = resolve;
    });
    return this.#relief;
  }

  /** A write whose answer shows how far the peer has come. */
  #fence(connection: Connection, command: wire.CommandCode, payload: Uint8Array): void {
    this.#fences++;
    if (this.#fences > mostFences) {
      connection.fail(new RemoteError('overrun', `${this.name}: ${mostFences * fenceInterval} writes unanswered`));
      return;
    }
    const answered = () => {
      if (this.#connection !== connection) return;
      this.#fences--;
      if (this.#fences < fencesAhead) this.#settleFences();
    };
    connection.request(command, payload).then(answered, (error) => {
      answered();
      this.#report(connection, error);
    });
  }
  #settleFences(): void {
    this.#relieve?.();
    this.#relief = this.#relieve = null;
  }

  /** Tells the peer what has become of guest memory. Its requests are judged by the map as it is in any case. */
  #memoryChanged(): void {
    const connection = this.#connection;
    const { memory } = this.#options;
    if (connection === null || memory === undefined || this.#server === null) return;
    const now = memory.ranges();
    const same = (a: DmaRange, b: DmaRange) =>
      a.start === b.start && a.length === b.length && a.writable === b.writable && a.readable === b.readable;
    for (const old of this.#mapped)
      if (!now.some((range) => same(range, old)))
        connection.post(wire.Command.DMA_UNMAP, wire.encodeDmaUnmap(old.start, old.length));
    for (const range of now)
      if (!this.#mapped.some((old) => same(range, old))) connection.post(wire.Command.DMA_MAP, mapOf(range));
    this.#mapped = [...now];
  }
}

function mapOf({ start, length, writable, readable = true }: DmaRange): Uint8Array {
  const flags = (readable ? wire.DMA_READABLE : 0) | (writable ? wire.DMA_WRITABLE : 0);
  return wire.encodeDmaMap({ flags, address: start, size: length });
}
