/**
 * The only door to binaryen: builds one WebAssembly module, function by function.
 *
 * A binaryen expression has one owner, so a value that is needed twice becomes a local, here and nowhere else (`share`).
 * Statements go to the innermost open list; expressions are returned to the caller.
 */
import binaryen from 'binaryen';
import type { Type } from '../src/ir/types.ts';
import { offsetOf } from '../src/state/layout.ts';

export type Expr = number;

const F = binaryen.Features;
const features =
  F.Atomics |
  F.BulkMemory |
  F.MutableGlobals |
  F.NontrappingFPToInt |
  F.SignExt |
  F.SIMD128 |
  F.ReferenceTypes |
  F.Multivalue;

/** An i64 and an i32, as some functions give them. */
type Pair = 'pair';
const pairType = binaryen.createType([binaryen.i64, binaryen.i32]);
const wasmTypes: Record<Type | Pair, number> = {
  pair: pairType,
  i32: binaryen.i32,
  i64: binaryen.i64,
  f32: binaryen.f32,
  f64: binaryen.f64,
  v128: binaryen.v128,
};
const otherType: Partial<Record<Type, Type>> = { i32: 'f32', i64: 'f64', f32: 'i32', f64: 'i64' };
const typeList = (types: readonly Type[]): number => binaryen.createType(types.map((t) => wasmTypes[t]));
const resultType = (type: Type | Pair | null): number => (type === null ? binaryen.none : wasmTypes[type]);

export interface MemoryLimits {
  readonly initial: number;
  readonly maximum: number;
  readonly shared: boolean;
}

/** The functions behind binaryen's face: what is made most goes straight to them. Modules, names and expressions are addresses. */
interface Functions {
  _malloc(bytes: number): number;
  stringToAscii(text: string, at: number): void;
  _BinaryenSizeofLiteral(): number;
  _BinaryenLiteralInt32(at: number, value: number): void;
  _BinaryenLiteralInt64(at: number, value: bigint): void;
  _BinaryenConst(module: number, literal: number): Expr;
  _BinaryenLocalGet(module: number, local: number, type: number): Expr;
  _BinaryenLocalSet(module: number, local: number, value: Expr): Expr;
  _BinaryenLocalTee(module: number, local: number, value: Expr, type: number): Expr;
  _BinaryenBlock(module: number, name: number, children: number, count: number, type: number): Expr;
  _BinaryenBlockAppendChild(block: Expr, child: Expr): void;
  _BinaryenLoop(module: number, name: number, body: Expr): Expr;
  _BinaryenReturn(module: number, value: Expr): Expr;
  _BinaryenUnreachable(module: number): Expr;
  _BinaryenBreak(module: number, name: number, condition: Expr, value: Expr): Expr;
  _BinaryenLoad(
    module: number,
    bytes: number,
    signed: boolean,
    offset: number,
    align: number,
    type: number,
    pointer: Expr,
    memory: number,
  ): Expr;
  _BinaryenStore(
    module: number,
    bytes: number,
    offset: number,
    align: number,
    pointer: Expr,
    value: Expr,
    type: number,
    memory: number,
  ): Expr;
  _BinaryenUnary(module: number, operation: number, value: Expr): Expr;
  _BinaryenBinary(module: number, operation: number, left: Expr, right: Expr): Expr;
  _BinaryenSelect(module: number, condition: Expr, yes: Expr, no: Expr): Expr;
  _BinaryenIf(module: number, condition: Expr, yes: Expr, no: Expr): Expr;
  _BinaryenExpressionGetId(expression: Expr): number;
  _BinaryenExpressionGetType(expression: Expr): number;
  _BinaryenLoadGetBytes(load: Expr): number;
  _BinaryenLoadGetOffset(load: Expr): number;
  _BinaryenLoadGetPtr(load: Expr): Expr;
  _BinaryenLoadIsAtomic(load: Expr): number;
  _BinaryenRemoveFunction(module: number, name: number): void;
  _BinaryenRemoveGlobal(module: number, name: number): void;
  _BinaryenRemoveExport(module: number, name: number): void;
}
const raw = binaryen as unknown as Functions;
// binaryen's face has some thousand properties, each of which is looked for: what is made most often is known here.
const {
  _BinaryenLiteralInt32: setLiteral32,
  _BinaryenLiteralInt64: setLiteral64,
  _BinaryenConst: makeConst,
  _BinaryenLocalGet: makeGet,
  _BinaryenLocalSet: makeSet,
  _BinaryenLocalTee: makeTee,
  _BinaryenUnary: makeUnary,
  _BinaryenBinary: makeBinary,
  _BinaryenSelect: makeSelect,
  _BinaryenIf: makeIf,
  _BinaryenBlock: makeBlock,
  _BinaryenBlockAppendChild: appendChild,
  _BinaryenLoop: makeLoop,
  _BinaryenReturn: makeReturn,
  _BinaryenUnreachable: makeUnreachable,
  _BinaryenBreak: makeBreak,
  _BinaryenLoad: makeLoad,
  _BinaryenStore: makeStore,
} = raw;
const loadId = binaryen.LoadId;
const literal = raw._malloc(raw._BinaryenSizeofLiteral());
/** Those of small numbers, which are asked for most often. */
const smallLiterals = Array.from({ length: 64 }, (_, n) => {
  const at = raw._malloc(raw._BinaryenSizeofLiteral());
  setLiteral32(at, n);
  return at;
});
const names = new Map<string, number>();
/** A name for the functions behind binaryen's face. */
function nameOf(text: string): number {
  let at = names.get(text);
  if (at === undefined) {
    at = raw._malloc(text.length + 1);
    raw.stringToAscii(text, at);
    names.set(text, at);
  }
  return at;
}
const memoryName = nameOf('m');
/** Operations of one and of two operands, by name. */
const numbers = binaryen as unknown as Readonly<Record<string, number>>;
const binaries = new Map<string, number>();
const unaries = new Map<string, number>();
const binaryNames =
  'add Add, sub Sub, mul Mul, and And, or Or, xor Xor, shl Shl, shr_u ShrU, shr_s ShrS, rotl RotL, rotr RotR, eq Eq, ne Ne,' +
  'lt_u LtU, lt_s LtS, le_u LeU, le_s LeS, gt_u GtU, gt_s GtS, ge_u GeU, ge_s GeS';
for (const type of ['Int32', 'Int64']) {
  const prefix = type === 'Int32' ? 'i32' : 'i64';
  for (const pair of binaryNames.split(',')) {
    const [name, known] = pair.trim().split(' ');
    binaries.set(`${prefix}.${name}`, numbers[`${known}${type}`]!);
  }
  for (const [name, known] of Object.entries({ eqz: 'EqZ', clz: 'Clz', ctz: 'Ctz', popcnt: 'Popcnt' }))
    unaries.set(`${prefix}.${name}`, numbers[`${known}${type}`]!);
}
unaries.set('i32.wrap', numbers.WrapInt64!);
unaries.set('i64.extend_u', numbers.ExtendUInt32!);
unaries.set('i64.extend_s', numbers.ExtendSInt32!);
const widths: Readonly<Record<string, number>> = { i32: 4, i64: 8, f32: 4, f64: 8, v128: 16 };
/** The expression loads all of its type. */
function isWholeLoad(value: Expr): boolean {
  if (raw._BinaryenExpressionGetId(value) !== loadId || raw._BinaryenLoadIsAtomic(value) !== 0) return false;
  const type = raw._BinaryenExpressionGetType(value);
  return raw._BinaryenLoadGetBytes(value) === (type === binaryen.i32 || type === binaryen.f32 ? 4 : 8);
}

type LoadKind = 'load' | 'load8_u' | 'load8_s' | 'load16_u' | 'load16_s' | 'load32_u' | 'load32_s';
type StoreKind = 'store' | 'store8' | 'store16' | 'store32';
// biome-ignore lint/suspicious/noExplicitAny: binaryen's operations are looked up by name
type Operations = any;

export class Emitter {
  readonly m: binaryen.Module;
  /** The module's address. */
  private readonly p: number;
  private readonly ops: Operations;
  private readonly operations = new Map<string, (...operands: unknown[]) => Expr>();
  private parameters: Type[] = [];
  private locals: (Type | Pair)[] = [];
  private free = new Map<Type, number[]>();
  private lists: Expr[][] = [];
  private pooling = false;
  private readonly pool = new Map<string, { readonly local: number; readonly bytes: readonly number[] }>();
  private labels = 0;
  /** Labels that were branched to. */
  private readonly targets = new Set<string>();
  private readonly offers = new Map<string, { readonly kind: 'function' | 'global'; add(): void }>();
  private readonly taken = new Set<string>();
  private readonly offered: (() => void)[] = [];
  private readonly added: string[] = [];
  private readonly exported: string[] = [];
  /** Reinterpretations with what is behind them. */
  private readonly reinterpreted = new Map<Expr, Expr>();

  constructor() {
    this.m = new binaryen.Module();
    this.m.setFeatures(features);
    this.ops = this.m;
    this.p = (this.m as unknown as { readonly ptr: number }).ptr;
  }

  // --- module
  importMemory({ initial, maximum, shared }: MemoryLimits): void {
    this.m.setMemory(initial, maximum, null, [], shared, false, 'm');
    this.m.addMemoryImport('m', 'env', 'memory', shared);
  }
  importTable(minimum: number): void {
    this.m.addTable('t', minimum, 0xffffffff);
    this.m.addTableImport('t', 'env', 'table');
  }
  importFunction(name: string, from: string, parameters: readonly Type[], result: Type | null): void {
    this.m.addFunctionImport(name, from, name, typeList(parameters), resultType(result));
  }
  /** Imports a function if something calls it. */
  offerFunction(name: string, from: string, parameters: readonly Type[], result: Type | null): void {
    this.offers.set(name, { kind: 'function', add: () => this.importFunction(name, from, parameters, result) });
  }
  /** Imports a global if something reads it. */
  offerGlobal(name: string, from: string, type: Type, mutable: boolean): void {
    this.offers.set(name, { kind: 'global', add: () => this.importGlobal(name, from, type, mutable) });
  }
  /** Adds a function of the module's own if something calls it, when the others are done: `addOffered`. */
  offerOwn(name: string, add: () => void): void {
    this.offers.set(name, { kind: 'function', add: () => void this.offered.push(add) });
  }
  addOffered(): void {
    for (let add = this.offered.pop(); add !== undefined; add = this.offered.pop()) add();
  }
  private take(name: string): void {
    if (this.taken.has(name)) return;
    const offer = this.offers.get(name);
    if (offer === undefined) return;
    this.taken.add(name);
    offer.add();
  }
  importGlobal(name: string, from: string, type: Type, mutable: boolean): void {
    this.m.addGlobalImport(name, from, name, wasmTypes[type], mutable);
  }
  /** A global of the module's own, 0 at first, that others can import. */
  exportGlobal(name: string, type: Type, mutable: boolean): void {
    this.m.addGlobal(name, wasmTypes[type], mutable, this.op(`${type}.const`, type === 'i64' ? 0n : 0));
    this.m.addGlobalExport(name, name);
  }
  /** Adds a function whose statements `body` emits. */
  addFunction(
    name: string,
    parameters: readonly Type[],
    result: Type | Pair | null,
    body: () => void,
    exported = false,
    pooling = false,
  ): void {
    this.pooling = pooling;
    this.parameters = [...parameters];
    this.locals = [];
    this.free.clear();
    this.pool.clear();
    this.targets.clear();
    this.usesCpu = false;
    const statements = this.collect(body);
    const constants = [...this.pool.values()].map(({ local, bytes }) => this.m.local.set(local, this.v128(bytes)));
    // The engine takes the local for the constant, which takes less room everywhere.
    if (this.cpuBase !== null && this.usesCpu) constants.unshift(makeSet(this.p, 0, this.i32(this.cpuBase)));
    this.m.addFunction(
      name,
      typeList(parameters),
      resultType(result),
      this.locals.map((t) => wasmTypes[t]),
      this.m.block(null, [...constants, ...statements]),
    );
    if (!this.taken.has(name)) this.added.push(name);
    if (!exported) return;
    this.m.addFunctionExport(name, name);
    this.exported.push(name);
  }
  /**
   * Takes the functions out again, and what they have of what is on offer: a module that has its imports already is made
   * quicker than another one. What their expressions take of memory is given back by `dispose` alone.
   */
  clear(): void {
    for (const name of this.exported.splice(0)) raw._BinaryenRemoveExport(this.p, nameOf(name));
    for (const name of this.added.splice(0)) raw._BinaryenRemoveFunction(this.p, nameOf(name));
    for (const name of this.taken) {
      if (this.offers.get(name)!.kind === 'global') raw._BinaryenRemoveGlobal(this.p, nameOf(name));
      else raw._BinaryenRemoveFunction(this.p, nameOf(name));
    }
    this.taken.clear();
    this.offered.length = 0;
    this.lists.length = 0;
    this.labels = 0;
    this.reinterpreted.clear();
  }
  /** Adds a section that the engine passes over. */
  addSection(name: string, text: string): void {
    this.m.addCustomSection(name, new TextEncoder().encode(text));
  }
  /** Throws if the module is not valid: for tests and builds, not for the hot road. */
  validate(): void {
    if (this.m.validate() !== 1) throw new Error('emitter: the module is not valid');
  }
  optimise(passes: readonly string[]): void {
    this.m.runPasses([...passes]);
  }
  text(): string {
    return this.m.emitText();
  }
  binary(): Uint8Array {
    return this.m.emitBinary();
  }
  dispose(): void {
    this.m.dispose();
  }

  // --- statements
  emit(statement: Expr): void {
    this.lists.at(-1)!.push(statement);
  }
  collect(body: () => void): Expr[] {
    const list: Expr[] = [];
    this.lists.push(list);
    body();
    this.lists.pop();
    return list;
  }
  private sequence(body: () => void): Expr {
    const list = this.collect(body);
    return list.length === 1 ? list[0]! : this.m.block(null, list);
  }
  label(prefix: string): string {
    return `${prefix}${this.labels++}`;
  }
  if(condition: Expr, yes: () => void, no?: () => void): void {
    this.emit(makeIf(this.p, condition, this.sequence(yes), no === undefined ? 0 : this.sequence(no)));
  }
  block(label: string, body: () => void): void {
    const list = this.collect(body);
    if (!this.targets.has(label)) return this.emit(this.m.block(null, list));
    // Made with its statements, it would search all of them for branches to it, those of blocks within it once more.
    const block = makeBlock(this.p, nameOf(label), 0, 0, binaryen.none);
    for (const statement of list) appendChild(block, statement);
    this.emit(block);
  }
  loop(label: string, body: () => void): void {
    this.emit(makeLoop(this.p, nameOf(label), this.m.block(null, this.collect(body))));
  }
  br(label: string): void {
    this.targets.add(label);
    this.emit(makeBreak(this.p, nameOf(label), 0, 0));
  }
  brIf(label: string, condition: Expr): void {
    this.targets.add(label);
    this.emit(makeBreak(this.p, nameOf(label), condition, 0));
  }
  /** br_table over labels, the last one for everything else. */
  switch(labels: readonly string[], otherwise: string, index: Expr): void {
    for (const label of [...labels, otherwise]) this.targets.add(label);
    this.emit(this.m.switch([...labels], otherwise, index));
  }
  return(value?: Expr): void {
    this.emit(makeReturn(this.p, value ?? 0));
  }
  nop(): Expr {
    return this.m.nop();
  }
  unreachable(): void {
    this.emit(makeUnreachable(this.p));
  }

  // --- locals
  /** A new local; `release` gives it back to later `local` calls of this function. */
  local(type: Type): number {
    const old = this.free.get(type)?.pop();
    if (old !== undefined) return old;
    return this.parameters.length + this.locals.push(type) - 1;
  }
  release(local: number): void {
    const type = this.locals[local - this.parameters.length] as Type;
    const list = this.free.get(type);
    if (list === undefined) this.free.set(type, [local]);
    else list.push(local);
  }
  get(local: number, type: Type): Expr {
    return makeGet(this.p, local, wasmTypes[type]);
  }
  set(local: number, value: Expr): void {
    this.emit(makeSet(this.p, local, value));
  }
  /** Sets a local where the expression is evaluated, which has its value, too. */
  tee(local: number, value: Expr, type: Type): Expr {
    return makeTee(this.p, local, value, wasmTypes[type]);
  }
  /** Evaluates an expression now; each call of the answer is one use of its value. */
  share(value: Expr, type: Type): () => Expr {
    const local = this.local(type);
    this.set(local, value);
    return () => this.get(local, type);
  }

  // --- expressions
  i32(n: number): Expr {
    if (n >= 0 && n < smallLiterals.length) return makeConst(this.p, smallLiterals[n]!);
    setLiteral32(literal, n | 0);
    return makeConst(this.p, literal);
  }
  i64(n: bigint): Expr {
    setLiteral64(literal, n);
    return makeConst(this.p, literal);
  }
  f32(n: number): Expr {
    return this.m.f32.const(n);
  }
  f64(n: number): Expr {
    return this.m.f64.const(n);
  }
  v128(bytes: readonly number[]): Expr {
    return this.m.v128.const(bytes);
  }
  /** A constant that a function with a pool makes once, at its start: for loops. */
  pooled(bytes: readonly number[]): Expr {
    if (!this.pooling) return this.v128(bytes);
    const key = bytes.join();
    let entry = this.pool.get(key);
    if (entry === undefined) {
      entry = { local: this.local('v128'), bytes };
      this.pool.set(key, entry);
    }
    return this.get(entry.local, 'v128');
  }
  /** WebAssembly's operation of that name: `i32.add`, `i8x16.shuffle` with its immediates last. */
  op(name: string, ...operands: unknown[]): Expr {
    const binary = binaries.get(name);
    if (binary !== undefined) return makeBinary(this.p, binary, operands[0] as Expr, operands[1] as Expr);
    const unary = unaries.get(name);
    if (unary !== undefined) return makeUnary(this.p, unary, operands[0] as Expr);
    if (name.endsWith('.reinterpret')) return this.reinterpret(name, operands[0] as Expr);
    const operation = this.operations.get(name) ?? this.operation(name);
    return operation(...operands);
  }
  private operation(name: string): (...operands: unknown[]) => Expr {
    let f: Operations = this.ops;
    for (const part of name.split('.')) f = f?.[part];
    if (typeof f !== 'function') throw new Error(`emitter: no operation ${name}`);
    this.operations.set(name, f);
    return f;
  }
  select(condition: Expr, yes: Expr, no: Expr): Expr {
    return makeSelect(this.p, condition, yes, no);
  }
  call(name: string, operands: readonly Expr[], result: Type | null): Expr {
    this.take(name);
    return this.m.call(name, [...operands], resultType(result));
  }
  callIndirect(slot: Expr, operands: readonly Expr[], parameters: readonly Type[], result: Type | null): Expr {
    return this.m.call_indirect('t', slot, [...operands], typeList(parameters), resultType(result));
  }
  /** Calls a function that gives an i64 and an i32; each call of the answers is one use. */
  callPair(name: string, operands: readonly Expr[]): { readonly first: () => Expr; readonly second: () => Expr } {
    this.take(name);
    const local = this.parameters.length + this.locals.push('pair') - 1;
    this.set(local, this.m.call(name, [...operands], pairType));
    const part = (index: number) => () => this.m.tuple.extract(this.m.local.get(local, pairType), index);
    return { first: part(0), second: part(1) };
  }
  returnPair(first: Expr, second: Expr): void {
    this.return(this.m.tuple.make([first, second]));
  }
  global(name: string, type: Type): Expr {
    this.take(name);
    return this.m.global.get(name, wasmTypes[type]);
  }
  drop(value: Expr): void {
    this.emit(this.m.drop(value));
  }
  load(type: Type, pointer: Expr, offset = 0, kind: LoadKind = 'load'): Expr {
    if (kind !== 'load') return this.partLoad(type, kind, pointer, offset);
    return this.wholeLoad(type, pointer, offset);
  }
  private wholeLoad(type: Type, pointer: Expr, offset: number): Expr {
    return makeLoad(this.p, widths[type]!, true, offset, 1, wasmTypes[type], pointer, memoryName);
  }
  /** An unsigned load, and a store, of so many bytes. */
  loadBytes(type: Type, pointer: Expr, offset: number, bytes: number): Expr {
    return makeLoad(this.p, bytes, bytes === widths[type], offset, 1, wasmTypes[type], pointer, memoryName);
  }
  storeBytes(type: Type, pointer: Expr, value: Expr, offset: number, bytes: number): void {
    if (bytes === widths[type]) return this.store(type, pointer, value, offset);
    this.emit(makeStore(this.p, bytes, offset, 1, pointer, value, wasmTypes[type], memoryName));
  }
  private partLoad(type: Type, kind: LoadKind, pointer: Expr, offset: number): Expr {
    const bytes = kind.startsWith('load8') ? 1 : kind.startsWith('load16') ? 2 : 4;
    const signed = kind.endsWith('_s');
    return makeLoad(this.p, bytes, signed, offset, 1, wasmTypes[type], pointer, memoryName);
  }
  store(type: Type, pointer: Expr, value: Expr, offset = 0, kind: StoreKind = 'store'): void {
    const other = kind === 'store' ? this.reinterpreted.get(value) : undefined;
    const as = other === undefined ? type : otherType[type]!;
    const bytes = kind === 'store8' ? 1 : kind === 'store16' ? 2 : kind === 'store32' ? 4 : widths[as]!;
    this.emit(makeStore(this.p, bytes, offset, 1, pointer, other ?? value, wasmTypes[as], memoryName));
  }
  /** The same bits as another type; of what has just been loaded, it is a load of that type. */
  private reinterpret(name: string, value: Expr): Expr {
    const type = name.slice(0, 3);
    if (isWholeLoad(value))
      return this.wholeLoad(type as Type, raw._BinaryenLoadGetPtr(value), raw._BinaryenLoadGetOffset(value));
    const made = this.ops[type].reinterpret(value);
    this.reinterpreted.set(made, value);
    return made;
  }

  // --- the vCPU's block: parameter 0 of every function is its address
  /** Its address, if the module is made for one vCPU: loads and stores then hold it. */
  cpuBase: number | null = null;
  /** The function being made looks at the vCPU's block. */
  private usesCpu = false;
  cpu(): Expr {
    this.usesCpu = true;
    return makeGet(this.p, 0, binaryen.i32);
  }
  /** The address of something in it. */
  inCpu(offset: number): Expr {
    return this.cpuBase === null ? this.op('i32.add', this.cpu(), this.i32(offset)) : this.i32(this.cpuBase + offset);
  }
  state32(field: string): Expr {
    return this.load('i32', this.cpu(), offsetOf(field));
  }
  setState32(field: string, value: Expr): void {
    this.store('i32', this.cpu(), value, offsetOf(field));
  }
  /** The context in force and the epoch of code, as one; an entry of the jump cache that is in force has the same. */
  codeInForce(): Expr {
    return this.load('i64', this.cpu(), offsetOf('context'));
  }
  state64(field: string): Expr {
    return this.load('i64', this.cpu(), offsetOf(field));
  }
  setState64(field: string, value: Expr): void {
    this.store('i64', this.cpu(), value, offsetOf(field));
  }
}
