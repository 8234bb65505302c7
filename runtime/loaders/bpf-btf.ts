/**
 * Maps as BTF, the BPF type format, declares them: a variable of section `.maps` is a structure whose members are pointers,
 * to types (`key`, `value`) and to arrays whose length is the number meant (`type`, `max_entries`). Linux's "BPF Type Format
 * (BTF)", sections 2 and 3.
 */
import { LoaderError } from '../errors.ts';
import type { ByteReader } from './byte-reader.ts';

/** What a map's declaration says, whatever is supported. */
export interface MapDeclaration {
  readonly type: number;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  readonly flags: number;
}

interface BtfType {
  readonly name: string;
  readonly kind: number;
  /** Size in bytes, or another type's number. */
  readonly size: number;
  /** Where the rest of it stands. */
  readonly rest: number;
  readonly count: number;
}

const kinds = {
  int: 1,
  pointer: 2,
  array: 3,
  structure: 4,
  union: 5,
  enumeration: 6,
  forward: 7,
  typedef: 8,
  volatile: 9,
  constant: 10,
  restrict: 11,
  function: 12,
  prototype: 13,
  variable: 14,
  section: 15,
  float: 16,
  tag: 17,
  typeTag: 18,
  enumeration64: 19,
} as const;

/** Bytes behind a type's first twelve: always, and for each of its members. */
const extra: Readonly<Record<number, readonly [number, number]>> = {
  [kinds.int]: [4, 0],
  [kinds.pointer]: [0, 0],
  [kinds.array]: [12, 0],
  [kinds.structure]: [0, 12],
  [kinds.union]: [0, 12],
  [kinds.enumeration]: [0, 8],
  [kinds.forward]: [0, 0],
  [kinds.typedef]: [0, 0],
  [kinds.volatile]: [0, 0],
  [kinds.constant]: [0, 0],
  [kinds.restrict]: [0, 0],
  [kinds.function]: [0, 0],
  [kinds.prototype]: [0, 8],
  [kinds.variable]: [4, 0],
  [kinds.section]: [0, 12],
  [kinds.float]: [0, 0],
  [kinds.tag]: [4, 0],
  [kinds.typeTag]: [0, 0],
  [kinds.enumeration64]: [0, 12],
};
const aliases: readonly number[] = [kinds.typedef, kinds.volatile, kinds.constant, kinds.restrict, kinds.typeTag];

const btfMagic = 0xeb9f;

function fail(reason: string): never {
  throw new LoaderError('bad-map', reason);
}

export class Btf {
  private readonly reader: ByteReader;
  private readonly types: (BtfType | null)[] = [null];

  constructor(reader: ByteReader) {
    this.reader = reader;
    if (reader.u16(0) !== btfMagic || reader.u8(2) !== 1) fail('section .BTF does not begin as BTF of version 1 does');
    const header = reader.u32(4);
    const start = header + reader.u32(8);
    const end = start + reader.u32(12);
    const names = header + reader.u32(16);
    for (let at = start; at < end; ) {
      const info = reader.u32(at + 4);
      const kind = (info >>> 24) & 31;
      const count = info & 0xffff;
      const more = extra[kind];
      if (more === undefined) fail(`section .BTF has a type of kind ${kind}, which is unknown`);
      this.types.push({
        name: reader.text(names + reader.u32(at)),
        kind,
        size: reader.u32(at + 8),
        rest: at + 12,
        count,
      });
      this.names = names;
      at += 12 + more[0] + more[1] * count;
    }
  }
  private names = 0;

  /** @param variable the map's name */
  map(variable: string): MapDeclaration {
    const found = this.types.find((type) => type?.kind === kinds.variable && type.name === variable);
    if (!found) fail(`map ${variable} is not declared in section .BTF`);
    const structure = this.resolve(found.size);
    if (structure.kind !== kinds.structure) fail(`map ${variable} is no structure`);
    const declared = { type: 0, key_size: 0, value_size: 0, max_entries: 0, map_flags: 0 };
    for (let index = 0; index < structure.count; index++) {
      const at = structure.rest + index * 12;
      const name = this.reader.text(this.names + this.reader.u32(at));
      const pointer = this.resolve(this.reader.u32(at + 4));
      if (pointer.kind !== kinds.pointer) fail(`member ${name} of map ${variable} is no pointer`);
      if (name === 'key') declared.key_size = this.sizeOf(pointer.size);
      else if (name === 'value') declared.value_size = this.sizeOf(pointer.size);
      else if (Object.hasOwn(declared, name)) {
        const array = this.resolve(pointer.size);
        if (array.kind !== kinds.array) fail(`member ${name} of map ${variable} points to no array`);
        declared[name as 'type'] = this.reader.u32(array.rest + 8);
      } else if (name !== 'pinning' && name !== 'numa_node')
        fail(`map ${variable} has a member ${name}, which is unknown`);
    }
    return {
      type: declared.type,
      keySize: declared.key_size,
      valueSize: declared.value_size,
      maxEntries: declared.max_entries,
      flags: declared.map_flags,
    };
  }

  /** The type behind names and qualifiers. */
  private resolve(id: number): BtfType {
    for (let steps = 0; steps <= 32; steps++) {
      const type = this.types[id];
      if (!type) return fail(`section .BTF has no type ${id}`);
      if (!aliases.includes(type.kind)) return type;
      id = type.size;
    }
    return fail('types of section .BTF go in a circle');
  }
  private sizeOf(id: number, depth = 0): number {
    if (depth > 32) return fail('types of section .BTF go in a circle');
    const type = this.resolve(id);
    switch (type.kind) {
      case kinds.int:
      case kinds.structure:
      case kinds.union:
      case kinds.enumeration:
      case kinds.enumeration64:
      case kinds.float:
        return type.size;
      case kinds.pointer:
        return 8;
      case kinds.array:
        return this.reader.u32(type.rest + 8) * this.sizeOf(this.reader.u32(type.rest), depth + 1);
      default:
        return fail(`a type of kind ${type.kind} in section .BTF has no size`);
    }
  }
}
