/**
 * Bounds how long a WebAssembly module may run: a counter of its own is counted down at the start of each function and of
 * each turn of a loop, and by the bytes of bulk operations; at zero the module traps. Works on the module's bytes, which the
 * host must have validated before. WebAssembly Core Specification 2.0, chapter 5 (binary format).
 *
 * What the module cannot know of is added behind what it has, so its own numbers stay as they are: a global (the fuel), a
 * function that charges bulk operations, and one that fills up and calls an export of the module.
 */

/** Why a module cannot be bounded. */
export class UnboundedModule extends Error {}

export const fuelExport = 'jit86.fuel';
export const entryExport = 'jit86.entry';

interface Section {
  readonly id: number;
  readonly bytes: Uint8Array;
}

const sectionIds = { type: 1, import: 2, function: 3, global: 6, export: 7, code: 10 } as const;
/** What the module's variable globals are exported as, so that they can be kept: this and their number. */
const globalExport = 'jit86.global.';
/** Sections in the order in which they must stand; the count of data comes before the code. */
const order = [1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 10, 11];
const i32 = 0x7f;
const i64 = 0x7e;

class Reader {
  readonly bytes: Uint8Array;
  at = 0;
  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }
  get done(): boolean {
    return this.at >= this.bytes.length;
  }
  byte(): number {
    return this.bytes[this.at++]!;
  }
  /** Unsigned, up to 32 bits. */
  u32(): number {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = this.byte();
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
  }
  /** A number of any width that nobody wants to know. */
  skipNumber(): void {
    while (this.byte() >= 0x80);
  }
  skip(count: number): void {
    this.at += count;
  }
  slice(length: number): Uint8Array {
    this.at += length;
    return this.bytes.subarray(this.at - length, this.at);
  }
  name(): string {
    return new TextDecoder().decode(this.slice(this.u32()));
  }
}

const leb = (value: number): number[] => {
  const out: number[] = [];
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return [...out, rest];
    out.push((rest % 128) | 0x80);
  }
};
const signedLeb = (value: number): number[] => {
  const out: number[] = [];
  for (let rest = value; ; rest >>= 7) {
    const byte = rest & 0x7f;
    if ((rest >> 7 === 0 && byte < 64) || (rest >> 7 === -1 && byte >= 64)) return [...out, byte];
    out.push(byte | 0x80);
  }
};
const text = (value: string): number[] => {
  const bytes = new TextEncoder().encode(value);
  return [...leb(bytes.length), ...bytes];
};

/** What a module wants of its host and offers to it, by number. */
interface Shape {
  readonly types: readonly { readonly parameters: readonly number[]; readonly results: readonly number[] }[];
  /** Type numbers of all functions, the imported ones first. */
  readonly functions: readonly number[];
  readonly globals: number;
}

/** The module's memory, as it asks for it; null = it has none. */
export interface ModuleMemory {
  readonly minimum: number;
  readonly isShared: boolean;
}

/** A function that a module imports. */
export interface ImportedFunction {
  readonly module: string;
  readonly name: string;
  /** `i64,i64 -> i32`; what is not a number is `?`. */
  readonly type: string;
}

export interface BoundedModule {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Of the memory that it imports. */
  readonly memory: ModuleMemory | null;
  readonly functions: readonly ImportedFunction[];
  /** Exports that are the module's variable globals. */
  readonly globals: readonly string[];
}

/**
 * @param module valid
 * @param entry an export, a function of one 32-bit number that gives a number; `entryExport` will be the same with fresh fuel
 * @param fuel how much an entry has
 * @param maximumPages the memory that will be imported
 * @throws UnboundedModule naming what cannot be bounded
 */
export function boundModule(
  module: Uint8Array,
  entry: string,
  fuel: number,
  maximumPages: (memory: ModuleMemory) => number,
): BoundedModule {
  const sections = readSections(module);
  const find = (id: number) => sections.find((section) => section.id === id)?.bytes ?? null;
  const types = readTypes(find(sectionIds.type));
  const imports = rewriteImports(find(sectionIds.import), maximumPages);
  const own = vector(find(sectionIds.function), (reader) => reader.u32());
  const shape: Shape = {
    types,
    functions: [...imports.functions, ...own],
    globals: imports.globals + countOf(find(sectionIds.global)),
  };
  const target = exportedFunction(find(sectionIds.export), entry);
  const type = target === null ? undefined : types[shape.functions[target]!];
  const takesContext = type !== undefined && type.parameters.length === 1 && type.parameters[0] === i32;
  const result = type?.results[0];
  if (target === null || !takesContext || type.results.length !== 1 || (result !== i32 && result !== i64))
    throw new UnboundedModule(`it exports no function ${entry} from i32 to i32 or i64`);
  const charge = shape.functions.length;
  const global = shape.globals;
  const made = new Map<number, Uint8Array | number[]>();
  const add = (id: number, count: number, items: readonly number[]) => {
    const bytes = find(id);
    const reader = new Reader(bytes ?? Uint8Array.of(0));
    const before = reader.u32();
    made.set(id, joined([leb(before + count), reader.bytes.subarray(reader.at), items]));
  };
  if (imports.bytes !== null) made.set(sectionIds.import, imports.bytes);
  add(sectionIds.type, 1, [0x60, 1, i32, 1, i32]);
  add(sectionIds.function, 2, [...leb(types.length), ...leb(types.length)]);
  add(sectionIds.global, 1, [i32, 1, 0x41, ...signedLeb(fuel), 0x0b]);
  const variables = variableGlobals(find(sectionIds.global)).map((index) => imports.globals + index);
  add(sectionIds.export, 2 + variables.length, [
    ...variables.flatMap((index) => [...text(`${globalExport}${index}`), 3, ...leb(index)]),
    ...[...text(fuelExport), 3, ...leb(global)],
    ...[...text(entryExport), 0, ...leb(charge + 1)],
  ]);
  const bodies: (Uint8Array | number[])[] = readBodies(find(sectionIds.code)).map((body) =>
    instrument(body, global, charge),
  );
  bodies.push(chargeBody(global), entryBody(global, fuel, target, result === i64));
  made.set(sectionIds.code, joined([leb(bodies.length), ...bodies.flatMap((body) => [leb(body.length), body])]));
  const parts: (Uint8Array | number[])[] = [module.subarray(0, 8)];
  for (const id of order) {
    const bytes = made.get(id) ?? find(id);
    if (bytes !== null) parts.push([id], leb(bytes.length), bytes);
  }
  const functions = imports.functions.map((of, index) => ({ ...imports.names[index]!, type: showType(types[of]!) }));
  const globals = variables.map((index) => `${globalExport}${index}`);
  return { bytes: joined(parts), memory: imports.memory, functions, globals };
}

function joined(parts: readonly (Uint8Array | readonly number[])[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

function readSections(module: Uint8Array): Section[] {
  const reader = new Reader(module);
  reader.skip(8);
  const sections: Section[] = [];
  while (!reader.done) {
    const id = reader.byte();
    const bytes = reader.slice(reader.u32());
    if (id === 0) continue; // names and notes
    if (id === 5) throw new UnboundedModule('it has a memory of its own, and is to import one');
    if (!order.includes(id)) throw new UnboundedModule(`it has a section of kind ${id}`);
    sections.push({ id, bytes });
  }
  return sections;
}

function vector<T>(section: Uint8Array | null, item: (reader: Reader) => T): T[] {
  if (section === null) return [];
  const reader = new Reader(section);
  return Array.from({ length: reader.u32() }, () => item(reader));
}
const countOf = (section: Uint8Array | null): number => (section === null ? 0 : new Reader(section).u32());

function readTypes(section: Uint8Array | null): Shape['types'] {
  return vector(section, (reader) => {
    const form = reader.byte();
    if (form !== 0x60) throw new UnboundedModule(`it has a type of form 0x${form.toString(16)}`);
    const list = () => Array.from({ length: reader.u32() }, () => reader.byte());
    return { parameters: list(), results: list() };
  });
}

const typeNames: Readonly<Record<number, string>> = { 127: 'i32', 126: 'i64', 125: 'f32', 124: 'f64' };
function showType({ parameters, results }: Shape['types'][number]): string {
  const list = (all: readonly number[]) => all.map((type) => typeNames[type] ?? '?').join(',');
  return `${list(parameters)} -> ${list(results)}`;
}

/** The imports with the memory's upper limit as it will be. */
function rewriteImports(section: Uint8Array | null, maximumPages: (memory: ModuleMemory) => number) {
  const functions: number[] = [];
  const names: { module: string; name: string }[] = [];
  let globals = 0;
  let memory: ModuleMemory | null = null;
  let bytes: Uint8Array | null = null;
  if (section === null) return { functions, names, globals, memory, bytes };
  const reader = new Reader(section);
  for (let left = reader.u32(); left > 0; left--) {
    const place = { module: reader.name(), name: reader.name() };
    const kind = reader.byte();
    if (kind === 0) {
      names.push(place);
      functions.push(reader.u32());
    } else if (kind === 3) {
      globals++;
      reader.skip(2);
    } else if (kind === 2) {
      const from = reader.at;
      const flags = reader.byte();
      if (flags > 3) throw new UnboundedModule('its memory has addresses of 64 bits');
      const found: ModuleMemory = { minimum: reader.u32(), isShared: (flags & 2) !== 0 };
      if ((flags & 1) !== 0) reader.u32();
      memory = found;
      const limits = [found.isShared ? 3 : 1, ...leb(found.minimum), ...leb(maximumPages(found))];
      bytes = joined([section.subarray(0, from), limits, section.subarray(reader.at)]);
    } else throw new UnboundedModule(`it imports something of kind ${kind}`);
  }
  return { functions, names, globals, memory, bytes };
}

/** Numbers of a module's own globals that can change. */
function variableGlobals(section: Uint8Array | null): number[] {
  const found: number[] = [];
  let index = 0;
  vector(section, (reader) => {
    const type = reader.byte();
    const isVariable = reader.byte() !== 0;
    while (reader.bytes[reader.at] !== 0x0b) skipInstruction(reader);
    reader.skip(1);
    if (isVariable && typeNames[type] === undefined) refuse('a variable global that is no number');
    if (isVariable) found.push(index);
    index++;
  });
  return found;
}

function exportedFunction(section: Uint8Array | null, wanted: string): number | null {
  let found: number | null = null;
  vector(section, (reader) => {
    const name = reader.name();
    const kind = reader.byte();
    const index = reader.u32();
    if (name === fuelExport || name === entryExport || name.startsWith(globalExport))
      throw new UnboundedModule(`it exports ${name}`);
    if (name === wanted && kind === 0) found = index;
  });
  return found;
}

const readBodies = (section: Uint8Array | null): Uint8Array[] =>
  vector(section, (reader) => reader.slice(reader.u32()));

// --- code
const getGlobal = (global: number) => [0x23, ...leb(global)];
const setGlobal = (global: number) => [0x24, ...leb(global)];
/** Traps without fuel, and takes one. */
const takeOne = (global: number): number[] => [
  ...getGlobal(global),
  ...[0x45, 0x04, 0x40, 0x00, 0x0b], // i32.eqz; if; unreachable; end
  ...getGlobal(global),
  ...[0x41, 1, 0x6b], // i32.const 1; i32.sub
  ...setGlobal(global),
];

/** `(bytes) -> bytes`: takes one for each 64 of them. */
function chargeBody(global: number): number[] {
  const cost = [0x20, 0, 0x41, 6, 0x76]; // local.get 0; i32.const 6; i32.shr_u
  return [
    ...[0, ...getGlobal(global), ...cost, 0x49, 0x04, 0x40], // i32.lt_u; if
    ...[0x41, 0, ...setGlobal(global), 0x00, 0x0b], // no fuel is left; unreachable; end
    ...[...getGlobal(global), ...cost, 0x6b, ...setGlobal(global), 0x20, 0, 0x0b],
  ];
}
/** Fills up, and calls. */
function entryBody(global: number, fuel: number, target: number, wide: boolean): number[] {
  const call = [0x20, 0, 0x10, ...leb(target), ...(wide ? [0xa7] : [])]; // i32.wrap_i64
  return [0, 0x41, ...signedLeb(fuel), ...setGlobal(global), ...call, 0x0b];
}

/** A function's body with its counters. */
function instrument(body: Uint8Array, global: number, charge: number): Uint8Array {
  const reader = new Reader(body);
  for (let groups = reader.u32(); groups > 0; groups--) {
    reader.u32();
    reader.byte();
  }
  const parts: (Uint8Array | number[])[] = [body.subarray(0, reader.at), takeOne(global)];
  let from = reader.at;
  const insert = (at: number, code: number[]) => {
    parts.push(body.subarray(from, at), code);
    from = at;
  };
  while (!reader.done) {
    const at = reader.at;
    const kind = skipInstruction(reader);
    if (kind === 'loop') insert(reader.at, takeOne(global));
    if (kind === 'bulk') insert(at, [0x10, ...leb(charge)]); // the length is on top
  }
  parts.push(body.subarray(from));
  return joined(parts);
}

const simple = 'simple';
type InstructionKind = typeof simple | 'loop' | 'bulk';

const refuse = (what: string): never => {
  throw new UnboundedModule(`it uses ${what}`);
};

/** Alignment and offset. */
function memoryOperand(reader: Reader): void {
  if (reader.u32() >= 64) refuse('several memories');
  reader.skipNumber();
}

function skipInstruction(reader: Reader): InstructionKind {
  const opcode = reader.byte();
  if (opcode >= 0x45 && opcode <= 0xc4) return simple;
  if (opcode >= 0x28 && opcode <= 0x3e) {
    memoryOperand(reader);
    return simple;
  }
  switch (opcode) {
    case 0x00: // unreachable
    case 0x01: // nop
    case 0x05: // else
    case 0x0b: // end
    case 0x0f: // return
    case 0x1a: // drop
    case 0x1b: // select
    case 0xd1: // ref.is_null
      return simple;
    case 0x02: // block
    case 0x04: // if
      reader.skipNumber();
      return simple;
    case 0x03:
      reader.skipNumber();
      return 'loop';
    case 0x0c: // br
    case 0x0d: // br_if
    case 0x10: // call
    case 0x20: // local.get, local.set, local.tee, global.get, global.set
    case 0x21:
    case 0x22:
    case 0x23:
    case 0x24:
    case 0x25: // table.get
    case 0x3f: // memory.size, memory.grow
    case 0x40:
    case 0x41: // i32.const, i64.const
    case 0x42:
    case 0xd0: // ref.null, ref.func
    case 0xd2:
      reader.skipNumber();
      return simple;
    case 0x26:
      return refuse('table.set: nobody could keep what it changes');
    case 0x0e: // br_table
      for (let left = reader.u32() + 1; left > 0; left--) reader.skipNumber();
      return simple;
    case 0x11: // call_indirect
      reader.skipNumber();
      reader.skipNumber();
      return simple;
    case 0x1c: // select with types
      reader.skip(reader.u32());
      return simple;
    case 0x43:
      reader.skip(4);
      return simple;
    case 0x44:
      reader.skip(8);
      return simple;
    case 0xfc:
      return skipBulk(reader);
    case 0xfd:
      return skipVector(reader);
    case 0xfe:
      return skipAtomic(reader);
    default:
      return refuse(`an instruction with opcode 0x${opcode.toString(16)}`);
  }
}

function skipBulk(reader: Reader): InstructionKind {
  const opcode = reader.u32();
  if (opcode < 8) return simple; // conversions
  if (opcode === 9) {
    reader.skipNumber(); // data.drop
    return simple;
  }
  if (opcode > 11) return refuse('bulk operations on tables');
  for (let left = opcode === 11 ? 1 : 2; left > 0; left--) reader.skipNumber(); // memory.init, memory.copy, memory.fill
  return 'bulk';
}
function skipVector(reader: Reader): InstructionKind {
  const opcode = reader.u32();
  if (opcode > 0xff) refuse('relaxed vector operations');
  if (opcode <= 11 || opcode === 92 || opcode === 93) memoryOperand(reader);
  else if (opcode === 12 || opcode === 13) reader.skip(16);
  else if (opcode >= 21 && opcode <= 34) reader.skip(1);
  else if (opcode >= 84 && opcode <= 91) {
    memoryOperand(reader);
    reader.skip(1);
  }
  return simple;
}
function skipAtomic(reader: Reader): InstructionKind {
  const opcode = reader.u32();
  if (opcode === 1 || opcode === 2) refuse('memory.atomic.wait, which blocks');
  if (opcode === 3) reader.skip(1);
  else memoryOperand(reader);
  return simple;
}
