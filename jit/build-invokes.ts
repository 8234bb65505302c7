/**
 * For bundles: binaryen's module makes each call that may throw a C++ exception by way of a function of its script, which
 * calls the module's table in a `try`: 13,000 times for a region's module, each one out of WebAssembly and in again. Here
 * these functions are made of WebAssembly, without the `try`: nothing throws but what is a bug, and that is an exception
 * for the caller of binaryen all the same. For that the module's table is one that it imports. Run at build time.
 */

export interface DirectInvokes {
  /** binaryen's module, with its table as an import of the name `table`. */
  readonly module: Uint8Array;
  /** A module that makes the calls, in the same table. */
  readonly invokes: Uint8Array;
  /** The name of the module that all is imported from. */
  readonly from: string;
  /** How large the table is. */
  readonly table: { readonly initial: number; readonly maximum?: number };
}

const TYPES = 1;
const IMPORTS = 2;
const TABLES = 4;
const FUNCTION_TYPE = 0x60;
const FUNCREF = 0x70;
const enclosing = 8; // magic number and version

/** Reads a module's bytes. */
class Bytes {
  readonly bytes: Uint8Array;
  at: number;

  constructor(bytes: Uint8Array, at = 0) {
    this.bytes = bytes;
    this.at = at;
  }
  byte(): number {
    return this.bytes[this.at++]!;
  }
  number(): number {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = this.byte();
      value += (byte & 127) * 2 ** shift;
      if (byte < 128) return value;
    }
  }
  take(count: number): Uint8Array {
    this.at += count;
    return this.bytes.subarray(this.at - count, this.at);
  }
  name(): string {
    return new TextDecoder().decode(this.take(this.number()));
  }
}

const number = (value: number): number[] => (value < 128 ? [value] : [(value & 127) | 128, ...number(value >>> 7)]);
const name = (text: string): number[] => [...number(text.length), ...new TextEncoder().encode(text)];
const section = (id: number, content: readonly number[]): number[] => [id, ...number(content.length), ...content];
const list = (items: readonly (readonly number[])[]): number[] => [...number(items.length), ...items.flat()];

interface FunctionType {
  readonly parameters: readonly number[];
  readonly results: readonly number[];
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** Null: there are types that are no functions. */
function readTypes(from: Bytes): FunctionType[] | null {
  const types: FunctionType[] = [];
  for (let left = from.number(); left > 0; left--) {
    if (from.byte() !== FUNCTION_TYPE) return null;
    const parameters = [...from.take(from.number())];
    types.push({ parameters, results: [...from.take(from.number())] });
  }
  return types;
}

/** The names in the script under which the module imports functions that only call its table. */
export function invokeNames(script: string): Set<string> {
  const found = new Set<string>();
  const pattern =
    /function ([\w$]+)\(([\w$]+)((?:,[\w$]+)*)\)\{var ([\w$]+)=[\w$]+\(\);try\{(?:return )?[\w$]+\(\2\)\(([\w$,]*)\)\}catch\(([\w$]+)\)\{if\([\w$]+\(\4\),!\(\6 instanceof [\w$]+\)\)throw \6;[\w$]+\(1,0\)/g;
  for (const [, called, , parameters, , operands] of script.matchAll(pattern)) {
    if (parameters!.slice(1) !== operands) continue;
    const imported = [...script.matchAll(new RegExp(`[{,]([\\w$]+):${called!.replaceAll('$', '\\$')}(?=[,}])`, 'g'))];
    if (imported.length === 1) found.add(imported[0]![1]!);
  }
  return found;
}

/** Null: the module is not of the shape that is known. */
export function withDirectInvokes(module: Uint8Array, names: ReadonlySet<string>): DirectInvokes | null {
  const parts: Uint8Array[] = [module.subarray(0, enclosing)];
  let types: FunctionType[] | null = null;
  let invokes: { readonly name: string; readonly type: FunctionType }[] = [];
  let from: string | null = null;
  let imports: { readonly count: number; readonly entries: Uint8Array; readonly place: number } | null = null;
  let table: Uint8Array | null = null;
  const reader = new Bytes(module, enclosing);
  while (reader.at < module.length) {
    const start = reader.at;
    const id = reader.byte();
    const size = reader.number();
    const content = new Bytes(reader.take(size));
    if (id === TYPES) types = readTypes(content);
    if (id === TABLES) {
      if (content.number() !== 1 || content.bytes[content.at] !== FUNCREF) return null;
      table = content.bytes.subarray(content.at);
      continue;
    }
    parts.push(module.subarray(start, reader.at));
    if (id !== IMPORTS) continue;
    if (types === null) return null;
    const count = content.number();
    imports = { count, entries: content.bytes.subarray(content.at), place: parts.length - 1 };
    for (let left = count; left > 0; left--) {
      const group = content.name();
      const field = content.name();
      if (content.byte() !== 0 || (from !== null && from !== group)) return null; // functions of one module alone
      from = group;
      const type = types[content.number()]!;
      if (names.has(field)) invokes = [...invokes, { name: field, type }];
    }
  }
  if (imports === null || table === null || from === null || invokes.length === 0) return null;
  const tableImport = [...name(from), ...name('table'), 1, ...table];
  const entries = [...number(imports.count + 1), ...imports.entries, ...tableImport];
  parts[imports.place] = Uint8Array.from(section(IMPORTS, entries));
  const limits = new Bytes(table, 1);
  const isBounded = limits.byte() === 1;
  const initial = limits.number();
  return {
    module: joined(parts),
    invokes: Uint8Array.from(invokesModule(tableImport, invokes)),
    from,
    table: isBounded ? { initial, maximum: limits.number() } : { initial },
  };
}

/** Each function calls the table's entry that its first parameter says, with the others. */
function invokesModule(
  tableImport: readonly number[],
  invokes: readonly { readonly name: string; readonly type: FunctionType }[],
): number[] {
  const typeOf = (parameters: readonly number[], results: readonly number[]) => [
    FUNCTION_TYPE,
    ...number(parameters.length),
    ...parameters,
    ...number(results.length),
    ...results,
  ];
  const types = invokes.flatMap(({ type: { parameters, results } }) => [
    typeOf(parameters, results),
    typeOf(parameters.slice(1), results),
  ]);
  const bodies = invokes.map(({ type: { parameters } }, i) => {
    const operands = parameters.slice(1).flatMap((_, k) => [0x20, ...number(k + 1)]);
    const body = [0, ...operands, 0x20, 0, 0x11, ...number(2 * i + 1), 0, 0x0b];
    return [...number(body.length), ...body];
  });
  return [
    ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(TYPES, list(types)),
    ...section(IMPORTS, list([tableImport])),
    ...section(3, list(invokes.map((_, i) => number(2 * i)))),
    ...section(7, list(invokes.map((one, i) => [...name(one.name), 0, ...number(i)]))),
    ...section(10, list(bodies)),
  ];
}
