/**
 * One space of the I/O map (io-map.ts): who is where, and the dispatch of one access. What is attached lies in layers;
 * they are cut into segments in which the same layers answer, so that an access costs one look-up: a table for ports, the
 * last hit or a bisection for memory.
 */
import type { AccessLog } from '../../src/mmu/access-log.ts';
import type { DirectAccess } from '../../src/mmu/direct-access.ts';
import { type AccessSize, type Device, readWide, type WideSize, writeWide } from '../devices/device.ts';
import { ConfigurationError } from '../errors.ts';
import {
  collide,
  type IoHandler,
  PASSED,
  type Placed,
  type PlacedCoalesced,
  type PlacedEvent,
  type PlacedPart,
  put,
  type Segment,
  type Unclaimed,
} from './io-parts.ts';
import { checkRange, type IoRange, type IoSpaceName, showRange, spaceSize } from './io-range.ts';
import type { PostedWrites } from './posted-writes.ts';

/** There is no program for an access. */
const NO_PROGRAM = -2;
/** Of an access as a whole: nobody claims it; it is made in parts. */
const UNCLAIMED = -3;
const SHARED = -4;

/** See {@link IoSpace.passed}. */
export type PassedAccesses = readonly [read: number, write: number];

export class IoSpace {
  readonly name: IoSpaceName;
  /** Ports: told at the end of an instruction how many accesses it has made; a machine whose bus takes time sets it. */
  get took(): ((accesses: number) => void) | undefined {
    return this.#took;
  }
  set took(took: ((accesses: number) => void) | undefined) {
    this.#took = took;
    this.#noteProgramsChange();
  }
  #took: ((accesses: number) => void) | undefined = undefined;
  /** The accesses of the instruction that is being executed; null: there is no processor. */
  log: AccessLog | null = null;
  /** Bits 32-63 of what {@link read64} has answered. */
  high = 0;
  readonly #parts: PlacedPart[] = [];
  /** In the order of their addresses; between them there may be gaps. */
  #segments: Segment[] = [];
  #last: Segment | null = null;
  /** Ports: for each one more than its segment's number, 0 = nobody. */
  readonly #table: Uint16Array | null;
  readonly #limit: number;
  readonly #unclaimed: Unclaimed;
  readonly #posted: PostedWrites;
  /** The access of this address and width that a program has passed on is made again: it is not asked twice. -1 = none. */
  #passedRead = -1;
  /** What the last direct read found. */
  #directHandler: IoHandler | null = null;
  #directAddress = 0;
  #directSize = 0;
  #passedWrite = -1;
  /** Accesses that programs have answered by way of {@link read} and {@link write}. */
  answered = 0;
  /** Told whether there are programs, when that, or what else is done at their accesses, may have changed. */
  programsChanged: (any: boolean) => void = () => {};

  constructor(name: IoSpaceName, unclaimed: Unclaimed, posted: PostedWrites) {
    this.name = name;
    this.#limit = spaceSize[name];
    this.#table = name === 'port' ? new Uint16Array(spaceSize.port) : null;
    this.#unclaimed = unclaimed;
    this.#posted = posted;
  }

  // --- who is where
  /** @throws ConfigurationError `bad-region`, `region-overlap` naming both; then nothing has changed */
  add(part: PlacedPart): void {
    checkRange(part.name, this.#rangeOf(part), 1);
    for (const other of this.#parts) {
      if (other.layer !== part.layer || other.start >= part.end || part.start >= other.end) continue;
      if (other.layer === 'event' && !collide(other, part as PlacedEvent)) continue;
      throw new ConfigurationError(
        'region-overlap',
        `${showRange(part.name, this.#rangeOf(part))} overlaps ${showRange(other.name, this.#rangeOf(other))}`,
      );
    }
    this.#parts.push(part);
    this.#rebuild();
  }
  remove(part: PlacedPart): void {
    const index = this.#parts.indexOf(part);
    if (index < 0) return;
    this.#parts.splice(index, 1);
    this.#rebuild();
  }
  /** Takes every region of the device away. */
  removeDevice(device: Device): void {
    const kept = this.#parts.filter((part) => part.layer !== 'device' || part.device !== device);
    if (kept.length === this.#parts.length) return;
    this.#parts.splice(0, this.#parts.length, ...kept);
    this.#rebuild();
  }
  /** Devices in the order in which their regions were attached. */
  devices(): Device[] {
    return this.#parts.flatMap((part) => (part.layer === 'device' ? [part.device] : []));
  }
  /** Whether a device, here or elsewhere, answers at this address. */
  claims(address: number): boolean {
    const segment = this.#find(address);
    return segment !== null && (segment.device !== null || segment.remote !== null);
  }
  /** Whether devices answer at every address of a range. */
  claimsAll(start: number, end: number): boolean {
    for (let at = start; at < end; ) {
      const segment = this.#find(at);
      if (segment === null || (segment.device === null && segment.remote === null)) return false;
      at = segment.end;
    }
    return true;
  }

  #rangeOf(part: Placed): IoRange {
    return { space: this.name, address: part.start, length: part.end - part.start };
  }

  #rebuild(): void {
    const cuts = [...new Set(this.#parts.flatMap(({ start, end }) => [start, end]))].sort((a, b) => a - b);
    const places = new Map(cuts.map((cut, index) => [cut, index]));
    const segments: (Segment | undefined)[] = new Array(cuts.length);
    for (const part of this.#parts)
      for (let i = places.get(part.start)!; i < places.get(part.end)!; i++) {
        const [start, end] = [cuts[i]!, cuts[i + 1]!];
        segments[i] ??= { start, end, program: null, events: null, coalesced: null, remote: null, device: null };
        put(segments[i]!, part);
      }
    this.#segments = segments.filter((segment) => segment !== undefined);
    this.#last = null;
    this.#directHandler = null;
    this.#passedRead = -1;
    this.#passedWrite = -1;
    this.#noteProgramsChange();
    const table = this.#table;
    if (table === null) return;
    table.fill(0);
    for (const [index, { start, end }] of this.#segments.entries()) table.fill(index + 1, start, end);
  }

  #noteProgramsChange(): void {
    this.programsChanged(this.#parts.some(({ layer }) => layer === 'program'));
  }

  #find(address: number): Segment | null {
    const table = this.#table;
    if (table !== null) {
      const number = table[address]!;
      return number === 0 ? null : this.#segments[number - 1]!;
    }
    const last = this.#last;
    if (last !== null && address >= last.start && address < last.end) return last;
    const segments = this.#segments;
    let low = 0;
    let high = segments.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (segments[middle]!.start <= address) low = middle + 1;
      else high = middle;
    }
    if (low === 0) return null;
    const segment = segments[low - 1]!;
    if (address >= segment.end) return null;
    this.#last = segment;
    return segment;
  }

  /** Addresses with widths of the read and the write that programs have passed on and that are not finished; -1: none. */
  get passed(): PassedAccesses {
    return [this.#passedRead, this.#passedWrite];
  }
  set passed([read, write]: PassedAccesses) {
    this.#passedRead = read;
    this.#passedWrite = write;
    this.#directHandler = null;
  }

  // --- one access
  /** A read for a program alone: what it answers; -1: it has passed it on to {@link read}; -2: there is none. */
  readDirect(address: number, size: AccessSize): number {
    let handler = this.#directHandler;
    if (handler === null || address !== this.#directAddress || size !== this.#directSize) {
      const program = this.#find(address)?.program ?? null;
      if (program === null || !program.reads || address + size > program.end) return NO_PROGRAM;
      handler = this.#directHandler = program.handler;
      this.#directAddress = address;
      this.#directSize = size;
    }
    const value = handler.read(address, size);
    if (value < 0) this.#passedRead = accessKey(address, size);
    return value;
  }
  /** A write for a program alone; 0: it has taken it. Else as {@link readDirect}. */
  writeDirect(address: number, size: AccessSize, value: number): number {
    const program = this.#find(address)?.program;
    if (program === null || program === undefined || !program.writes || address + size > program.end) return NO_PROGRAM;
    if (program.handler.write(address, size, value)) return 0;
    this.#passedWrite = accessKey(address, size);
    return PASSED;
  }

  /** The function of the program that gets such an access, if it is alone with it. */
  directAt(address: number, size: AccessSize, write: boolean): DirectAccess | null {
    const program = this.#find(address)?.program;
    if (program === null || program === undefined || address + size > program.end) return null;
    return (write ? program.writes : program.reads) ? (program.handler.direct ?? null) : null;
  }
  /** A program that was asked by its function has passed the access on to {@link read} or {@link write}. */
  passedOn(address: number, size: AccessSize, write: boolean): void {
    if (write) this.#passedWrite = accessKey(address, size);
    else this.#passedRead = accessKey(address, size);
  }

  /** A read that a program had passed on was answered elsewhere, and is not made again. */
  finished(): void {
    this.#passedRead = -1;
  }

  /**
   * A load of up to four bytes. One that leaves what answers at its first byte is made byte by byte.
   * @returns unsigned; what does not count if the access log says now that the instruction is given up. It makes the access
   *   once more then, as it does if this throws
   */
  read(address: number, size: AccessSize): number {
    return this.#load(address, size);
  }
  /** A load of eight bytes: the low half, unsigned; the other one is in {@link high}. */
  read64(address: number): number {
    return this.#load(address, 8);
  }
  #load(address: number, size: WideSize): number {
    const { log } = this;
    const value = this.#read(address, size, log?.takes() === true);
    if (this.#passedRead !== -1 && log?.givenUp !== true) this.#passedRead = -1;
    return value;
  }
  /** @param logged it belongs to an instruction: of that, everybody is asked once */
  #read(address: number, size: WideSize, logged: boolean): number {
    const { log, name } = this;
    let value: number;
    if (!logged) value = this.#ask(address, size);
    else if (log!.knows(name, false, address, size)) {
      this.high = log!.high;
      return log!.low;
    } else if (log!.knows(name, false, address, inParts(size))) value = SHARED;
    else {
      log!.begin();
      value = this.#ask(address, size);
      if (value === UNCLAIMED) log!.pass();
      else log!.note(name, false, address, value === SHARED ? inParts(size) : size, value, this.high);
    }
    if (value >= 0) return value;
    if (value === UNCLAIMED) return this.#unclaimedRead(address, size);
    if (size === 8) {
      const low = this.#read(address, 4, logged);
      if (logged && log!.givenUp) return 0;
      this.high = this.#read(address + 4, 4, logged);
      return low;
    }
    let joined = 0;
    for (let index = 0; index < size && !(logged && log!.givenUp); index++)
      joined += this.#read(this.#at(address + index), 1, logged) * 2 ** (index * 8);
    return joined;
  }
  /** Puts a read to whoever is alone there: the answer (the low half), UNCLAIMED or SHARED. */
  #ask(address: number, size: WideSize): number {
    const segment = this.#find(address);
    const end = address + size;
    if (segment !== null) {
      const { program, remote, device } = segment;
      if (program?.reads === true && end <= program.end) {
        if (this.#passedRead !== accessKey(address, size)) {
          const value = this.#handlerRead(program.handler, address, size);
          if (value >= 0) {
            this.answered++;
            return value;
          }
          if (size === 8 && value === SHARED) return SHARED;
        }
        this.#passedRead = accessKey(address, size);
      }
      if (this.#posted.waiting) this.#posted.drain();
      if (remote !== null && end <= remote.end) {
        const value = this.#handlerRead(remote.handler, address, size);
        if (value >= 0 || (size === 8 && value === SHARED)) return value;
      }
      if (device !== null && end <= device.end) {
        const offset = address - device.start;
        if (size !== 8) return device.device.read(offset, size) >>> 0;
        const value = readWide(device.device, offset);
        this.high = Number(value >> 32n);
        return Number(value & 0xffff_ffffn);
      }
    } else if (this.#posted.waiting) this.#posted.drain();
    return isPassedOn(segment, end) || !this.#isShared(address, size) ? UNCLAIMED : SHARED;
  }
  #handlerRead(handler: IoHandler, address: number, size: WideSize): number {
    if (size !== 8) return handler.read(address, size);
    if (handler.read64 === undefined) return SHARED;
    const value = handler.read64(address);
    this.high = handler.high ?? 0;
    return value;
  }
  #unclaimedRead(address: number, size: WideSize): number {
    const { name } = this;
    const unclaimed = this.#unclaimed;
    if (size !== 8) return unclaimed.read(name, address, size);
    if (unclaimed.read64 !== undefined) {
      const low = unclaimed.read64(name, address);
      this.high = unclaimed.high ?? 0;
      return low;
    }
    const low = unclaimed.read(name, address, 4);
    this.high = unclaimed.read(name, address + 4, 4);
    return low;
  }

  /** A store of up to four bytes; see {@link read}. */
  write(address: number, size: AccessSize, value: number): void {
    this.#store(address, size, value, 0);
  }
  /** A store of eight bytes, as two unsigned halves. */
  write64(address: number, low: number, high: number): void {
    this.#store(address, 8, low, high);
  }
  #store(address: number, size: WideSize, low: number, high: number): void {
    this.#write(address, size, low, high, this.log?.takes() === true);
    this.#passedWrite = -1;
  }
  #write(address: number, size: WideSize, low: number, high: number, logged: boolean): void {
    const { log, name } = this;
    let taken: number;
    if (!logged) taken = this.#give(address, size, low, high);
    else if (log!.knows(name, true, address, size)) return;
    else if (log!.knows(name, true, address, inParts(size))) taken = SHARED;
    else {
      log!.begin();
      taken = this.#give(address, size, low, high);
      if (taken === UNCLAIMED) log!.pass();
      else log!.note(name, true, address, taken === SHARED ? inParts(size) : size, low, high);
    }
    if (taken >= 0) return;
    if (taken === UNCLAIMED) return this.#unclaimedWrite(address, size, low, high);
    if (size === 8) {
      this.#write(address, 4, low, 0, logged);
      if (!(logged && log!.givenUp)) this.#write(address + 4, 4, high, 0, logged);
      return;
    }
    for (let index = 0; index < size && !(logged && log!.givenUp); index++)
      this.#write(this.#at(address + index), 1, (low >>> (index * 8)) & 0xff, 0, logged);
  }
  /** Gives a write to whoever is alone there: 0, UNCLAIMED or SHARED. */
  #give(address: number, size: WideSize, low: number, high: number): number {
    const segment = this.#find(address);
    const end = address + size;
    if (segment !== null) {
      const { program, events, coalesced } = segment;
      if (program?.writes === true && end <= program.end) {
        if (this.#passedWrite !== accessKey(address, size)) {
          const taken = handlerWrite(program.handler, address, size, low, high);
          if (taken === SHARED) return SHARED;
          if (taken >= 0) {
            this.answered++;
            return 0;
          }
        }
        this.#passedWrite = accessKey(address, size);
      }
      if (events !== null) {
        for (const event of events) {
          if (event.start !== address || (event.length !== 0 && event.length !== size)) continue;
          if (event.match >= 0 && (event.match !== low || event.matchHigh !== high)) continue;
          if (this.#posted.waiting) this.#posted.drain();
          event.counter.add(1);
          return 0;
        }
      }
      if (coalesced !== null && end <= coalesced.end && this.#post(segment, coalesced, address, size, low, high))
        return 0;
      if (this.#posted.waiting) this.#posted.drain();
      const taken = this.#toDevice(segment, address, size, low, high);
      if (taken !== PASSED) return taken;
    } else if (this.#posted.waiting) this.#posted.drain();
    return isPassedOn(segment, end) || !this.#isShared(address, size) ? UNCLAIMED : SHARED;
  }
  #unclaimedWrite(address: number, size: WideSize, low: number, high: number): void {
    const { name } = this;
    const unclaimed = this.#unclaimed;
    if (size !== 8) unclaimed.write(name, address, size, low);
    else if (unclaimed.write64 !== undefined) unclaimed.write64(name, address, low, high);
    else {
      unclaimed.write(name, address, 4, low);
      unclaimed.write(name, address + 4, 4, high);
    }
  }

  /** A posted write, on its way to the devices. */
  deliver(address: number, size: WideSize, low: number, high: number): void {
    const segment = this.#find(address);
    if (segment === null || this.#toDevice(segment, address, size, low, high) !== SHARED) return;
    this.deliver(address, 4, low, 0);
    this.deliver(address + 4, 4, high, 0);
  }

  /** 0, SHARED for a device elsewhere that knows no eight bytes, or PASSED. */
  #toDevice({ remote, device }: Segment, address: number, size: WideSize, low: number, high: number): number {
    const end = address + size;
    if (remote !== null && end <= remote.end) {
      const taken = handlerWrite(remote.handler, address, size, low, high);
      if (taken !== PASSED) return taken;
    }
    if (device === null || end > device.end) return PASSED;
    const offset = address - device.start;
    if (size !== 8) device.device.write(offset, size, low);
    else writeWide(device.device, offset, (BigInt(high) << 32n) | BigInt(low));
    return 0;
  }
  /** False: it cannot wait, since nobody would take it then. */
  #post(
    segment: Segment,
    { receiver }: PlacedCoalesced,
    address: number,
    size: WideSize,
    low: number,
    high: number,
  ): boolean {
    if (this.#posted.draining) return false; // a device's own write
    if (receiver === null) {
      const { remote, device } = segment;
      const end = address + size;
      if ((device === null || end > device.end) && (remote === null || end > remote.end)) return false;
    }
    this.#posted.push(this, receiver, address, size, low, high);
    return true;
  }
  /** Whether some byte of an access that its first byte's owner cannot do alone belongs to a device. */
  #isShared(address: number, size: number): boolean {
    if (size === 1) return false;
    for (let index = 0; index < size; index++) if (this.claims(this.#at(address + index))) return true;
    return false;
  }
  /** Ports begin again after the last one. */
  #at(address: number): number {
    return address < this.#limit ? address : address - this.#limit;
  }
}

/** A device elsewhere, which is alone there, had the whole access and let it go on. */
function isPassedOn(segment: Segment | null, end: number): boolean {
  return segment !== null && segment.device === null && segment.remote !== null && end <= segment.remote.end;
}

/** Address and width in one number; above 2^50, where nobody is, neighbours may be taken for each other. */
const accessKey = (address: number, size: WideSize): number => address * 8 + size;

/** How the access log has an access that is made in parts: nobody is asked for the whole of it again. */
const inParts = (size: WideSize): number => -size;

/** 0: taken; PASSED, or SHARED for a handler that knows no eight bytes. */
function handlerWrite(handler: IoHandler, address: number, size: WideSize, low: number, high: number): number {
  if (size !== 8) return handler.write(address, size, low) ? 0 : PASSED;
  if (handler.write64 === undefined) return SHARED;
  return handler.write64(address, low, high) ? 0 : PASSED;
}
