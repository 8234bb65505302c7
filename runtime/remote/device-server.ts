/**
 * Runs devices behind a transport: the server of vfio-user. A device is the same class that a machine holds in its own
 * thread; its lines and its way to guest memory are the server's. The devices outlive a connection: a machine that comes
 * back finds them as they were, and hears again of the lines that are high.
 */
import type { AccessSize, Device } from '../devices/device.ts';
import { type IrqLine, irqLine } from '../devices/irq-line.ts';
import { ConfigurationError, RemoteError } from '../errors.ts';
import { Connection } from './connection.ts';
import { type Dma, type DmaRange, rangeOf } from './dma.ts';
import * as wire from './messages.ts';
import { type SavedServer, ServedState, savedDevices } from './served-state.ts';
import type { Transport } from './transport.ts';

/** One region of registers. */
export interface ServedRegion {
  /** Who answers; offsets count from the region's first byte. */
  readonly device: Device;
  /** Bytes. */
  readonly size: number;
}

/** What devices are made with. */
export interface ServerParts {
  /** The interrupt lines, as many as were asked for. */
  readonly lines: readonly IrqLine[];
  /** The way to guest memory. */
  readonly dma: Dma;
}

/** Which devices are served, and how. */
export interface DeviceServerOptions {
  /** Interrupt lines (0). */
  readonly lines?: number;
  /** Makes the devices; a region's index is its place. */
  readonly regions: (parts: ServerParts) => readonly ServedRegion[];
  /** DEVICE_RESET; without it the device says that it has none. */
  readonly reset?: () => void;
  /**
   * The state of all of it, for machines' snapshots. Left out, it is what the devices have as their `state`, and if one of
   * them has none the server says that its state cannot be had.
   */
  readonly state?: SavedServer;
  /** How long the machine may take to answer a DMA request, in milliseconds (10,000). */
  readonly timeoutMillis?: number;
  /** Largest transfer in one message, in bytes (1 MiB). */
  readonly maxTransferBytes?: number;
  /** A connection has ended with an error, or a device has thrown one. The server waits for the next connection. */
  readonly onError?: (error: Error) => void;
}

const none = new Uint8Array(0);

/** The far end of a `RemoteDevice`: serves devices to a machine elsewhere. */
export class DeviceServer {
  readonly #options: DeviceServerOptions;
  readonly #regions: readonly ServedRegion[];
  readonly #maxTransfer: number;
  readonly #levels: Uint8Array;
  #connection: Connection | null = null;
  /** What the client can take; null before VERSION. */
  #client: wire.Capabilities | null = null;
  #masked: Uint8Array;
  #maps: DmaRange[] = [];
  /** Transfers that the devices have under way. */
  #transfers = 0;
  readonly #state: ServedState | null;

  constructor(options: DeviceServerOptions) {
    const { lines = 0, maxTransferBytes = 1 << 20 } = options;
    if (!Number.isInteger(lines) || lines < 0 || lines > 4096)
      throw new ConfigurationError('bad-option', `a device with ${lines} interrupt lines`);
    this.#options = options;
    this.#maxTransfer = maxTransferBytes;
    this.#levels = new Uint8Array(lines);
    this.#masked = new Uint8Array(lines).fill(1);
    this.#regions = options.regions({
      lines: Array.from({ length: lines }, (_, line) => irqLine((high) => this.#lineChanged(line, high))),
      dma: {
        read: (physical, length) => this.#underWay(this.#dmaRead(physical, length)),
        write: (p, bytes) => this.#underWay(this.#dmaWrite(p, bytes)),
      },
    });
    const saved =
      options.state ?? savedDevices(this.#regions, this.#levels, (line, high) => this.#lineChanged(line, high));
    this.#state = saved === null ? null : new ServedState(saved, () => this.#transfers > 0);
    for (const { device, size } of this.#regions)
      if (!Number.isSafeInteger(size) || size < 1)
        throw new ConfigurationError('bad-region', `${device.name}: a region of ${size} bytes`);
  }

  /** A machine is connected. */
  get connected(): boolean {
    return this.#connection !== null;
  }

  /**
   * Serves a machine. There is one at a time: while one is connected, another is turned away.
   * @returns whether it is served
   */
  accept(transport: Transport): boolean {
    if (this.#connection !== null) {
      transport.close();
      return false;
    }
    this.#client = null;
    this.#maps = [];
    this.#state?.forget();
    this.#masked.fill(1);
    const connection = new Connection(transport, {
      maxMessageBytes: this.#maxTransfer + 4096,
      timeoutMillis: this.#options.timeoutMillis ?? 10_000,
      command: (message) => this.#command(message),
      failed: (error) => {
        this.#disconnected();
        this.#options.onError?.(error);
      },
    });
    this.#connection = connection;
    connection.open();
    return true;
  }

  /** Ends the connection, if there is one. */
  close(): void {
    this.#connection?.close();
    this.#disconnected();
  }

  #disconnected(): void {
    this.#connection = null;
    this.#client = null;
    this.#maps = [];
  }

  #command(message: wire.Message): Uint8Array | number {
    const { Command, Errno } = wire;
    const { payload } = message;
    if (this.#client === null && message.command !== Command.VERSION)
      throw new RemoteError('bad-message', `${wire.commandName(message.command)} before VERSION`);
    switch (message.command) {
      case Command.VERSION:
        return this.#version(wire.decodeVersion(payload));
      case Command.DEVICE_GET_INFO:
        wire.decodeDeviceInfo(payload);
        return wire.encodeDeviceInfo({
          flags: this.#options.reset === undefined ? 0 : wire.DEVICE_FLAGS_RESET,
          regions: this.#regions.length,
          irqs: this.#levels.length > 0 ? 1 : 0,
        });
      case Command.DEVICE_GET_REGION_INFO: {
        const { index } = wire.decodeRegionInfo(payload);
        const region = this.#regions[index];
        if (region === undefined) return Errno.EINVAL;
        const flags = wire.REGION_FLAG_READ | wire.REGION_FLAG_WRITE;
        return wire.encodeRegionInfo({ flags, index, size: region.size });
      }
      case Command.DEVICE_GET_IRQ_INFO: {
        const { index } = wire.decodeIrqInfo(payload);
        if (index !== 0 || this.#levels.length === 0) return Errno.EINVAL;
        return wire.encodeIrqInfo({ flags: wire.IRQ_INFO_MASKABLE, index, count: this.#levels.length });
      }
      case Command.DEVICE_SET_IRQS:
        return this.#setIrqs(wire.decodeIrqSet(payload));
      case Command.REGION_READ:
        return this.#read(wire.decodeRegionAccess(payload, false));
      case Command.REGION_WRITE:
        return this.#write(wire.decodeRegionAccess(payload, true));
      case Command.REGION_WRITE_MULTI: {
        const writes = wire.decodeWriteMulti(payload);
        const failed = writes.map((write) => this.#write(write)).find((outcome) => typeof outcome === 'number');
        return failed ?? wire.encodeWriteMultiReply(writes.length);
      }
      case Command.DMA_MAP:
        return this.#map(wire.decodeDmaMap(payload));
      case Command.DMA_UNMAP: {
        const { address, size } = wire.decodeDmaUnmap(payload);
        const index = this.#maps.findIndex(({ start, length }) => start === address && length === size);
        if (index < 0) return Errno.ENOENT;
        this.#maps.splice(index, 1);
        return wire.encodeDmaUnmap(address, size);
      }
      case Command.DEVICE_RESET:
        if (this.#options.reset === undefined) return Errno.EOPNOTSUPP;
        return this.#guarded(() => {
          this.#options.reset!();
          return none;
        });
      case Command.DEVICE_FEATURE:
        return this.#stateful((state) => state.feature(wire.decodeFeature(payload)));
      case Command.MIG_DATA_READ:
        return this.#stateful((state) => state.read(Math.min(wire.decodeMigrationRead(payload), this.#maxTransfer)));
      case Command.MIG_DATA_WRITE:
        return this.#stateful((state) => state.write(wire.decodeMigrationData(payload)));
      case Command.DMA_READ:
      case Command.DMA_WRITE:
        throw new RemoteError('bad-message', `${wire.commandName(message.command)} is the device's to send`);
      default:
        return Errno.EOPNOTSUPP;
    }
  }

  #version({ major, minor, capabilities }: wire.Version): Uint8Array {
    if (this.#client !== null) throw new RemoteError('bad-message', 'VERSION for a second time');
    if (major !== 0) throw new RemoteError('unsupported-version', `version ${major}.${minor}: here is 0.1`);
    this.#client = capabilities;
    return wire.encodeVersion({
      major,
      minor: Math.min(minor, 1),
      capabilities: {
        maxDataXferSize: this.#maxTransfer,
        maxDmaMaps: capabilities.maxDmaMaps,
        pageSizes: capabilities.pageSizes,
        writeMultiple: capabilities.writeMultiple,
        irqMessages: capabilities.irqMessages,
      },
    });
  }

  #stateful(act: (state: ServedState) => Uint8Array | number): Uint8Array | number {
    const state = this.#state;
    if (state === null) return wire.Errno.EOPNOTSUPP;
    try {
      return act(state);
    } catch (error) {
      if (error instanceof RemoteError) throw error;
      this.#options.onError?.(error instanceof Error ? error : new Error(String(error)));
      return wire.Errno.EINVAL;
    }
  }
  async #underWay<T>(transfer: Promise<T>): Promise<T> {
    this.#transfers++;
    try {
      return await transfer;
    } finally {
      // Not before the device has done what it does then.
      setTimeout(() => this.#transfers--);
    }
  }

  /** A device's own error does not end the connection: the machine hears of an error, the server's owner of the cause. */
  #guarded(act: () => Uint8Array | number): Uint8Array | number {
    try {
      return act();
    } catch (error) {
      this.#options.onError?.(error instanceof Error ? error : new Error(String(error)));
      return wire.Errno.EIO;
    }
  }

  #regionOf({ region, offset, count }: wire.RegionAccess): Device | undefined {
    const served = this.#regions[region];
    if (served === undefined || count > this.#maxTransfer || offset + count > served.size) return undefined;
    return served.device;
  }

  #read(access: wire.RegionAccess): Uint8Array | number {
    const { offset, region, count } = access;
    const device = this.#regionOf(access);
    if (device === undefined) return wire.Errno.EINVAL;
    return this.#guarded(() => {
      const reply = wire.encodeRegionAccess(offset, region, count, new Uint8Array(count));
      for (let done = 0; done < count; ) {
        if (isWide(device, 'read64', offset + done, count - done)) {
          new DataView(reply.buffer).setBigUint64(16 + done, device.read64!(offset + done), true);
          done += 8;
          continue;
        }
        const size = partSize(offset + done, count - done);
        const value = device.read(offset + done, size);
        for (let i = 0; i < size; i++) reply[16 + done + i] = value >>> (8 * i);
        done += size;
      }
      return reply;
    });
  }

  #write(access: wire.RegionAccess): Uint8Array | number {
    const { offset, region, count, data } = access;
    const device = this.#regionOf(access);
    if (device === undefined) return wire.Errno.EINVAL;
    return this.#guarded(() => {
      for (let done = 0; done < count; ) {
        if (isWide(device, 'write64', offset + done, count - done)) {
          const { buffer, byteOffset } = data;
          device.write64!(offset + done, new DataView(buffer, byteOffset + done).getBigUint64(0, true));
          done += 8;
          continue;
        }
        const size = partSize(offset + done, count - done);
        let value = 0;
        for (let i = size - 1; i >= 0; i--) value = value * 256 + data[done + i]!;
        device.write(offset + done, size, value);
        done += size;
      }
      return wire.encodeRegionAccess(offset, region, count);
    });
  }

  #map({ flags, address, size }: wire.DmaMap): Uint8Array | number {
    if (size === 0 || address + size > 2 ** 52 || (flags & ~(wire.DMA_READABLE | wire.DMA_WRITABLE)) !== 0)
      return wire.Errno.EINVAL;
    if (this.#maps.length >= 65535) return wire.Errno.EINVAL;
    if (this.#maps.some(({ start, length }) => address < start + length && start < address + size))
      return wire.Errno.EEXIST;
    this.#maps.push({ start: address, length: size, writable: (flags & wire.DMA_WRITABLE) !== 0 });
    return none;
  }

  #setIrqs({ flags, index, start, count, data }: wire.IrqSet): Uint8Array | number {
    const lines = this.#levels.length;
    if (index !== 0 || start + count > lines) return wire.Errno.EINVAL;
    const dataKind = flags & 7;
    const action = flags & ~7;
    if (dataKind !== wire.IRQ_SET_DATA_NONE && dataKind !== wire.IRQ_SET_DATA_BOOL) return wire.Errno.EOPNOTSUPP;
    const chosen = Array.from({ length: count }, (_, i) => i).filter((i) => data.length === 0 || data[i] !== 0);
    switch (action) {
      case wire.IRQ_SET_ACTION_MASK:
        for (const i of chosen) this.#masked[start + i] = 1;
        return none;
      case wire.IRQ_SET_ACTION_UNMASK:
        for (const i of chosen) {
          if (this.#masked[start + i] === 0) continue;
          this.#masked[start + i] = 0;
          if (this.#levels[start + i] !== 0) this.#tellLine(start + i, true);
        }
        return none;
      case wire.IRQ_SET_ACTION_TRIGGER:
        // No lines at all: every one is disabled. Otherwise the machine tries its own interrupt: an edge on each.
        if (count === 0) this.#masked.fill(1);
        for (const i of chosen) {
          this.#tellLine(start + i, true);
          if (this.#levels[start + i] === 0) this.#tellLine(start + i, false);
        }
        return none;
      default:
        return wire.Errno.EINVAL;
    }
  }

  #lineChanged(line: number, high: boolean): void {
    this.#levels[line] = high ? 1 : 0;
    if (this.#masked[line] === 0) this.#tellLine(line, high);
  }

  #tellLine(line: number, high: boolean): void {
    if (this.#client?.irqMessages !== true) return;
    const flags = wire.IRQ_SET_DATA_BOOL | wire.IRQ_SET_ACTION_TRIGGER;
    const data = Uint8Array.of(high ? 1 : 0);
    this.#connection?.post(
      wire.Command.DEVICE_SET_IRQS,
      wire.encodeIrqSet({ flags, index: 0, start: line, count: 1, data }),
    );
  }

  /** The part of a transfer that one message may carry, after a look whether the guest has memory there. */
  #dmaPart(physical: number, length: number, write: boolean): { connection: Connection; part: number } {
    const connection = this.#connection;
    const client = this.#client;
    if (connection === null || client === null) throw new RemoteError('not-connected', 'DMA without a machine');
    const range = rangeOf(this.#maps, physical, length);
    if (range === undefined || (write && !range.writable)) {
      const what = `${write ? 'writing' : 'reading'} ${length} bytes at 0x${physical.toString(16)}`;
      throw new RemoteError('dma-unmapped', `${what}: the guest has no such memory`);
    }
    return { connection, part: Math.min(client.maxDataXferSize, this.#maxTransfer) };
  }

  async #dmaRead(physical: number, length: number): Promise<Uint8Array> {
    const { connection, part } = this.#dmaPart(physical, length, false);
    const bytes = new Uint8Array(length);
    for (let done = 0; done < length; done += part) {
      const count = Math.min(part, length - done);
      const request = wire.encodeDmaAccess(physical + done, count);
      const reply = await connection.request(wire.Command.DMA_READ, request);
      if (reply.length !== 16 + count) {
        connection.fail(new RemoteError('bad-message', `DMA_READ: ${reply.length} bytes for ${count}`));
        throw connection.error;
      }
      bytes.set(wire.decodeDmaAccess(reply, true).data, done);
    }
    return bytes;
  }

  async #dmaWrite(physical: number, bytes: Uint8Array): Promise<void> {
    const { connection, part } = this.#dmaPart(physical, bytes.length, true);
    for (let done = 0; done < bytes.length; done += part) {
      const data = bytes.subarray(done, done + part);
      const request = wire.encodeDmaAccess(physical + done, data.length, data);
      await connection.request(wire.Command.DMA_WRITE, request);
    }
  }
}

/** The device knows accesses of eight bytes, and one can be made of what is left: aligned, or all that was asked for. */
function isWide(device: Device, way: 'read64' | 'write64', offset: number, left: number): boolean {
  return device[way] !== undefined && (left === 8 || (left > 8 && offset % 8 === 0));
}
/** The widest access that is aligned. */
export function partSize(offset: number, left: number): AccessSize {
  if (offset % 4 === 0 && left >= 4) return 4;
  if (offset % 2 === 0 && left >= 2) return 2;
  return 1;
}
