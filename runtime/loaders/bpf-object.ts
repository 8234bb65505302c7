/**
 * BPF programs out of ELF objects, as `clang -target bpf -c` writes them: a program for each global function outside of
 * `.text`, with the functions that it calls behind it, and maps for what `.maps`, `maps`, `.data`, `.bss` and `.rodata`
 * declare. System V ABI, "Object Files"; relocations as in LLVM's "BPF Relocations".
 *
 * Nothing of the file is believed: a damaged or foreign one is a `LoaderError` that names what is wrong. What the
 * instructions do is the verifier's matter.
 */
import type { BpfMap } from '../../src/bpf/environment.ts';
import { callKinds, classes, constantKinds, jumpCodes, sizeCodes, slotBytes } from '../../src/bpf/instructions.ts';
import type { BpfProgramSource } from '../../src/bpf/verifier.ts';
import { LoaderError } from '../errors.ts';
import { Btf, type MapDeclaration } from './bpf-btf.ts';
import { ByteReader } from './byte-reader.ts';
import { isElf } from './elf.ts';

export interface BpfObjectProgram extends BpfProgramSource {
  /** The section that its function is in. */
  readonly section: string;
  /** Functions in the program, by number of their first instruction. */
  readonly functions: readonly { readonly name: string; readonly start: number }[];
}

export interface BpfObject {
  readonly programs: readonly BpfObjectProgram[];
  /** Of all programs together: they share them. */
  readonly maps: readonly BpfMap[];
}

interface Section {
  readonly index: number;
  readonly name: string;
  readonly type: number;
  readonly flags: number;
  readonly size: number;
  readonly bytes: Uint8Array;
  /** Section that this one is about. */
  readonly info: number;
  readonly link: number;
}
interface Symbol {
  readonly name: string;
  readonly type: number;
  readonly isGlobal: boolean;
  readonly section: number;
  readonly value: number;
  readonly size: number;
}
interface Relocation {
  readonly type: number;
  readonly symbol: Symbol;
}
interface Code {
  readonly name: string;
  readonly section: Section;
  readonly offset: number;
  readonly size: number;
}

const machineBpf = 247;
const sectionTypes = { bits: 1, symbols: 2, rela: 4, nobits: 8, rel: 9 } as const;
const flagExecutable = 4;
const symbolTypes = { function: 2, section: 3 } as const;
const relocations = { constant: 1, call: 10 } as const;
const mapTypes: Readonly<Record<number, string>> = {
  1: 'hash',
  2: 'array',
  3: 'program array',
  6: 'per-CPU array',
  9: 'LRU hash',
};
const arrayMap = 2;
const flagReadOnlyForPrograms = 0x80;
const legacyMapBytes = 20;
const maximumFunctions = 1024;

const callOpcode = classes.jmp | (jumpCodes.call << 4);
const constantOpcode = classes.ld | (sizeCodes[8] << 3);

/**
 * @throws LoaderError; never another error, whatever the bytes are
 */
export function loadBpfObject(file: Uint8Array): BpfObject {
  // A host's subclass of Uint8Array may cut slices without copying them.
  return new ObjectFile(new Uint8Array(file.buffer, file.byteOffset, file.byteLength)).load();
}

class ObjectFile {
  private readonly sections: readonly Section[];
  private readonly symbols: readonly Symbol[];
  /** By section, then by offset. */
  private readonly relocations = new Map<number, Map<number, Relocation>>();
  private readonly maps: BpfMap[] = [];
  /** Maps by `section:offset`, and the sections of global data. */
  private readonly mapNumbers = new Map<string, number>();

  constructor(file: Uint8Array) {
    this.sections = readSections(file);
    const table = this.sections.find(({ type }) => type === sectionTypes.symbols);
    if (table === undefined) throw new LoaderError('bad-section', 'the object has no symbols');
    this.symbols = readSymbols(table, this.sections);
    for (const section of this.sections) this.readRelocations(section, table);
  }

  load(): BpfObject {
    this.declareMaps();
    const functions = this.symbols
      .filter(({ type }) => type === symbolTypes.function)
      .map((symbol) => this.codeOf(symbol));
    const isGlobal = this.symbols.filter(({ type }) => type === symbolTypes.function).map((symbol) => symbol.isGlobal);
    const global = functions.filter((_, index) => isGlobal[index]);
    const outside = global.filter(({ section }) => section.name !== '.text');
    const roots = outside.length > 0 ? outside : global;
    if (roots.length === 0) throw new LoaderError('no-programs', 'the object has no global function to be a program');
    const linked = roots.map((root) => this.link(root, functions));
    return { programs: linked.map((program) => ({ ...program, maps: this.maps })), maps: this.maps };
  }

  private codeOf({ name, section, value, size }: Symbol): Code {
    const of = this.sections[section];
    if (of === undefined || (of.flags & flagExecutable) === 0)
      throw new LoaderError('bad-symbol', `function ${name} is not in a section of code`);
    if (value % slotBytes !== 0 || size % slotBytes !== 0 || size === 0 || value + size > of.bytes.length)
      throw new LoaderError(
        'bad-symbol',
        `function ${name}, ${size} bytes at ${value}, does not fit section ${of.name}`,
      );
    return { name, section: of, offset: value, size };
  }

  private readRelocations(section: Section, table: Section): void {
    const target = this.sections[section.info];
    if (target === undefined) return;
    const matters = (target.flags & flagExecutable) !== 0 || isData(target.name);
    if (section.type === sectionTypes.rela && matters)
      throw new LoaderError(
        'bad-relocation',
        `section ${section.name} has relocations of a kind that BPF does not use`,
      );
    if (section.type !== sectionTypes.rel || !matters) return;
    if (section.link !== table.index || section.bytes.length % 16 !== 0)
      throw new LoaderError('bad-relocation', `section ${section.name} is damaged`);
    if (isData(target.name) && section.bytes.length > 0)
      throw new LoaderError('bad-relocation', `section ${target.name} holds addresses, which are not supported`);
    const reader = new ByteReader(section.bytes, `section ${section.name}`);
    const found = this.relocations.get(section.info) ?? new Map<number, Relocation>();
    for (let at = 0; at < reader.length; at += 16) {
      const symbol = this.symbols[reader.u32(at + 12)];
      if (symbol === undefined)
        throw new LoaderError(
          'bad-relocation',
          `section ${section.name} names symbol ${reader.u32(at + 12)}, which is not there`,
        );
      found.set(reader.u64(at), { type: reader.u32(at + 8), symbol });
    }
    this.relocations.set(section.info, found);
  }

  // --- maps
  private declareMaps(): void {
    const declared = this.sections.find(({ name }) => name === '.maps');
    const legacy = this.sections.find(({ name }) => name === 'maps');
    if (declared !== undefined) {
      const section = this.sections.find(({ name }) => name === '.BTF');
      if (section === undefined) throw new LoaderError('bad-map', 'section .maps needs .BTF; compile with -g');
      const btf = new Btf(new ByteReader(section.bytes, 'section .BTF'));
      for (const symbol of this.objectsOf(declared)) this.addMap(declared, symbol, btf.map(symbol.name));
    }
    if (legacy === undefined) return;
    const reader = new ByteReader(legacy.bytes, 'section maps');
    for (const symbol of this.objectsOf(legacy)) {
      if (symbol.size < legacyMapBytes)
        throw new LoaderError('bad-map', `map ${symbol.name} is declared in ${symbol.size} of ${legacyMapBytes} bytes`);
      const word = (index: number) => reader.u32(symbol.value + index * 4);
      const declaration = { type: word(0), keySize: word(1), valueSize: word(2), maxEntries: word(3), flags: word(4) };
      this.addMap(legacy, symbol, declaration);
    }
  }
  private objectsOf(section: Section): readonly Symbol[] {
    return this.symbols.filter(
      ({ section: of, type, name }) => of === section.index && type !== symbolTypes.section && name !== '',
    );
  }
  private addMap(
    section: Section,
    { name, value }: Symbol,
    { type, keySize, valueSize, maxEntries, flags }: MapDeclaration,
  ): void {
    if (type !== arrayMap)
      throw new LoaderError(
        'bad-map',
        `map ${name} is of type ${type}${mapTypes[type] ? ` (${mapTypes[type]})` : ''}; only arrays are supported`,
      );
    if (keySize !== 4) throw new LoaderError('bad-map', `the keys of array ${name} have ${keySize} bytes instead of 4`);
    const total = valueSize * maxEntries;
    if (!(total > 0 && total < 2 ** 28))
      throw new LoaderError('bad-map', `array ${name} has ${maxEntries} values of ${valueSize} bytes`);
    const write = (flags & flagReadOnlyForPrograms) === 0;
    this.mapNumbers.set(`${section.index}:${value}`, this.maps.length);
    this.maps.push({ name, keySize: 4, valueSize, maxEntries, write, contents: null });
  }
  /** The map that a section of global data becomes. */
  private dataMap(section: Section): number {
    const key = `${section.index}:`;
    const known = this.mapNumbers.get(key);
    if (known !== undefined) return known;
    this.mapNumbers.set(key, this.maps.length);
    this.maps.push({
      name: section.name,
      keySize: 4,
      valueSize: section.size,
      maxEntries: 1,
      write: !section.name.startsWith('.rodata'),
      contents: section.type === sectionTypes.nobits ? null : section.bytes.slice(),
    });
    return this.maps.length - 1;
  }

  // --- programs
  /** A function with all that it calls behind it, calls and references resolved. */
  private link(root: Code, functions: readonly Code[]): BpfObjectProgram {
    const parts: { readonly code: Code; readonly start: number }[] = [];
    const placed = new Map<string, number>();
    let slots = 0;
    const place = (code: Code): number => {
      const key = `${code.section.index}:${code.offset}`;
      const known = placed.get(key);
      if (known !== undefined) return known;
      if (parts.length === maximumFunctions)
        throw new LoaderError('bad-section', `program ${root.name} has more than ${maximumFunctions} functions`);
      const start = slots;
      placed.set(key, start);
      parts.push({ code, start });
      slots += code.size / slotBytes;
      return start;
    };
    place(root);
    const pieces: Uint8Array[] = [];
    for (let index = 0; index < parts.length; index++) {
      const { code, start } = parts[index]!;
      const bytes = code.section.bytes.slice(code.offset, code.offset + code.size);
      this.resolve(code, bytes, start, functions, place);
      pieces.push(bytes);
    }
    const bytes = new Uint8Array(slots * slotBytes);
    pieces.forEach((piece, index) => bytes.set(piece, parts[index]!.start * slotBytes));
    return {
      name: root.name,
      section: root.section.name,
      bytes,
      maps: this.maps,
      functions: parts.map(({ code, start }) => ({ name: code.name, start })),
    };
  }

  private resolve(
    code: Code,
    bytes: Uint8Array,
    start: number,
    functions: readonly Code[],
    place: (code: Code) => number,
  ): void {
    const view = new DataView(bytes.buffer);
    const here = this.relocations.get(code.section.index);
    for (let at = 0; at < bytes.length; at += slotBytes) {
      const offset = code.offset + at;
      const opcode = bytes[at]!;
      const relocation = here?.get(offset);
      const where = `${code.name}, instruction ${at / slotBytes}`;
      if (opcode === callOpcode) {
        const kind = bytes[at + 1]! >> 4;
        if (relocation === undefined && kind !== callKinds.local) continue;
        const target = this.calledBy(code, offset, view.getInt32(at + 4, true), relocation, where);
        const called = functions.find((f) => f.section.index === target.section && f.offset === target.offset);
        if (called === undefined)
          throw new LoaderError(
            'bad-relocation',
            `${where}: the call goes to ${target.offset}, where no function begins`,
          );
        bytes[at + 1] = callKinds.local << 4;
        view.setInt32(at + 4, place(called) - (start + at / slotBytes) - 1, true);
        continue;
      }
      if (opcode === constantOpcode) {
        if (relocation !== undefined) this.refer(relocation, bytes, view, at, where);
        at += slotBytes;
        continue;
      }
      if (relocation !== undefined)
        throw new LoaderError(
          'bad-relocation',
          `${where}: a relocation of type ${relocation.type} belongs to neither a call nor a constant`,
        );
    }
  }

  private calledBy(code: Code, offset: number, immediate: number, relocation: Relocation | undefined, where: string) {
    if (relocation === undefined)
      return { section: code.section.index, offset: offset + slotBytes + immediate * slotBytes };
    const { symbol, type } = relocation;
    if (type !== relocations.call) throw new LoaderError('bad-relocation', `${where}: type ${type} for a call`);
    if (symbol.section === 0)
      throw new LoaderError('bad-symbol', `${where}: ${symbol.name} is called, but the object does not define it`);
    return { section: symbol.section, offset: symbol.value + (immediate + 1) * slotBytes };
  }

  /** Makes a 64-bit constant a reference to a map, or into a map's value. */
  private refer({ symbol, type }: Relocation, bytes: Uint8Array, view: DataView, at: number, where: string): void {
    const fail = (reason: string): never => {
      throw new LoaderError('bad-relocation', `${where}: ${reason}`);
    };
    if (type !== relocations.constant) fail(`type ${type} for a constant`);
    if (at + 2 * slotBytes > bytes.length) fail('the constant is cut off');
    if (symbol.section === 0)
      throw new LoaderError('bad-symbol', `${where}: ${symbol.name} is used, but the object does not define it`);
    const section = this.sections[symbol.section];
    if (section === undefined) return fail(`${symbol.name} is in no section`);
    const addend = view.getInt32(at + 4, true);
    const register = bytes[at + 1]! & 15;
    const put = (kind: number, map: number, offset: number): void => {
      bytes[at + 1] = register | (kind << 4);
      view.setInt32(at + 4, map, true);
      view.setInt32(at + slotBytes + 4, offset, true);
    };
    const map = this.mapNumbers.get(`${symbol.section}:${symbol.value + addend}`);
    if (map !== undefined) return put(constantKinds.mapByIndex, map, 0);
    if (!isData(section.name)) return fail(`${symbol.name || section.name} is neither a map nor data`);
    const offset = symbol.value + addend;
    if (offset < 0 || offset >= section.size)
      fail(`offset ${offset} lies outside of ${section.name}, ${section.size} bytes`);
    put(constantKinds.valueByIndex, this.dataMap(section), offset);
  }
}

const isData = (name: string): boolean => /^\.(?:data|rodata|bss)(?:\.|$)/.test(name);

function readSections(file: Uint8Array): Section[] {
  if (!isElf(file))
    throw new LoaderError('unknown-format', 'the file does not begin with 7f 45 4c 46, so it is no ELF');
  const reader = new ByteReader(file, 'the file');
  if (reader.u8(4) !== 2) throw new LoaderError('foreign-class', 'BPF objects are ELFs of 64 bits');
  if (reader.u8(5) !== 1) throw new LoaderError('big-endian', 'the object is big endian; compile for -target bpfel');
  if (reader.u16(18) !== machineBpf)
    throw new LoaderError('foreign-machine', `the object is for machine ${reader.u16(18)}, not for BPF`);
  if (reader.u16(16) !== 1)
    throw new LoaderError('bad-header', `the ELF is of type ${reader.u16(16)}, not a relocatable object`);
  const [table, entry, count, names] = [reader.u64(40), reader.u16(58), reader.u16(60), reader.u16(62)];
  if (entry !== 64) throw new LoaderError('bad-header', `the headers of sections have ${entry} bytes instead of 64`);
  reader.slice(table, entry * count);
  const at = (index: number, field: number) => table + index * entry + field;
  const bytesOf = (index: number): Uint8Array =>
    reader.u32(at(index, 4)) === sectionTypes.nobits || index === 0
      ? new Uint8Array(0)
      : reader.slice(reader.u64(at(index, 24)), reader.u64(at(index, 32)));
  if (names >= count)
    throw new LoaderError('bad-header', `section ${names}, which should hold the names, is not there`);
  const strings = new ByteReader(bytesOf(names), 'the table of section names');
  return Array.from({ length: count }, (_, index) => ({
    index,
    name: strings.text(reader.u32(at(index, 0))),
    type: reader.u32(at(index, 4)),
    flags: reader.u32(at(index, 8)),
    size: reader.u64(at(index, 32)),
    bytes: bytesOf(index),
    link: reader.u32(at(index, 40)),
    info: reader.u32(at(index, 44)),
  }));
}

function readSymbols(table: Section, sections: readonly Section[]): Symbol[] {
  const strings = sections[table.link];
  if (strings === undefined || table.bytes.length % 24 !== 0)
    throw new LoaderError('bad-section', 'the table of symbols is damaged');
  const names = new ByteReader(strings.bytes, 'the table of symbol names');
  const reader = new ByteReader(table.bytes, 'the table of symbols');
  return Array.from({ length: reader.length / 24 }, (_, index) => {
    const at = index * 24;
    const info = reader.u8(at + 4);
    const symbol = {
      name: names.length === 0 ? '' : names.text(reader.u32(at)),
      type: info & 15,
      isGlobal: info >> 4 !== 0,
      section: reader.u16(at + 6),
    };
    // Absolute values of other kinds of symbols are nobody's business.
    const isPlace = symbol.section > 0 && symbol.section < sections.length;
    return { ...symbol, value: isPlace ? reader.u64(at + 8) : 0, size: isPlace ? reader.u64(at + 16) : 0 };
  });
}
