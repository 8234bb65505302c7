/**
 * The messages between a machine (client) and a device in another thread or process (server): vfio-user, as its protocol
 * specification lays them out byte for byte (QEMU, docs/interop/vfio-user; libvfio-user). Little endian throughout.
 *
 * File descriptors cannot be passed from here, so nothing is mapped and no eventfd is signalled: memory is reached with
 * DMA_READ and DMA_WRITE, which the specification asks of everybody, and interrupts go from server to client as
 * DEVICE_SET_IRQS with ACTION_TRIGGER, whose booleans are the new levels of the lines. That direction is an addition; both
 * sides must name it among their capabilities (`irq_messages`) before it is used.
 */
import { RemoteError } from '../errors.ts';

/** Identifier, command, size of the whole message, flags, error. */
export const HEADER_BYTES = 16;

export const Command = {
  VERSION: 1,
  DMA_MAP: 2,
  DMA_UNMAP: 3,
  DEVICE_GET_INFO: 4,
  DEVICE_GET_REGION_INFO: 5,
  DEVICE_GET_REGION_IO_FDS: 6,
  DEVICE_GET_IRQ_INFO: 7,
  DEVICE_SET_IRQS: 8,
  REGION_READ: 9,
  REGION_WRITE: 10,
  DMA_READ: 11,
  DMA_WRITE: 12,
  DEVICE_RESET: 13,
  REGION_WRITE_MULTI: 15,
  DEVICE_FEATURE: 16,
  MIG_DATA_READ: 17,
  MIG_DATA_WRITE: 18,
} as const;
export type CommandCode = (typeof Command)[keyof typeof Command];

const names = new Map<number, string>(Object.entries(Command).map(([name, code]) => [code, name]));
/** The command's name in the specification; undefined: it has none of this number. */
export function commandName(code: number): string | undefined {
  return names.get(code);
}

export const TYPE_MASK = 0xf;
export const TYPE_REPLY = 1;
export const FLAG_NO_REPLY = 0x10;
export const FLAG_ERROR = 0x20;

/** Error numbers of Linux, which replies carry. */
export const Errno = { EIO: 5, EFAULT: 14, EBUSY: 16, EEXIST: 17, EINVAL: 22, ENOENT: 2, EOPNOTSUPP: 95 } as const;

/** What the device can do, in DEVICE_GET_INFO. */
export const DEVICE_FLAGS_RESET = 1;
export const REGION_FLAG_READ = 1;
export const REGION_FLAG_WRITE = 2;
export const IRQ_INFO_MASKABLE = 2;
export const IRQ_SET_DATA_NONE = 1;
export const IRQ_SET_DATA_BOOL = 2;
export const IRQ_SET_ACTION_MASK = 8;
export const IRQ_SET_ACTION_UNMASK = 16;
export const IRQ_SET_ACTION_TRIGGER = 32;
export const DMA_READABLE = 1;
export const DMA_WRITABLE = 2;

/** One message, its payload a copy of its own. */
export interface Message {
  readonly id: number;
  readonly command: number;
  readonly reply: boolean;
  /** Of a command: nobody waits for an answer. */
  readonly noReply: boolean;
  /** Of a reply: an error number, 0 if the sender gave none; null: it is no error. */
  readonly error: number | null;
  readonly payload: Uint8Array;
}

/** Writes a header; the payload follows it. */
export function writeHeader(view: DataView, id: number, command: number, size: number, flags: number, error = 0): void {
  view.setUint16(0, id, true);
  view.setUint16(2, command, true);
  view.setUint32(4, size, true);
  view.setUint32(8, flags, true);
  view.setUint32(12, error, true);
}

/** A whole message. */
export function encodeMessage(
  id: number,
  command: number,
  flags: number,
  payload: Uint8Array,
  error = 0,
): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(HEADER_BYTES + payload.length);
  writeHeader(new DataView(bytes.buffer), id, command, bytes.length, flags, error);
  bytes.set(payload, HEADER_BYTES);
  return bytes;
}

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** 64 bits as a number: exact up to 2^53, and beyond still greater than any address or size that is valid. */
const u64 = (view: DataView, at: number): number => view.getUint32(at, true) + view.getUint32(at + 4, true) * 2 ** 32;
function setU64(view: DataView, at: number, value: number): void {
  view.setUint32(at, value % 2 ** 32, true);
  view.setUint32(at + 4, Math.floor(value / 2 ** 32), true);
}

function atLeast(payload: Uint8Array, bytes: number, what: string): DataView {
  if (payload.length < bytes)
    throw new RemoteError('bad-message', `${what}: ${payload.length} bytes where at least ${bytes} belong`);
  return viewOf(payload);
}
function exactly(payload: Uint8Array, bytes: number, what: string): DataView {
  if (payload.length !== bytes)
    throw new RemoteError('bad-message', `${what}: ${payload.length} bytes where ${bytes} belong`);
  return viewOf(payload);
}
function words(...values: readonly number[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(values.length * 4);
  const view = viewOf(bytes);
  for (const [i, value] of values.entries()) view.setUint32(i * 4, value, true);
  return bytes;
}

// --- VERSION

/** What a side can do; a reply names at most what was proposed. */
export interface Capabilities {
  /** Largest `count` of one REGION or DMA transfer that the sender accepts. */
  readonly maxDataXferSize: number;
  /** Pages that can be mapped for DMA, sizes or'ed together. */
  readonly pageSizes: number;
  readonly maxDmaMaps: number;
  readonly writeMultiple: boolean;
  /** Interrupt lines are told by DEVICE_SET_IRQS from server to client. */
  readonly irqMessages: boolean;
}

export interface Version {
  readonly major: number;
  readonly minor: number;
  readonly capabilities: Capabilities;
}

/** What the specification has a receiver assume of what is not named. */
const assumed: Capabilities = {
  maxDataXferSize: 1 << 20,
  pageSizes: 4096,
  maxDmaMaps: 65535,
  writeMultiple: false,
  irqMessages: false,
};

export function encodeVersion({ major, minor, capabilities }: Version): Uint8Array<ArrayBuffer> {
  const json = JSON.stringify({
    capabilities: {
      max_msg_fds: 0,
      max_data_xfer_size: capabilities.maxDataXferSize,
      max_dma_maps: capabilities.maxDmaMaps,
      pgsizes: capabilities.pageSizes,
      write_multiple: capabilities.writeMultiple,
      irq_messages: capabilities.irqMessages,
    },
  });
  const text = new TextEncoder().encode(json);
  const bytes = new Uint8Array(4 + text.length + 1);
  const view = viewOf(bytes);
  view.setUint16(0, major, true);
  view.setUint16(2, minor, true);
  bytes.set(text, 4);
  return bytes;
}

/** @throws RemoteError `bad-message` if the version data is no JSON object or a capability has the wrong type */
export function decodeVersion(payload: Uint8Array): Version {
  const view = atLeast(payload, 4, 'VERSION');
  const major = view.getUint16(0, true);
  const minor = view.getUint16(2, true);
  return { major, minor, capabilities: decodeCapabilities(payload.subarray(4)) };
}

function decodeCapabilities(data: Uint8Array): Capabilities {
  if (data.length === 0) return assumed;
  if (data.at(-1) !== 0) throw new RemoteError('bad-message', 'VERSION: version data does not end with NUL');
  let parsed: unknown;
  try {
    parsed = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(data.subarray(0, -1)));
  } catch {
    throw new RemoteError('bad-message', 'VERSION: version data is no JSON');
  }
  const list = objectOf(objectOf(parsed, 'version data').capabilities ?? {}, 'capabilities');
  const number = (name: string, fallback: number, least: number): number => {
    const value = list[name];
    if (value === undefined) return fallback;
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < least)
      throw new RemoteError('bad-message', `VERSION: ${name} is ${JSON.stringify(value)}`);
    return value;
  };
  const flag = (name: string): boolean => {
    const value = list[name] ?? false;
    if (typeof value !== 'boolean')
      throw new RemoteError('bad-message', `VERSION: ${name} is ${JSON.stringify(value)}`);
    return value;
  };
  return {
    maxDataXferSize: number('max_data_xfer_size', assumed.maxDataXferSize, 8),
    maxDmaMaps: number('max_dma_maps', assumed.maxDmaMaps, 0),
    pageSizes: number('pgsizes', assumed.pageSizes, 1),
    writeMultiple: flag('write_multiple'),
    irqMessages: flag('irq_messages'),
  };
}

function objectOf(value: unknown, what: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new RemoteError('bad-message', `VERSION: ${what} is ${JSON.stringify(value)}, no object`);
  return value as Record<string, unknown>;
}

// --- DEVICE_GET_INFO, DEVICE_GET_REGION_INFO, DEVICE_GET_IRQ_INFO

export interface DeviceInfo {
  readonly flags: number;
  readonly regions: number;
  /** Kinds of interrupts; ours have one, index 0. */
  readonly irqs: number;
}
export const encodeDeviceInfo = (info: DeviceInfo) => words(16, info.flags, info.regions, info.irqs);
export function decodeDeviceInfo(payload: Uint8Array): DeviceInfo {
  const view = exactly(payload, 16, 'DEVICE_GET_INFO');
  return { flags: view.getUint32(4, true), regions: view.getUint32(8, true), irqs: view.getUint32(12, true) };
}

export interface RegionInfo {
  readonly flags: number;
  readonly index: number;
  /** Bytes. */
  readonly size: number;
}
export function encodeRegionInfo({ flags, index, size }: RegionInfo): Uint8Array<ArrayBuffer> {
  const bytes = words(32, flags, index, 0, 0, 0, 0, 0);
  setU64(viewOf(bytes), 16, size);
  return bytes;
}
/** Capabilities of a region, which follow the structure, concern mappings and are passed over. */
export function decodeRegionInfo(payload: Uint8Array): RegionInfo {
  const view = atLeast(payload, 32, 'DEVICE_GET_REGION_INFO');
  return { flags: view.getUint32(4, true), index: view.getUint32(8, true), size: u64(view, 16) };
}

export interface IrqInfo {
  readonly flags: number;
  readonly index: number;
  /** Lines of this kind. */
  readonly count: number;
}
export const encodeIrqInfo = (info: IrqInfo) => words(16, info.flags, info.index, info.count);
export function decodeIrqInfo(payload: Uint8Array): IrqInfo {
  const view = exactly(payload, 16, 'DEVICE_GET_IRQ_INFO');
  return { flags: view.getUint32(4, true), index: view.getUint32(8, true), count: view.getUint32(12, true) };
}

// --- DEVICE_SET_IRQS

export interface IrqSet {
  /** One DATA and one ACTION. */
  readonly flags: number;
  readonly index: number;
  readonly start: number;
  readonly count: number;
  /** With DATA_BOOL a byte per line, otherwise nothing. */
  readonly data: Uint8Array;
}
export function encodeIrqSet({ flags, index, start, count, data }: IrqSet): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(20 + data.length);
  bytes.set(words(bytes.length, flags, index, start, count));
  bytes.set(data, 20);
  return bytes;
}
/** @throws RemoteError `bad-message` if the data does not fit the count */
export function decodeIrqSet(payload: Uint8Array): IrqSet {
  const view = atLeast(payload, 20, 'DEVICE_SET_IRQS');
  const flags = view.getUint32(4, true);
  const count = view.getUint32(16, true);
  exactly(payload, 20 + ((flags & IRQ_SET_DATA_BOOL) !== 0 ? count : 0), 'DEVICE_SET_IRQS');
  return {
    flags,
    index: view.getUint32(8, true),
    start: view.getUint32(12, true),
    count,
    data: payload.subarray(20),
  };
}

// --- REGION_READ, REGION_WRITE, REGION_WRITE_MULTI

export interface RegionAccess {
  readonly offset: number;
  readonly region: number;
  readonly count: number;
  readonly data: Uint8Array;
}
/** Without data: a read, or the reply to a write. */
export function encodeRegionAccess(
  offset: number,
  region: number,
  count: number,
  data?: Uint8Array,
): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(16 + (data?.length ?? 0));
  const view = viewOf(bytes);
  setU64(view, 0, offset);
  view.setUint32(8, region, true);
  view.setUint32(12, count, true);
  if (data !== undefined) bytes.set(data, 16);
  return bytes;
}
/** @param withData whether `count` bytes follow */
export function decodeRegionAccess(payload: Uint8Array, withData: boolean): RegionAccess {
  const what = withData ? 'REGION access with data' : 'REGION access';
  const view = atLeast(payload, 16, what);
  const count = view.getUint32(12, true);
  exactly(payload, 16 + (withData ? count : 0), what);
  return { offset: u64(view, 0), region: view.getUint32(8, true), count, data: payload.subarray(16) };
}

/** Writes of at most 8 bytes each. */
export function encodeWriteMulti(writes: readonly RegionAccess[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(8 + writes.length * 24);
  setU64(viewOf(bytes), 0, writes.length);
  for (const [i, { offset, region, count, data }] of writes.entries())
    bytes.set(encodeRegionAccess(offset, region, count, data.subarray(0, 8)), 8 + i * 24);
  return bytes;
}
export function decodeWriteMulti(payload: Uint8Array): RegionAccess[] {
  const view = atLeast(payload, 8, 'REGION_WRITE_MULTI');
  const writes = u64(view, 0);
  exactly(payload, 8 + writes * 24, 'REGION_WRITE_MULTI');
  return Array.from({ length: writes }, (_, i) => {
    const at = 8 + i * 24;
    const count = view.getUint32(at + 12, true);
    if (count > 8) throw new RemoteError('bad-message', `REGION_WRITE_MULTI: a write of ${count} bytes`);
    const data = payload.subarray(at + 16, at + 16 + count);
    return { offset: u64(view, at), region: view.getUint32(at + 8, true), count, data };
  });
}
export function encodeWriteMultiReply(writes: number): Uint8Array<ArrayBuffer> {
  return words(writes, 0);
}

// --- DMA_MAP, DMA_UNMAP, DMA_READ, DMA_WRITE

export interface DmaMap {
  /** DMA_READABLE, DMA_WRITABLE. */
  readonly flags: number;
  readonly address: number;
  readonly size: number;
}
export function encodeDmaMap({ flags, address, size }: DmaMap): Uint8Array<ArrayBuffer> {
  const bytes = words(32, flags, 0, 0, 0, 0, 0, 0);
  const view = viewOf(bytes);
  setU64(view, 16, address);
  setU64(view, 24, size);
  return bytes;
}
export function decodeDmaMap(payload: Uint8Array): DmaMap {
  const view = exactly(payload, 32, 'DMA_MAP');
  return { flags: view.getUint32(4, true), address: u64(view, 16), size: u64(view, 24) };
}
export function encodeDmaUnmap(address: number, size: number): Uint8Array<ArrayBuffer> {
  const bytes = words(24, 0, 0, 0, 0, 0);
  const view = viewOf(bytes);
  setU64(view, 8, address);
  setU64(view, 16, size);
  return bytes;
}
export function decodeDmaUnmap(payload: Uint8Array): { readonly address: number; readonly size: number } {
  const view = exactly(payload, 24, 'DMA_UNMAP');
  return { address: u64(view, 8), size: u64(view, 16) };
}

export interface DmaAccess {
  readonly address: number;
  readonly count: number;
  readonly data: Uint8Array;
}
export function encodeDmaAccess(address: number, count: number, data?: Uint8Array): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(16 + (data?.length ?? 0));
  const view = viewOf(bytes);
  setU64(view, 0, address);
  setU64(view, 8, count);
  if (data !== undefined) bytes.set(data, 16);
  return bytes;
}
export function decodeDmaAccess(payload: Uint8Array, withData: boolean): DmaAccess {
  const what = withData ? 'DMA access with data' : 'DMA access';
  const view = atLeast(payload, 16, what);
  const count = u64(view, 8);
  exactly(payload, 16 + (withData ? count : 0), what);
  return { address: u64(view, 0), count, data: payload.subarray(16) };
}

// --- DEVICE_FEATURE, MIG_DATA_READ, MIG_DATA_WRITE

/** Flags of DEVICE_FEATURE: the feature's number, and what is wanted of it. */
export const FEATURE_MASK = 0xffff;
export const FEATURE_GET = 1 << 16;
export const FEATURE_SET = 1 << 17;
export const FEATURE_PROBE = 1 << 18;
/** 64 bits of flags: what the device can do. */
export const FEATURE_MIGRATION = 1;
/** Which of {@link DeviceState} it is in. */
export const FEATURE_DEVICE_STATE = 2;
export const MIGRATION_STOP_COPY = 1;
export const DeviceState = { ERROR: 0, STOP: 1, RUNNING: 2, STOP_COPY: 3, RESUMING: 4 } as const;

export interface Feature {
  readonly flags: number;
  readonly data: Uint8Array;
}
export function encodeFeature(flags: number, data: Uint8Array): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(8 + data.length);
  bytes.set(words(bytes.length, flags));
  bytes.set(data, 8);
  return bytes;
}
export function decodeFeature(payload: Uint8Array): Feature {
  const view = atLeast(payload, 8, 'DEVICE_FEATURE');
  return { flags: view.getUint32(4, true), data: payload.subarray(8) };
}
/** The state, and a file descriptor that nobody has. */
export const encodeDeviceState = (state: number) => words(state, 0xffff_ffff);
export const decodeDeviceState = (data: Uint8Array): number =>
  exactly(data, 8, 'DEVICE_FEATURE: device state').getUint32(0, true);

/** @param size how many bytes are meant or wanted */
export function encodeMigrationData(data: Uint8Array, size = data.length): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(8 + data.length);
  bytes.set(words(bytes.length, size));
  bytes.set(data, 8);
  return bytes;
}
/** Bytes that a device is asked for. */
export const decodeMigrationRead = (payload: Uint8Array): number =>
  exactly(payload, 8, 'MIG_DATA_READ').getUint32(4, true);
export function decodeMigrationData(payload: Uint8Array): Uint8Array {
  const size = atLeast(payload, 8, 'MIG_DATA').getUint32(4, true);
  exactly(payload, 8 + size, 'MIG_DATA');
  return payload.subarray(8);
}
