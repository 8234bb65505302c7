/**
 * Text to bytes: the notation of disassemble.ts, one instruction a line, labels as `name:` and `goto name`, comments from
 * `;` or `//` to the line's end. For programs made where there is no compiler, and for tests.
 */
import {
  type AccessSize,
  aluOperations,
  atomicOperations,
  callKinds,
  classes,
  conditions,
  constantKinds,
  fetchBit,
  jumpCodes,
  modes,
  negateCode,
  sizeCodes,
  slotBytes,
  swapCode,
} from './instructions.ts';

interface Encoding {
  readonly opcode: number;
  readonly destination?: number;
  readonly source?: number;
  /** A string is a label. */
  readonly offset?: number | string;
  readonly immediate?: number | string;
  readonly high?: number;
}

/** A line that is no instruction; the text was written by whoever calls. */
export class BpfSyntaxError extends Error {
  readonly line: number;
  constructor(line: number, message: string) {
    super(`line ${line}: ${message}`);
    this.name = 'BpfSyntaxError';
    this.line = line;
  }
}

/** @throws BpfSyntaxError */
export function assemble(text: string): Uint8Array {
  const labels = new Map<string, number>();
  const encodings: { readonly e: Encoding; readonly line: number }[] = [];
  let slots = 0;
  text.split('\n').forEach((whole, index) => {
    const line = index + 1;
    let rest = whole.replace(/(?:;|\/\/).*$/, '').trim();
    for (let label = /^([A-Za-z_]\w*):\s*/.exec(rest); label !== null; label = /^([A-Za-z_]\w*):\s*/.exec(rest)) {
      labels.set(label[1]!, slots);
      rest = rest.slice(label[0].length);
    }
    if (rest === '') return;
    const e = encode(rest);
    if (e === null) throw new BpfSyntaxError(line, `"${rest}" is no instruction`);
    encodings.push({ e, line });
    slots += e.high === undefined ? 1 : 2;
  });
  const bytes = new Uint8Array(slots * slotBytes);
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const { e, line } of encodings) {
    const resolve = (value: number | string | undefined): number => {
      if (typeof value !== 'string') return value ?? 0;
      const target = labels.get(value);
      if (target === undefined) throw new BpfSyntaxError(line, `there is no label ${value}`);
      return target - at - 1;
    };
    const byte = at * slotBytes;
    view.setUint8(byte, e.opcode);
    view.setUint8(byte + 1, (e.destination ?? 0) | ((e.source ?? 0) << 4));
    view.setInt16(byte + 2, resolve(e.offset), true);
    view.setInt32(byte + 4, resolve(e.immediate), true);
    if (e.high !== undefined) view.setInt32(byte + 12, e.high, true);
    at += e.high === undefined ? 1 : 2;
  }
  return bytes;
}

const number = String.raw`-?(?:0x[0-9a-fA-F]+|\d+)`;
const value = (text: string): number => Number(text.startsWith('-') ? -Number(text.slice(1)) : text);
const target = (text: string): number | string => (/^[+-]?\d/.test(text) ? Number(text) : text);
const place = String.raw`\(?(?:\(([us])(8|16|32|64) \*\))?\(?r(\d+) ([+-]) (\d+)`;
const bySymbol = (table: Readonly<Record<string, { readonly symbol: string; readonly code: number }>>) =>
  new Map(Object.entries(table).map(([name, row]) => [row.symbol, { name, code: row.code }]));
const aluBySymbol = bySymbol(aluOperations);
const conditionBySymbol = bySymbol(conditions);
const atomicBySymbol = new Map(Object.values(atomicOperations).map(({ symbol, code }) => [symbol, code]));
const atomicByName: Readonly<Record<string, { readonly code: number }>> = atomicOperations;
const sizeOf = (bits: string): number => sizeCodes[(Number(bits) / 8) as AccessSize] << 3;

type Groups = readonly (string | undefined)[];
const rules: readonly (readonly [RegExp, (g: Groups) => Encoding | null])[] = [
  [/^exit$/, () => ({ opcode: (jumpCodes.exit << 4) | classes.jmp })],
  [/^call (-?\d+)$/, (g) => ({ opcode: (jumpCodes.call << 4) | classes.jmp, immediate: Number(g[1]) })],
  [
    /^call (?:pc([+-]\d+)|([A-Za-z_]\w*))$/,
    (g) => ({
      opcode: (jumpCodes.call << 4) | classes.jmp,
      source: callKinds.local,
      immediate: g[1] === undefined ? g[2]! : Number(g[1]),
    }),
  ],
  [
    /^goto(l?) ([+-]?\w+)$/,
    (g) =>
      g[1] ? { opcode: classes.jmp32, immediate: target(g[2]!) } : { opcode: classes.jmp, offset: target(g[2]!) },
  ],
  [
    new RegExp(String.raw`^if ([rw])(\d+) (s?[<>]=?|[!=]=|&) (?:([rw])(\d+)|(${number})) goto ([+-]?\w+)$`),
    (g) => {
      const condition = conditionBySymbol.get(g[3]!);
      if (condition === undefined || (g[4] !== undefined && g[4] !== g[1])) return null;
      const opcode = (condition.code << 4) | (g[1] === 'w' ? classes.jmp32 : classes.jmp);
      const common = { destination: Number(g[2]), offset: target(g[7]!) };
      if (g[5] !== undefined) return { opcode: opcode | 8, source: Number(g[5]), ...common };
      return { opcode, immediate: value(g[6]!), ...common };
    },
  ],
  [
    new RegExp(String.raw`^r(\d+) = (${number}) ll$`),
    (g) => {
      const constant = g[2]!.startsWith('-') ? -BigInt(g[2]!.slice(1)) : BigInt(g[2]!);
      const words = [BigInt.asIntN(32, constant), BigInt.asIntN(32, constant >> 32n)].map(Number) as [number, number];
      return { opcode: sizeCodes[8] << 3, destination: Number(g[1]), immediate: words[0], high: words[1] };
    },
  ],
  [
    /^r(\d+) = (map|fd) (\d+)(?: value \+ (\d+))? ll$/,
    (g) => {
      const kinds = g[2] === 'map' ? (['mapByIndex', 'valueByIndex'] as const) : (['mapByFd', 'valueByFd'] as const);
      const source = constantKinds[kinds[g[4] === undefined ? 0 : 1]];
      return {
        opcode: sizeCodes[8] << 3,
        destination: Number(g[1]),
        source,
        immediate: Number(g[3]),
        high: Number(g[4] ?? 0),
      };
    },
  ],
  [
    /^([rw])(\d+) = -([rw])(\d+)$/,
    (g) =>
      g[1] === g[3] && g[2] === g[4]
        ? { opcode: (negateCode << 4) | (g[1] === 'w' ? classes.alu : classes.alu64), destination: Number(g[2]) }
        : null,
  ],
  [
    /^([rw])(\d+) = \(s(8|16|32)\)([rw])(\d+)$/,
    (g) =>
      g[1] === g[4]
        ? {
            opcode: (aluOperations.mov.code << 4) | 8 | (g[1] === 'w' ? classes.alu : classes.alu64),
            destination: Number(g[2]),
            source: Number(g[5]),
            offset: Number(g[3]),
          }
        : null,
  ],
  [
    /^r(\d+) = (bswap|le|be)(16|32|64) r(\d+)$/,
    (g) =>
      g[1] === g[4]
        ? {
            opcode: (swapCode << 4) | (g[2] === 'bswap' ? classes.alu64 : classes.alu) | (g[2] === 'be' ? 8 : 0),
            destination: Number(g[1]),
            immediate: Number(g[3]),
          }
        : null,
  ],
  [
    new RegExp(String.raw`^r(\d+) = \*${place}\)$`),
    (g) => ({
      opcode: ((g[2] === 's' ? modes.memsx : modes.mem) << 5) | sizeOf(g[3]!) | classes.ldx,
      destination: Number(g[1]),
      source: Number(g[4]),
      offset: Number(`${g[5]}${g[6]}`),
    }),
  ],
  [
    new RegExp(String.raw`^\*${place}\) = (?:r(\d+)|(${number}))$`),
    (g) => ({
      opcode: (modes.mem << 5) | sizeOf(g[2]!) | (g[6] === undefined ? classes.st : classes.stx),
      destination: Number(g[3]),
      offset: Number(`${g[4]}${g[5]}`),
      ...(g[6] === undefined ? { immediate: value(g[7]!) } : { source: Number(g[6]) }),
    }),
  ],
  [
    new RegExp(String.raw`^lock \*${place}\) ([+|&^]=) [rw](\d+)$`),
    (g) => ({
      opcode: (modes.atomic << 5) | sizeOf(g[2]!) | classes.stx,
      destination: Number(g[3]),
      offset: Number(`${g[4]}${g[5]}`),
      source: Number(g[7]),
      immediate: atomicBySymbol.get(g[6] as '+=')!,
    }),
  ],
  [
    new RegExp(String.raw`^[rw](\d+) = atomic_fetch_(add|or|and|xor)\(${place}\), [rw](\d+)\)$`),
    (g) => ({
      opcode: (modes.atomic << 5) | sizeOf(g[4]!) | classes.stx,
      destination: Number(g[5]),
      offset: Number(`${g[6]}${g[7]}`),
      source: Number(g[1]),
      immediate: atomicByName[g[2]!]!.code | fetchBit,
    }),
  ],
  [
    /^[rw](\d+) = (xchg|cmpxchg)(32_32|_64)\(r(\d+) ([+-]) (\d+), (?:[rw]0, )?[rw](\d+)\)$/,
    (g) => ({
      opcode: (modes.atomic << 5) | sizeOf(g[3]!.slice(-2)) | classes.stx,
      destination: Number(g[4]),
      offset: Number(`${g[5]}${g[6]}`),
      source: Number(g[7]),
      immediate: atomicOperations[g[2] === 'xchg' ? 'exchange' : 'compare-exchange'].code | fetchBit,
    }),
  ],
  [
    new RegExp(String.raw`^([rw])(\d+) (\S+) (?:([rw])(\d+)|(${number}))$`),
    (g) => {
      const operation = aluBySymbol.get(g[3]!);
      if (operation === undefined || (g[4] !== undefined && g[4] !== g[1])) return null;
      const opcode = (operation.code << 4) | (g[1] === 'w' ? classes.alu : classes.alu64);
      const offset = operation.name === 'sdiv' || operation.name === 'smod' ? 1 : 0;
      if (g[5] !== undefined) return { opcode: opcode | 8, destination: Number(g[2]), source: Number(g[5]), offset };
      return { opcode, destination: Number(g[2]), immediate: value(g[6]!), offset };
    },
  ],
];

function encode(line: string): Encoding | null {
  const text = line.replace(/\s+/g, ' ');
  for (const [pattern, make] of rules) {
    const groups = pattern.exec(text);
    const made = groups === null ? null : make(groups);
    if (made !== null) return made;
  }
  return null;
}
