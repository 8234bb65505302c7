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

type LoadKind = 'load' | 'load8_u' | 'load8_s' | 'load16_u' | 'load16_s' | 'load32_u' | 'load32_s';
type StoreKind = 'store' | 'store8' | 'store16' | 'store32';
// biome-ignore lint/suspicious/noExplicitAny: binaryen's operations are looked up by name
type Operations = any;

export class Emitter {
  readonly m: binaryen.Module;
  private readonly ops: Operations;
  private parameters: Type[] = [];
  private locals: (Type | Pair)[] = [];
  private free = new Map<Type, number[]>();
  private lists: Expr[][] = [];
  private pooling = false;
  private readonly pool = new Map<string, { readonly local: number; readonly bytes: readonly number[] }>();
  private labels = 0;
  private readonly offers = new Map<string, () => void>();
  private readonly offered: (() => void)[] = [];
  /** Expressions that are loads, and reinterpretations with what is behind them. */
  private readonly loads = new Map<Expr, { readonly pointer: Expr; readonly offset: number }>();
  private readonly reinterpreted = new Map<Expr, Expr>();

  constructor() {
    this.m = new binaryen.Module();
    this.m.setFeatures(features);
    this.ops = this.m;
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
    this.offers.set(name, () => this.importFunction(name, from, parameters, result));
  }
  /** Imports a global if something reads it. */
  offerGlobal(name: string, from: string, type: Type, mutable: boolean): void {
    this.offers.set(name, () => this.importGlobal(name, from, type, mutable));
  }
  /** Adds a function of the module's own if something calls it, when the others are done: `addOffered`. */
  offerOwn(name: string, add: () => void): void {
    this.offers.set(name, () => this.offered.push(add));
  }
  addOffered(): void {
    for (let add = this.offered.pop(); add !== undefined; add = this.offered.pop()) add();
  }
  private take(name: string): void {
    const offer = this.offers.get(name);
    this.offers.delete(name);
    offer?.();
  }
  importGlobal(name: string, from: string, type: Type, mutable: boolean): void {
    this.m.addGlobalImport(name, from, name, wasmTypes[type], mutable);
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
    const statements = this.collect(body);
    const constants = [...this.pool.values()].map(({ local, bytes }) => this.m.local.set(local, this.v128(bytes)));
    this.m.addFunction(
      name,
      typeList(parameters),
      resultType(result),
      this.locals.map((t) => wasmTypes[t]),
      this.m.block(null, [...constants, ...statements]),
    );
    if (exported) this.m.addFunctionExport(name, name);
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
    this.emit(this.m.if(condition, this.sequence(yes), no === undefined ? undefined : this.sequence(no)));
  }
  block(label: string, body: () => void): void {
    this.emit(this.m.block(label, this.collect(body), binaryen.auto));
  }
  loop(label: string, body: () => void): void {
    this.emit(this.m.loop(label, this.m.block(null, this.collect(body))));
  }
  br(label: string): void {
    this.emit(this.m.br(label));
  }
  brIf(label: string, condition: Expr): void {
    this.emit(this.m.br(label, condition));
  }
  /** br_table over labels, the last one for everything else. */
  switch(labels: readonly string[], otherwise: string, index: Expr): void {
    this.emit(this.m.switch([...labels], otherwise, index));
  }
  return(value?: Expr): void {
    this.emit(this.m.return(value));
  }
  nop(): Expr {
    return this.m.nop();
  }
  unreachable(): void {
    this.emit(this.m.unreachable());
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
    return this.m.local.get(local, wasmTypes[type]);
  }
  set(local: number, value: Expr): void {
    this.emit(this.m.local.set(local, value));
  }
  /** Evaluates an expression now; each call of the answer is one use of its value. */
  share(value: Expr, type: Type): () => Expr {
    const local = this.local(type);
    this.set(local, value);
    return () => this.get(local, type);
  }

  // --- expressions
  i32(n: number): Expr {
    return this.m.i32.const(n | 0);
  }
  i64(n: bigint): Expr {
    return this.m.i64.const(n);
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
    if (name.endsWith('.reinterpret')) return this.reinterpret(name, operands[0] as Expr);
    const [type, ...rest] = name.split('.');
    let f: Operations = this.ops[type!];
    for (const part of rest) f = f?.[part];
    if (typeof f !== 'function') throw new Error(`emitter: no operation ${name}`);
    return f(...operands);
  }
  select(condition: Expr, yes: Expr, no: Expr): Expr {
    return this.m.select(condition, yes, no);
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
    const made = this.ops[type][kind](offset, 1, pointer, 'm');
    if (kind === 'load') this.loads.set(made, { pointer, offset });
    return made;
  }
  store(type: Type, pointer: Expr, value: Expr, offset = 0, kind: StoreKind = 'store'): void {
    const other = kind === 'store' ? this.reinterpreted.get(value) : undefined;
    if (other === undefined) this.emit(this.ops[type][kind](offset, 1, pointer, value, 'm'));
    else this.emit(this.ops[otherType[type]!].store(offset, 1, pointer, other, 'm'));
  }
  /** The same bits as another type; of what has just been loaded, it is a load of that type. */
  private reinterpret(name: string, value: Expr): Expr {
    const type = name.slice(0, 3);
    const load = this.loads.get(value);
    if (load !== undefined) return this.ops[type].load(load.offset, 1, load.pointer, 'm');
    const made = this.ops[type].reinterpret(value);
    this.reinterpreted.set(made, value);
    return made;
  }

  // --- the vCPU's block: parameter 0 of every function is its address
  /** Its address, if the module is made for one vCPU: loads and stores then hold it. */
  cpuBase: number | null = null;
  cpu(): Expr {
    return this.cpuBase === null ? this.get(0, 'i32') : this.i32(this.cpuBase);
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
