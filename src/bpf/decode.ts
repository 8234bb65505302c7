/**
 * Bytes to instructions (RFC 9669, sections 3 to 5; little-endian programs). All that the RFC does not define is refused,
 * fields that must be zero included, so that what is accepted today keeps its meaning.
 */
import { type BpfDecodeCode, BpfError } from './errors.ts';
import {
  type AccessSize,
  type AluOperation,
  type AtomicOperation,
  aluOperations,
  atomicOperations,
  type BpfCodeList,
  type BpfInstruction,
  type Condition,
  callKinds,
  classes,
  conditions,
  constantKinds,
  fetchBit,
  framePointer,
  immediateSource,
  jumpCodes,
  modes,
  negateCode,
  sizeCodes,
  slotBytes,
  swapCode,
  type Width,
} from './instructions.ts';

/** Programs of more instructions than this are refused. */
export const maximumInstructions = 65_536;

const byCode = <K extends string>(table: Readonly<Record<K, { readonly code: number }>>): ReadonlyMap<number, K> =>
  new Map((Object.keys(table) as K[]).map((name) => [table[name].code, name]));

const aluByCode: ReadonlyMap<number, AluOperation> = new Map(
  [...byCode<AluOperation>(aluOperations)].map(([code, name]) => [
    code,
    name === 'sdiv' ? 'div' : name === 'smod' ? 'mod' : name,
  ]),
);
const conditionByCode = byCode<Condition>(conditions);
const atomicByCode = byCode<AtomicOperation>(atomicOperations);
const sizeByCode: ReadonlyMap<number, AccessSize> = new Map(
  Object.entries(sizeCodes).map(([size, code]) => [code, Number(size) as AccessSize]),
);

interface Fields {
  readonly at: number;
  readonly opcode: number;
  readonly destination: number;
  readonly source: number;
  readonly offset: number;
  readonly immediate: number;
}

function refuse(code: BpfDecodeCode, { at }: { at: number }, reason: string): never {
  throw new BpfError(code, at, reason);
}

function unused(f: Fields, ...names: ('destination' | 'source' | 'offset' | 'immediate')[]): void {
  for (const name of names) {
    if (f[name] !== 0)
      refuse(
        'reserved-field',
        f,
        `the field ${name} is ${f[name]} and must be 0 for opcode 0x${f.opcode.toString(16)}`,
      );
  }
}

function unknown(f: Fields): never {
  return refuse('unknown-opcode', f, `opcode 0x${f.opcode.toString(16).padStart(2, '0')} is not defined`);
}

/**
 * @throws BpfError with the number of the first instruction that is not one
 */
export function decode(bytes: Uint8Array): BpfCodeList {
  if (bytes.length === 0) throw new BpfError('empty-program', null, 'the program has no instructions');
  const count = Math.floor(bytes.length / slotBytes);
  if (bytes.length % slotBytes !== 0)
    refuse('truncated-instruction', { at: count }, `the program ends after ${bytes.length % slotBytes} of 8 bytes`);
  if (count > maximumInstructions)
    throw new BpfError('program-too-long', null, `${count} instructions are more than ${maximumInstructions}`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const code: (BpfInstruction | null)[] = [];
  while (code.length < count) {
    const at = code.length;
    const byte = at * slotBytes;
    const registers = view.getUint8(byte + 1);
    const f: Fields = {
      at,
      opcode: view.getUint8(byte),
      destination: registers & 15,
      source: registers >> 4,
      offset: view.getInt16(byte + 2, true),
      immediate: view.getInt32(byte + 4, true),
    };
    if (f.destination > framePointer) refuse('bad-register', f, `there is no register r${f.destination}`);
    if (f.source > framePointer) refuse('bad-register', f, `there is no register r${f.source}`);
    const instruction = decodeOne(f, view);
    code.push(instruction);
    const { kind } = instruction;
    if (kind === 'constant' || kind === 'map' || kind === 'map-value') code.push(null);
  }
  return code;
}

function decodeOne(f: Fields, view: DataView): BpfInstruction {
  switch (f.opcode & 7) {
    case classes.alu:
      return arithmetic(f, 32);
    case classes.alu64:
      return arithmetic(f, 64);
    case classes.jmp:
      return jump(f, 64);
    case classes.jmp32:
      return jump(f, 32);
    case classes.ld:
      return loadConstant(f, view);
    case classes.ldx:
      return load(f);
    case classes.st:
      return store(f, true);
    default:
      return f.opcode >> 5 === modes.atomic ? atomic(f) : store(f, false);
  }
}

/** The operand that bit 3 of the opcode chooses; the field that is not chosen must be zero. */
function operand(f: Fields): { source: number; immediate: number } {
  if ((f.opcode & 8) === 0) {
    unused(f, 'source');
    return { source: immediateSource, immediate: f.immediate };
  }
  unused(f, 'immediate');
  return { source: f.source, immediate: 0 };
}

function arithmetic(f: Fields, width: Width): BpfInstruction {
  const { destination: register } = f;
  const code = f.opcode >> 4;
  if (code === negateCode) {
    if ((f.opcode & 8) !== 0) unknown(f);
    unused(f, 'source', 'offset', 'immediate');
    return { kind: 'negate', width, register };
  }
  if (code === swapCode) return swap(f, width);
  const operation = aluByCode.get(code);
  if (operation === undefined) return unknown(f);
  if (operation === 'mov' && f.offset !== 0) {
    const bits = f.offset;
    if ((f.opcode & 8) === 0 || (bits !== 8 && bits !== 16 && (bits !== 32 || width === 32)))
      return refuse('reserved-field', f, `a move of ${width} bits cannot extend a sign from ${bits} bits`);
    unused(f, 'immediate');
    return { kind: 'extend', width, bits, register, source: f.source };
  }
  if (operation === 'div' || operation === 'mod') {
    if (f.offset !== 0 && f.offset !== 1)
      return refuse('reserved-field', f, `the offset of a division is 0 or 1, not ${f.offset}`);
    const signed = f.offset === 1;
    return { kind: 'alu', width, operation: signed ? `s${operation}` : operation, register, ...operand(f) };
  }
  unused(f, 'offset');
  return { kind: 'alu', width, operation, register, ...operand(f) };
}

function swap(f: Fields, width: Width): BpfInstruction {
  const bits = f.immediate;
  unused(f, 'source', 'offset');
  if (bits !== 16 && bits !== 32 && bits !== 64)
    return refuse('reserved-field', f, `bytes can be swapped in 16, 32 or 64 bits, not in ${bits}`);
  const big = (f.opcode & 8) !== 0;
  if (width === 64 && big) return unknown(f);
  return { kind: 'swap', order: width === 64 ? 'swap' : big ? 'be' : 'le', bits, register: f.destination };
}

function jump(f: Fields, width: Width): BpfInstruction {
  const code = f.opcode >> 4;
  const bySource = (f.opcode & 8) !== 0;
  switch (code) {
    case jumpCodes.always: {
      if (bySource) return unknown(f);
      unused(f, 'destination', 'source', width === 64 ? 'immediate' : 'offset');
      const long = width === 32;
      return { kind: 'goto', target: f.at + 1 + (long ? f.immediate : f.offset), long };
    }
    case jumpCodes.exit:
      if (bySource || width === 32) return unknown(f);
      unused(f, 'destination', 'source', 'offset', 'immediate');
      return { kind: 'exit' };
    case jumpCodes.call:
      return call(f, width, bySource);
  }
  const condition = conditionByCode.get(code);
  if (condition === undefined) return unknown(f);
  return { kind: 'branch', width, condition, register: f.destination, ...operand(f), target: f.at + 1 + f.offset };
}

function call(f: Fields, width: Width, bySource: boolean): BpfInstruction {
  if (width === 32) return unknown(f);
  if (bySource) return refuse('unsupported-call', f, 'calls through a register (callx) are not supported');
  unused(f, 'destination', 'offset');
  switch (f.source) {
    case callKinds.helper:
      return { kind: 'call', helper: f.immediate };
    case callKinds.local:
      return { kind: 'call-local', target: f.at + 1 + f.immediate };
    case callKinds.byBtf:
      return refuse('unsupported-call', f, `the call of helper ${f.immediate} by BTF id is not supported`);
    default:
      return refuse('unsupported-call', f, `there is no call of kind ${f.source}`);
  }
}

function loadConstant(f: Fields, view: DataView): BpfInstruction {
  const mode = f.opcode >> 5;
  if (mode === modes.abs || mode === modes.ind)
    return refuse('legacy-packet-access', f, 'the deprecated packet access instructions are not supported');
  if (f.opcode !== ((modes.imm << 5) | (sizeCodes[8] << 3))) return unknown(f);
  unused(f, 'offset');
  const next = (f.at + 1) * slotBytes;
  if (next >= view.byteLength)
    return refuse('truncated-constant', f, 'the second half of a 64-bit constant is missing');
  if (view.getUint32(next, true) !== 0)
    return refuse(
      'reserved-field',
      { at: f.at + 1 },
      'the second half of a 64-bit constant has an opcode or registers',
    );
  const high = view.getInt32(next + 4, true);
  const { destination: register } = f;
  switch (f.source) {
    case constantKinds.number:
      return { kind: 'constant', register, value: (BigInt(high >>> 0) << 32n) | BigInt(f.immediate >>> 0) };
    case constantKinds.mapByFd:
    case constantKinds.mapByIndex:
      if (high !== 0) return refuse('reserved-field', f, `the reference to map ${f.immediate} has ${high} besides it`);
      return { kind: 'map', register, map: f.immediate, byFd: f.source === constantKinds.mapByFd };
    case constantKinds.valueByFd:
    case constantKinds.valueByIndex: {
      const byFd = f.source === constantKinds.valueByFd;
      return { kind: 'map-value', register, map: f.immediate, offset: high >>> 0, byFd };
    }
    case constantKinds.variable:
      return refuse('unsupported-constant', f, `there are no variables of the platform such as ${f.immediate}`);
    case constantKinds.code:
      return refuse('unsupported-constant', f, 'addresses of code are not supported');
    default:
      return refuse('unsupported-constant', f, `there is no 64-bit constant of kind ${f.source}`);
  }
}

function load(f: Fields): BpfInstruction {
  const mode = f.opcode >> 5;
  const size = sizeByCode.get((f.opcode >> 3) & 3)!;
  const signed = mode === modes.memsx;
  if ((mode !== modes.mem && !signed) || (signed && size === 8)) return unknown(f);
  unused(f, 'immediate');
  return { kind: 'load', size, signed, register: f.destination, base: f.source, offset: f.offset };
}

function store(f: Fields, constant: boolean): BpfInstruction {
  if (f.opcode >> 5 !== modes.mem) return unknown(f);
  const size = sizeByCode.get((f.opcode >> 3) & 3)!;
  unused(f, constant ? 'source' : 'immediate');
  const source = constant ? immediateSource : f.source;
  return { kind: 'store', size, base: f.destination, offset: f.offset, source, immediate: f.immediate };
}

function atomic(f: Fields): BpfInstruction {
  const size = sizeByCode.get((f.opcode >> 3) & 3)!;
  if (size !== 4 && size !== 8) return unknown(f);
  const fetch = (f.immediate & fetchBit) !== 0;
  const operation = atomicByCode.get(f.immediate & ~fetchBit);
  const always = operation === 'exchange' || operation === 'compare-exchange';
  if (operation === undefined || (always && !fetch))
    return refuse('reserved-field', f, `there is no atomic operation 0x${(f.immediate >>> 0).toString(16)}`);
  return { kind: 'atomic', size, operation, fetch, base: f.destination, offset: f.offset, source: f.source };
}
