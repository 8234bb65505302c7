/*
 * The operations that are compared with a real CPU: the operands they take and how the library's functions are called.
 */
import { readFileSync } from 'node:fs';
import { nextControlWord, nextMxcsr, nextOperand, type Operand, type OperandKind, RandomSource } from './operands.ts';

/** The exports of softfloat.wasm by name. */
export type Softfloat = Record<string, WebAssembly.Global & ((...operands: (number | bigint)[]) => number | bigint)>;

/** One function of the library. */
export interface Operation {
  readonly name: string;
  /** The kinds of the operands. */
  readonly operands: readonly OperandKind[];
  /** Whose control register it obeys. */
  readonly unit: 'x87' | 'sse';
  /** The function's parameters in their order. */
  readonly parameters: readonly ('operands' | 'control' | 'argument')[];
  /** The additional argument (truncate, quiet, predicate, ...) takes values below this. */
  readonly arguments: number;
  /** The format of the result: `80` leaves sign and exponent in `resultSe`. */
  readonly result: 80 | 64 | 32;
  /** Which exceptions, when unmasked, leave no result. */
  readonly withoutResult: number;
  /** The exported function, if it is not called like the operation. */
  readonly function?: string;
}

const BEFORE = 7;

function x87(name: string, operands: OperandKind[], more: Partial<Operation> = {}): Operation {
  const parameters = ['operands', 'control'] as const;
  return { name, operands, unit: 'x87', parameters, arguments: 1, result: 80, withoutResult: BEFORE, ...more };
}

function sse(name: string, operands: OperandKind[], more: Partial<Operation> = {}): Operation {
  const parameters = ['operands', 'control'] as const;
  const result = name.startsWith('f64') || name.endsWith('F64') ? 64 : 32;
  return { name, operands, unit: 'sse', parameters, arguments: 1, result, withoutResult: 63, ...more };
}

const withArgument = ['operands', 'control', 'argument'] as const;

/** The operations whose results have to be the CPU's to the bit. */
export const exactOperations: readonly Operation[] = [
  x87('f80Add', ['f80', 'f80']),
  x87('f80Sub', ['f80', 'f80']),
  x87('f80Mul', ['f80', 'f80']),
  x87('f80Div', ['f80', 'f80']),
  x87('f80Sqrt', ['f80']),
  x87('f80RoundToInt', ['integral']),
  x87('f80Scale', ['f80', 'integral']),
  x87('f80Extract', ['f80']),
  x87('f80Rem', ['f80', 'f80'], { parameters: ['operands', 'argument', 'control'], arguments: 2 }),
  x87('f80Compare', ['f80', 'f80'], { parameters: ['operands', 'argument'], arguments: 2, result: 32 }),
  x87('f80Examine', ['f80'], { parameters: ['operands'], result: 32 }),
  x87('f80FromF32', ['f32'], { parameters: ['operands'] }),
  x87('f80FromF64', ['f64'], { parameters: ['operands'] }),
  x87('f80FromI64', ['i64'], { parameters: ['operands'] }),
  x87('f80ToF32', ['f80'], { result: 32, withoutResult: 31 }),
  x87('f80ToF64', ['f80'], { result: 64, withoutResult: 31 }),
  x87('f80ToI16', ['integral'], { parameters: withArgument, arguments: 2, result: 32 }),
  x87('f80ToI32', ['integral'], { parameters: withArgument, arguments: 2, result: 32 }),
  x87('f80ToI64', ['integral'], { parameters: withArgument, arguments: 2, result: 64 }),
  x87('f80ToBcd', ['integral']),
  x87('f80FromBcd', ['bcd'], { parameters: ['operands'] }),
  sse('f64Add', ['f64', 'f64']),
  sse('f64Sub', ['f64', 'f64']),
  sse('f64Mul', ['f64', 'f64']),
  sse('f64Div', ['f64', 'f64']),
  sse('f64Sqrt', ['f64']),
  sse('f64Min', ['f64', 'f64']),
  sse('f64Max', ['f64', 'f64']),
  sse('f64Compare', ['f64', 'f64'], { parameters: withArgument, arguments: 2, result: 32 }),
  sse('f64CompareWith', ['f64', 'f64'], { parameters: withArgument, arguments: 32, result: 32 }),
  sse('f64RoundToInt', ['f64'], { parameters: withArgument, arguments: 16 }),
  sse('f64Fma', ['f64', 'f64', 'f64']),
  sse('f64Fma231', ['f64', 'f64', 'f64'], { function: 'f64Fma' }),
  sse('f64Fma132', ['f64', 'f64', 'f64'], { function: 'f64Fma' }),
  sse('f64ToF32', ['f64'], { result: 32 }),
  sse('f64ToI32', ['f64'], { parameters: withArgument, arguments: 2, result: 32 }),
  sse('f64ToI64', ['f64'], { parameters: withArgument, arguments: 2 }),
  sse('f32Add', ['f32', 'f32']),
  sse('f32Sub', ['f32', 'f32']),
  sse('f32Mul', ['f32', 'f32']),
  sse('f32Div', ['f32', 'f32']),
  sse('f32Sqrt', ['f32']),
  sse('f32Min', ['f32', 'f32']),
  sse('f32Max', ['f32', 'f32']),
  sse('f32Compare', ['f32', 'f32'], { parameters: withArgument, arguments: 2 }),
  sse('f32CompareWith', ['f32', 'f32'], { parameters: withArgument, arguments: 32 }),
  sse('f32RoundToInt', ['f32'], { parameters: withArgument, arguments: 16 }),
  sse('f32Fma', ['f32', 'f32', 'f32']),
  sse('f32ToF64', ['f32']),
  sse('f32ToI32', ['f32'], { parameters: withArgument, arguments: 2 }),
  sse('f32ToI64', ['f32'], { parameters: withArgument, arguments: 2, result: 64 }),
  sse('i32ToF32', ['i32']),
  sse('i64ToF32', ['i64']),
  sse('i32ToF64', ['i32'], { parameters: ['operands'] }),
  sse('i64ToF64', ['i64']),
];

/** The operations whose last bit is the processor's own affair. */
export const transcendentalOperations: readonly Operation[] = [
  x87('f80F2xm1', ['unit']),
  x87('f80Yl2x', ['positive', 'f80']),
  x87('f80Yl2xp1', ['small', 'f80']),
  x87('f80Ptan', ['angle']),
  x87('f80Patan', ['f80', 'f80']),
  x87('f80Sin', ['angle']),
  x87('f80Cos', ['angle']),
  x87('f80SinCos', ['angle']),
];

/** One call of an operation. */
export interface Request {
  readonly operation: Operation;
  readonly operands: readonly Operand[];
  readonly control: number;
  readonly argument: number;
}

/** What came of it, on the CPU or in the library. */
export interface Answer {
  readonly m: bigint;
  readonly se: number;
  readonly m2: bigint;
  readonly se2: number;
  readonly flags: number;
  readonly condition: number;
}

/** `count` requests for an operation; the same ones in each run. */
export function* requestsFor(operation: Operation, count: number, seed: number): Generator<Request> {
  let mixed = seed;
  for (const character of operation.name) mixed = Math.imul(mixed ^ character.charCodeAt(0), 0x01000193);
  const random = new RandomSource(mixed);
  for (let i = 0; i < count; i++) {
    const operands: Operand[] = [];
    for (const kind of operation.operands) operands.push(nextOperand(random, kind, operands.at(-1)));
    const control = operation.unit === 'x87' ? nextControlWord(random) : nextMxcsr(random);
    yield { operation, operands, control, argument: random.below(operation.arguments) };
  }
}

/** Calls the library. */
export function answerOf(softfloat: Softfloat, request: Request): Answer {
  const { operation } = request;
  const call: (number | bigint)[] = [];
  for (const parameter of operation.parameters) {
    if (parameter === 'control') call.push(request.control);
    else if (parameter === 'argument') call.push(request.argument);
    else {
      request.operands.forEach((operand, index) => {
        const kind = operation.operands[index]!;
        if (kind === 'f32' || kind === 'i32') call.push(Number(operand.m));
        else call.push(operand.m);
        if (!/^[fi](32|64)$/.test(kind)) call.push(operand.se);
      });
    }
  }
  const value = softfloat[operation.function ?? operation.name]!(...call);
  const has80 = operation.result === 80;
  const two = /Extract|SinCos|Ptan/.test(operation.name);
  const conditional = /Rem|Sin|Cos|Ptan/.test(operation.name);
  return {
    m: BigInt.asUintN(operation.result === 32 ? 32 : 64, BigInt(value)),
    se: has80 ? softfloat.resultSe!.value : 0,
    m2: two ? BigInt.asUintN(64, softfloat.result2M!.value) : 0n,
    se2: two ? softfloat.result2Se!.value : 0,
    flags: softfloat.raised!.value,
    condition: conditional ? softfloat.condition!.value : 0,
  };
}

/** The exceptions of an answer that the control register does not mask. */
export function unmaskedOf(request: Request, flags: number): number {
  return flags & 63 & ~(request.operation.unit === 'x87' ? request.control : request.control >> 7);
}

/** Whether the operation delivers a value, given its exceptions. */
export function hasValue(request: Request, flags: number): boolean {
  return (unmaskedOf(request, flags) & request.operation.withoutResult) === 0;
}

/** The flags as one byte: C1 in bit 6. */
export function flagByte(flags: number): number {
  return (flags & 63) | ((flags >> 3) & 64);
}

/** A byte that depends on every bit of an answer's value. */
export function valueByte(answer: Answer): number {
  let hash = 0x811c9dc5;
  for (const word of [answer.m, answer.m >> 32n, answer.m2, answer.m2 >> 32n]) {
    hash = Math.imul(hash ^ Number(word & 0xffffffffn), 0x9e3779b1);
    hash ^= hash >>> 15;
  }
  for (const word of [answer.se, answer.se2, answer.condition]) {
    hash = Math.imul(hash ^ word, 0x85ebca6b);
    hash ^= hash >>> 13;
  }
  return (hash ^ (hash >>> 8) ^ (hash >>> 16) ^ (hash >>> 24)) & 0xff;
}

/** A request in the recorder's binary form (40 bytes). */
export function encodeRequest(view: DataView, offset: number, index: number, request: Request): void {
  const [a, b, c] = request.operands;
  view.setUint32(offset, index, true);
  view.setUint32(offset + 4, request.control, true);
  view.setBigUint64(offset + 8, a?.m ?? 0n, true);
  view.setBigUint64(offset + 16, b?.m ?? 0n, true);
  view.setBigUint64(offset + 24, c?.m ?? 0n, true);
  view.setUint16(offset + 32, a?.se ?? 0, true);
  view.setUint16(offset + 34, b?.se ?? 0, true);
  view.setUint32(offset + 36, request.argument, true);
}

/** An answer from the recorder's binary form (32 bytes). */
export function decodeAnswer(view: DataView, offset: number): Answer {
  return {
    m: view.getBigUint64(offset, true),
    m2: view.getBigUint64(offset + 8, true),
    se: view.getUint32(offset + 16, true),
    se2: view.getUint32(offset + 20, true),
    flags: view.getUint32(offset + 24, true),
    condition: view.getUint32(offset + 28, true),
  };
}

/** Instantiates the library. */
export function loadSoftfloat(file: string): Softfloat {
  const instance = new WebAssembly.Instance(new WebAssembly.Module(readFileSync(file)), {});
  return instance.exports as unknown as Softfloat;
}
