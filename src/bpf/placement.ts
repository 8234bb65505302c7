/**
 * Where the things that programs see lie in linear memory: maps, contexts with their stacks, regions. Addresses are those
 * of the memory; nothing lies at 0, which is null.
 */
import { type BpfContextLayout, type BpfEnvironment, type BpfField, type BpfMap, valueStride } from './environment.ts';
import { BpfError } from './errors.ts';
import { stackBytes } from './relevance.ts';

/** A memory that may grow: `WebAssembly.Memory`, or a plain object. */
export interface LinearMemory {
  readonly buffer: ArrayBufferLike;
}

/** A range of memory. */
export interface Area {
  readonly address: number;
  readonly size: number;
}

/** Gives out a part of a linear memory, from its start on. */
export class Arena {
  readonly memory: LinearMemory;
  private next: number;
  private readonly end: number;

  /** @param end address behind the last byte that may be given out */
  constructor(memory: LinearMemory, start: number, end: number) {
    if (!(start >= 8) || !(end >= start) || end > memory.buffer.byteLength)
      throw new BpfError(
        'bad-placement',
        null,
        `no memory from ${start} to ${end} in ${memory.buffer.byteLength} bytes`,
      );
    this.memory = memory;
    this.next = start;
    this.end = end;
  }
  /** Zeroed bytes whose address is a multiple of 16. */
  take(size: number, what: string): Area {
    const address = (this.next + 15) & ~15;
    if (address + size > this.end)
      throw new BpfError(
        'bad-placement',
        null,
        `${what} needs ${size} bytes and ${Math.max(0, this.end - address)} are left`,
      );
    this.next = address + size;
    new Uint8Array(this.memory.buffer, address, size).fill(0);
    return { address, size };
  }
}

/** Fields of a map's descriptor, which is what a program has for a map: 32 bits each. */
export const descriptor = { values: 0, stride: 4, entries: 8, valueSize: 12, bytes: 16 } as const;

/** The maps of one or several programs, in memory. */
export class PlacedMaps {
  readonly maps: readonly BpfMap[];
  readonly descriptors: readonly Area[];
  readonly values: readonly Area[];
  private readonly memory: LinearMemory;

  constructor(maps: readonly BpfMap[], arena: Arena) {
    this.maps = maps;
    this.memory = arena.memory;
    this.descriptors = maps.map(({ name }) => arena.take(descriptor.bytes, `map ${name}`));
    this.values = maps.map((map) => arena.take(map.maxEntries * valueStride(map), `map ${map.name}`));
    this.reset();
  }
  /** Makes the maps what they were at first. */
  reset(): void {
    const bytes = new Uint8Array(this.memory.buffer);
    const view = new DataView(this.memory.buffer);
    this.maps.forEach((map, index) => {
      const { address } = this.descriptors[index]!;
      const values = this.values[index]!;
      view.setUint32(address + descriptor.values, values.address, true);
      view.setUint32(address + descriptor.stride, valueStride(map), true);
      view.setUint32(address + descriptor.entries, map.maxEntries, true);
      view.setUint32(address + descriptor.valueSize, map.valueSize, true);
      bytes.fill(0, values.address, values.address + values.size);
      if (map.contents !== null) bytes.set(map.contents, values.address);
    });
  }
  /** The bytes of one value, as programs see them. */
  value(map: string, index: number): Uint8Array {
    const at = this.maps.findIndex(({ name }) => name === map);
    const found = this.maps[at];
    if (found === undefined || !(index >= 0 && index < found.maxEntries))
      throw new BpfError('bad-placement', null, `there is no value ${index} of a map ${map}`);
    return new Uint8Array(this.memory.buffer, this.values[at]!.address + index * valueStride(found), found.valueSize);
  }
}

/** Where each region of an environment lies. */
export type PlacedRegions = Readonly<Record<string, Area>>;

export function placeRegions(environment: BpfEnvironment, arena: Arena): PlacedRegions {
  return Object.fromEntries(
    Object.entries(environment.regions).map(([name, { size }]) => [name, arena.take(size, `region ${name}`)]),
  );
}

/** A context structure in memory with the stack for one call in progress; one for each thread that calls programs. */
export class PlacedContext {
  readonly layout: BpfContextLayout;
  readonly area: Area;
  readonly stack: Area;
  readonly stackTop: number;
  readonly memory: LinearMemory;
  /** A program runs on this stack. */
  busy = false;
  private view: DataView;
  private bytes: Uint8Array;
  private readonly fields: ReadonlyMap<string, BpfField>;

  constructor(layout: BpfContextLayout, regions: PlacedRegions, arena: Arena) {
    this.layout = layout;
    this.memory = arena.memory;
    this.area = arena.take(layout.size, layout.name);
    this.stack = arena.take(stackBytes, 'the stack');
    this.stackTop = this.stack.address + this.stack.size;
    this.view = new DataView(this.memory.buffer);
    this.bytes = new Uint8Array(this.memory.buffer);
    this.fields = new Map(layout.fields.map((field) => [field.name, field]));
    for (const { name, pointsTo } of layout.fields) {
      if (pointsTo === undefined) continue;
      const region = regions[pointsTo];
      if (region === undefined)
        throw new BpfError('bad-placement', null, `region ${pointsTo} of field ${name} has no place`);
      this.set(name, region.address);
    }
  }
  /** Marks it as in use: helpers may lead back here. */
  enter(): void {
    if (this.busy) throw new BpfError('already-running', null, 'a program is running on this context');
    this.busy = true;
  }
  /** Address of a field, for those who access it quickly. */
  address(name: string): number {
    const field = this.fields.get(name);
    if (field === undefined) throw new BpfError('bad-placement', null, `${this.layout.name} has no field ${name}`);
    return this.area.address + field.offset;
  }
  /** @param value of a field of 8 bytes a safe integer */
  set(name: string, value: number): void {
    const view = this.data();
    const at = this.address(name);
    switch (this.fields.get(name)!.size) {
      case 1:
        return view.setUint8(at, value);
      case 2:
        return view.setUint16(at, value, true);
      case 4:
        return view.setUint32(at, value, true);
      default:
        setUint64(view, at, value);
    }
  }
  /** A field's unsigned value, rounded to 53 bits. */
  get(name: string): number {
    const view = this.data();
    const at = this.address(name);
    switch (this.fields.get(name)!.size) {
      case 1:
        return view.getUint8(at);
      case 2:
        return view.getUint16(at, true);
      case 4:
        return view.getUint32(at, true);
      default:
        return view.getUint32(at + 4, true) * 2 ** 32 + view.getUint32(at, true);
    }
  }
  /** The memory's bytes, good until a program or a helper runs. */
  data(): DataView {
    // A memory that has grown has taken the bytes away. To ask it for its buffer each time would cost more than a program.
    if (this.bytes.length === 0) {
      this.bytes = new Uint8Array(this.memory.buffer);
      this.view = new DataView(this.memory.buffer);
    }
    return this.view;
  }
}

/** Stores a safe integer that is not negative. */
export function setUint64(view: DataView, at: number, value: number): void {
  const high = Math.floor(value / 2 ** 32);
  view.setUint32(at, value - high * 2 ** 32, true);
  view.setUint32(at + 4, high, true);
}
