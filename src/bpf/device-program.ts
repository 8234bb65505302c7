/**
 * Programs that answer accesses to a device's registers: the structure they get, the helpers they have, and how an access
 * is put to one. What an access was, and where it came from, is not known here: whoever owns ports or memory attaches it.
 */
import {
  type BpfContextLayout,
  type BpfEnvironment,
  type BpfHelper,
  type BpfRegion,
  mapHelpers,
} from './environment.ts';
import type { PlacedContext } from './placement.ts';
import type { BpfProgram } from './program.ts';

/** What a program returns. */
export const deviceResults = {
  /** The access goes on to whoever would have had it without the program. */
  pass: 0,
  /** It is done; a read's result is in `value`. */
  done: 1,
} as const;

/** `struct device_access`: one access of a guest. */
export const deviceAccess: BpfContextLayout = {
  name: 'device_access',
  size: 40,
  fields: [
    { name: 'address', offset: 0, size: 8, read: true, write: false },
    { name: 'value', offset: 8, size: 8, read: true, write: true },
    { name: 'time', offset: 16, size: 8, read: true, write: false },
    { name: 'state', offset: 24, size: 8, read: true, write: false, pointsTo: 'state' },
    { name: 'size', offset: 32, size: 4, read: true, write: false },
    { name: 'write', offset: 36, size: 4, read: true, write: false },
  ],
};

const number = { kind: 'number' } as const;

/** Numbers 1, 2 and 5 are Linux's; what Linux has no number for begins at 256. */
const helpersFor = (events: number, lines: number, interrupts: number): Readonly<Record<number, BpfHelper>> => ({
  ...mapHelpers,
  5: { name: 'time', arguments: [], result: number, by: 'number' },
  256: { name: 'muldiv64', arguments: [number, number, number], result: number, by: 'muldiv64' },
  257: {
    name: 'signal',
    arguments: [{ kind: 'number', max: BigInt(Math.max(0, events - 1)) }],
    result: { kind: 'none' },
    by: 'number',
  },
  258: {
    name: 'set_line',
    arguments: [
      { kind: 'number', max: BigInt(Math.max(0, lines - 1)) },
      { kind: 'number', max: 1n },
    ],
    result: { kind: 'none' },
    by: 'number',
  },
  259: {
    name: 'inject',
    arguments: [{ kind: 'number', max: BigInt(Math.max(0, interrupts - 1)) }],
    result: { kind: 'none' },
    by: 'number',
  },
});

/** What the embedder's device offers to its programs. */
export interface DeviceOffer {
  /** Bytes that `state` points to: the device's own, which both sides read and write. */
  readonly stateBytes: number;
  /** Event counters that `signal` may name, from 0 on; without any the helper is not there. */
  readonly events?: number;
  /** Interrupt lines that `set_line` may name. */
  readonly lines?: number;
  /** Interrupts that `inject` may name: messages, where a line is a level. */
  readonly interrupts?: number;
  /** Further memory, with fields behind `device_access` that point to it. */
  readonly regions?: Readonly<Record<string, BpfRegion>>;
}

/** The environment that such programs are verified for. */
export function deviceEnvironment({
  stateBytes,
  events = 0,
  lines = 0,
  interrupts = 0,
  regions = {},
}: DeviceOffer): BpfEnvironment {
  const { 257: signal, 258: setLine, 259: inject, ...always } = helpersFor(events, lines, interrupts);
  const names = Object.keys(regions);
  return {
    context: {
      name: deviceAccess.name,
      size: deviceAccess.size + names.length * 8,
      fields: [
        ...deviceAccess.fields,
        ...names.map((name, index) => ({
          name,
          offset: deviceAccess.size + index * 8,
          size: 8 as const,
          read: true,
          write: false,
          pointsTo: name,
        })),
      ],
    },
    regions: { ...regions, state: { size: stateBytes, read: true, write: true } },
    helpers: {
      ...always,
      ...(events > 0 ? { 257: signal! } : {}),
      ...(lines > 0 ? { 258: setLine! } : {}),
      ...(interrupts > 0 ? { 259: inject! } : {}),
    },
    result: { min: BigInt(deviceResults.pass), max: BigInt(deviceResults.done) },
  };
}

/** What `deviceEnvironment`'s helpers need of the embedder. */
export interface DeviceCalls {
  /** Nanoseconds. */
  readonly time: () => number;
  readonly signal?: (event: number) => void;
  readonly set_line?: (line: number, level: number) => void;
  readonly inject?: (interrupt: number) => void;
}

const wordOf = (name: string): number => deviceAccess.fields.find((field) => field.name === name)!.offset >> 2;
/** Places of the fields in the structure, in words of 32 bits. */
const ADDRESS = wordOf('address');
const VALUE = wordOf('value');
const TIME = wordOf('time');
const SIZE = wordOf('size');
const WRITE = wordOf('write');

/** Puts accesses to a program. */
export class DeviceProgram {
  private readonly program: BpfProgram;
  private readonly context: PlacedContext;
  private readonly time: (() => number) | null;
  /** Where the structure is, in words. */
  private readonly at: number;
  private words: Uint32Array;
  /** Address, width and direction that the structure has now; -1 = none yet. */
  private lastAddress = -1;
  private lastWay = -1;
  /** Bits 32-63 of what {@link read64} has answered. */
  high = 0;

  /** @param time nanoseconds, read once for each access; null: the program does not look at them */
  constructor(program: BpfProgram, context: PlacedContext, time: (() => number) | null) {
    this.program = program;
    this.context = context;
    this.time = time;
    this.at = context.area.address >> 2;
    this.words = new Uint32Array(context.memory.buffer);
  }

  /** Somebody else has used the structure. */
  changed(): void {
    this.lastAddress = -1;
    this.lastWay = -1;
  }
  /**
   * Puts a read of up to four bytes to the program.
   * @returns what it answered, unsigned, or -1 if the access is not for it
   */
  readSmall(address: number, size: 1 | 2 | 4): number {
    if (!this.access(address, size, 0, 0, 0)) return -1;
    const value = this.words[this.at + VALUE]!;
    return size === 4 ? value : size === 2 ? value & 0xffff : value & 0xff;
  }
  /** Puts a read of eight bytes to the program: bits 0-31, with the others in {@link high}, or -1. */
  read64(address: number): number {
    if (!this.access(address, 8, 0, 0, 0)) return -1;
    this.high = this.words[this.at + VALUE + 1]!;
    return this.words[this.at + VALUE]!;
  }
  /** @returns what the program answered, rounded to 53 bits, or null if the access is not for it */
  read(address: number, size: 1 | 2 | 4 | 8): number | null {
    if (size === 8) {
      const low = this.read64(address);
      return low < 0 ? null : this.high * 2 ** 32 + low;
    }
    const value = this.readSmall(address, size);
    return value < 0 ? null : value;
  }
  /**
   * @param value not negative
   * @returns whether the program took it
   */
  write(address: number, size: 1 | 2 | 4 | 8, value: number): boolean {
    return this.access(address, size, 1, value, upper(value));
  }
  write64(address: number, low: number, high: number): boolean {
    return this.access(address, 8, 1, low, high);
  }

  private access(address: number, size: number, write: number, low: number, high: number): boolean {
    const { at, context } = this;
    let { words } = this;
    // A memory that has grown has taken the words away.
    if (words.length === 0) words = this.words = new Uint32Array(context.memory.buffer);
    // What the program cannot change is as it was.
    if (address !== this.lastAddress) {
      this.lastAddress = address;
      words[at + ADDRESS] = address;
      words[at + ADDRESS + 1] = upper(address);
    }
    const way = size * 2 + write;
    if (way !== this.lastWay) {
      this.lastWay = way;
      words[at + SIZE] = size;
      words[at + WRITE] = write;
    }
    words[at + VALUE] = low;
    words[at + VALUE + 1] = high;
    if (this.time !== null) {
      const now = this.time();
      words[at + TIME] = now;
      words[at + TIME + 1] = upper(now);
    }
    return this.program.runSmall(context) === deviceResults.done;
  }
}

/** Bits 32 and up of a safe integer that is not negative. */
const upper = (value: number): number => (value < 0x1_0000_0000 ? 0 : Math.floor(value / 0x1_0000_0000));
