/**
 * A verified BPF program as a WebAssembly module: one function for each of the program's, registers in locals, accesses to
 * the shared linear memory without a check, since the verifier has proven them. The module is for one placement: addresses
 * of maps and regions stand in it. Exports `run(context, stackTop)`: r0; of a device's program also what bpf-device.ts adds.
 *
 * Semantics are those of src/bpf/arithmetic.ts, section by section of RFC 9669; a test holds the two against each other.
 */
import type { BpfHelper } from '../src/bpf/environment.ts';
import { BpfError } from '../src/bpf/errors.ts';
import {
  type AluOperation,
  type BpfInstruction,
  type Condition,
  framePointer,
  immediateSource,
  type Width,
} from '../src/bpf/instructions.ts';
import type { PlacedMaps, PlacedRegions } from '../src/bpf/placement.ts';
import type { VerifiedProgram } from '../src/bpf/verifier.ts';
import type { Type } from '../src/ir/types.ts';
import { type BpfBlock, blocksOf } from './bpf-blocks.ts';
import { addDeviceAccess, type DevicePlace } from './bpf-device.ts';
import { emitByNumber, maximumBlocks, structuredBlocks } from './bpf-dispatch.ts';
import { addIntrinsics, intrinsicParameters } from './bpf-intrinsics.ts';
import { Emitter, type Expr, type MemoryLimits } from './emitter.ts';
import { emitStructured } from './structure.ts';

/** Where a translation runs; plain data, as the program is, so that another thread can translate. */
export interface BpfTarget {
  /** Of the memory that the module imports as `env.memory`. */
  readonly limits: MemoryLimits;
  readonly maps: Pick<PlacedMaps, 'descriptors' | 'values'>;
  readonly regions: PlacedRegions;
  /** Where a program that answers accesses has its structure: the module can be asked for one. */
  readonly device?: DevicePlace;
}

/** The functions that a translation imports from module `helpers` are named by the helper's number. */
export const helperImport = (id: number): string => `helper${id}`;

const functionName = (start: number): string => `f${start}`;
/** r1 to r5 and the frame's upper end. */
const parameters: readonly Type[] = ['i64', 'i64', 'i64', 'i64', 'i64', 'i64'];
const frameParameter = 5;

/**
 * The module's bytes.
 *
 * @throws BpfError `too-long-to-translate` for what is left to the interpreter
 */
export function translateBpf(program: VerifiedProgram, target: BpfTarget): Uint8Array {
  const e = build(program, target);
  const bytes = e.binary();
  e.dispose();
  return bytes;
}

/** The module's text, for people. */
export function bpfTranslationText(program: VerifiedProgram, target: BpfTarget): string {
  const e = build(program, target);
  const text = e.text();
  e.dispose();
  return text;
}

function build(program: VerifiedProgram, target: BpfTarget): Emitter {
  const functions = program.functions.map(({ start, end }) => ({ start, blocks: checkedBlocks(program, start, end) }));
  const e = new Emitter();
  e.importMemory(target.limits);
  addIntrinsics(e);
  for (const [id, helper] of Object.entries(program.environment.helpers)) {
    const type = helper.by === 'number' ? 'f64' : helper.by === 'bigint' ? 'i64' : null;
    if (type === null) continue;
    const result = helper.result.kind === 'none' ? null : type;
    const name = helperImport(Number(id));
    e.offerFunction(name, 'helpers', new Array<Type>(helper.arguments.length).fill(type), result);
  }
  for (const { start, blocks } of functions) {
    e.addFunction(functionName(start), parameters, 'i64', () =>
      new FunctionEmitter(e, program, target, start).emit(blocks),
    );
  }
  const runOn = (context: Expr, stackTop: Expr) => {
    const wide = (address: Expr) => e.op('i64.extend_u', address);
    const nothing = [2, 3, 4, 5].map(() => e.i64(0n));
    return e.call(functionName(0), [wide(context), ...nothing, wide(stackTop)], 'i64');
  };
  const run = () => runOn(e.get(0, 'i32'), e.get(1, 'i32'));
  e.addFunction('run', ['i32', 'i32'], 'i64', () => e.return(run()), true);
  e.addFunction('runSmall', ['i32', 'i32'], 'i32', () => e.return(e.op('i32.wrap', run())), true);
  if (target.device !== undefined) addDeviceAccess(e, target.device, runOn, timeOf(program, e));
  e.addOffered();
  return e;
}

/** Asks for what the field `time` of an access is to say, if the program looks at it. */
function timeOf({ environment, fieldsRead }: VerifiedProgram, e: Emitter): (() => Expr) | null {
  if (!fieldsRead.has('time')) return null;
  const id = Object.keys(environment.helpers).find((one) => environment.helpers[Number(one)]!.name === 'time');
  return () => e.call(helperImport(Number(id)), [], 'f64');
}

function checkedBlocks(program: VerifiedProgram, start: number, end: number): BpfBlock[] {
  const blocks = blocksOf(program.code, start, end);
  if (blocks.length > maximumBlocks)
    throw new BpfError(
      'too-long-to-translate',
      start,
      `the function has ${blocks.length} blocks, and more than ${maximumBlocks} are not translated; the interpreter runs it`,
    );
  return blocks;
}

const conditionNames: Readonly<Record<Exclude<Condition, 'set'>, string>> = {
  eq: 'eq',
  ne: 'ne',
  gt: 'gt_u',
  ge: 'ge_u',
  lt: 'lt_u',
  le: 'le_u',
  sgt: 'gt_s',
  sge: 'ge_s',
  slt: 'lt_s',
  sle: 'le_s',
};
const plainNames: Readonly<Partial<Record<AluOperation, string>>> = {
  add: 'add',
  sub: 'sub',
  mul: 'mul',
  or: 'or',
  and: 'and',
  xor: 'xor',
  lsh: 'shl',
  rsh: 'shr_u',
  arsh: 'shr_s',
};
const loadNames = { 1: 'load8_u', 2: 'load16_u', 4: 'load32_u', 8: 'load' } as const;
const signedLoadNames = { 1: 'load8_s', 2: 'load16_s', 4: 'load32_s', 8: 'load' } as const;
const storeNames = { 1: 'store8', 2: 'store16', 4: 'store32', 8: 'store' } as const;
const atomicNames = { add: 'add', or: 'or', and: 'and', xor: 'xor', exchange: 'xchg' } as const;

class FunctionEmitter {
  private readonly e: Emitter;
  private readonly program: VerifiedProgram;
  private readonly target: BpfTarget;
  private readonly start: number;
  private readonly locals: readonly number[];
  private readonly next: number;

  constructor(e: Emitter, program: VerifiedProgram, target: BpfTarget, start: number) {
    this.e = e;
    this.program = program;
    this.target = target;
    this.start = start;
    const own = (): number => e.local('i64');
    this.locals = [own(), 0, 1, 2, 3, 4, own(), own(), own(), own(), frameParameter];
    this.next = e.local('i32');
  }

  emit(blocks: readonly BpfBlock[]): void {
    const { e } = this;
    if (blocks.length > structuredBlocks) {
      emitByNumber(e, blocks.length, this.next, (n, go) => this.block(blocks[n]!, go));
      return e.unreachable();
    }
    const predecessors: number[][] = blocks.map(() => []);
    blocks.forEach(({ successors }, n) => {
      for (const to of successors) predecessors[to]!.push(n);
    });
    emitStructured(
      { successors: blocks.map(({ successors }) => successors), predecessors },
      {
        block: (label, body) => e.block(label, body),
        loop: (label, body) => e.loop(label, body),
        br: (label) => e.br(label),
        node: (n, go) => this.block(blocks[n]!, go),
        dispatch: (labels) => e.switch(labels.slice(0, -1), labels.at(-1)!, e.get(this.next, 'i32')),
        setTarget: (n) => e.set(this.next, e.i32(n)),
        backEdge: () => {},
      },
    );
    e.unreachable();
  }

  private block({ first, last, successors }: BpfBlock, go: (to: number) => void): void {
    const { e } = this;
    for (let at = first; at < last; at++) {
      const instruction = this.program.code[at]!;
      if (instruction !== null) this.instruction(instruction);
    }
    const end = this.program.code[last]!;
    if (end.kind === 'branch') {
      const [passed, taken] = successors as [number, number];
      if (passed === taken) return go(taken);
      e.if(
        this.condition(end),
        () => go(taken),
        () => go(passed),
      );
    } else if (end.kind === 'exit') e.return(this.get(0));
    else {
      if (end.kind !== 'goto') this.instruction(end);
      go(successors[0]!);
    }
  }

  // --- registers
  private get(register: number): Expr {
    return this.e.get(this.locals[register]!, 'i64');
  }
  private set(register: number, value: Expr): void {
    this.e.set(this.locals[register]!, value);
  }
  /** The register's low 32 bits, or all. */
  private read(width: Width, register: number): Expr {
    return width === 64 ? this.get(register) : this.e.op('i32.wrap', this.get(register));
  }
  /** A result, zero-extended. */
  private write(width: Width, register: number, value: Expr): void {
    this.set(register, width === 64 ? value : this.e.op('i64.extend_u', value));
  }
  private constant(width: Width, value: number): Expr {
    return width === 64 ? this.e.i64(BigInt(value)) : this.e.i32(value);
  }
  private operand(width: Width, { source, immediate }: { source: number; immediate: number }): Expr {
    return source === immediateSource ? this.constant(width, immediate) : this.read(width, source);
  }
  private address(base: number, offset: number): Expr {
    const { e } = this;
    const low = e.op('i32.wrap', this.get(base));
    return offset === 0 ? low : e.op('i32.add', low, e.i32(offset));
  }

  private condition(i: BpfInstruction & { kind: 'branch' }): Expr {
    const { e } = this;
    const type = i.width === 64 ? 'i64' : 'i32';
    const [left, right] = [this.read(i.width, i.register), this.operand(i.width, i)];
    if (i.condition !== 'set') return e.op(`${type}.${conditionNames[i.condition]}`, left, right);
    return e.op(`${type}.ne`, e.op(`${type}.and`, left, right), this.constant(i.width, 0));
  }

  private instruction(i: BpfInstruction): void {
    const { e } = this;
    switch (i.kind) {
      case 'alu':
        return this.arithmetic(i);
      case 'negate':
        return this.write(
          i.width,
          i.register,
          e.op(`i${i.width}.sub`, this.constant(i.width, 0), this.read(i.width, i.register)),
        );
      case 'extend':
        return this.write(i.width, i.register, this.extended(i.width, i.bits, this.read(i.width, i.source)));
      case 'swap':
        return this.swap(i);
      case 'constant':
        return this.set(i.register, e.i64(i.value));
      case 'map':
        return this.set(i.register, e.i64(BigInt(this.target.maps.descriptors[i.map]!.address)));
      case 'map-value':
        return this.set(i.register, e.i64(BigInt(this.target.maps.values[i.map]!.address + i.offset)));
      case 'load':
        return this.set(
          i.register,
          e.load('i64', this.address(i.base, i.offset), 0, (i.signed ? signedLoadNames : loadNames)[i.size]),
        );
      case 'store':
        return e.store('i64', this.address(i.base, i.offset), this.operand(64, i), 0, storeNames[i.size]);
      case 'atomic':
        return this.atomic(i);
      case 'call':
        return this.call(i.helper);
      case 'call-local': {
        const frame = BigInt(this.program.frameBytes.get(this.start)!);
        const values = [1, 2, 3, 4, 5].map((register) => this.get(register));
        const callee = e.op('i64.sub', this.get(framePointer), e.i64(frame));
        return this.set(0, e.call(functionName(i.target), [...values, callee], 'i64'));
      }
      case 'branch':
      case 'goto':
      case 'exit':
        throw new Error(`bpf: ${i.kind} within a block`);
      default:
        return i satisfies never;
    }
  }

  private arithmetic(i: BpfInstruction & { kind: 'alu' }): void {
    const { e } = this;
    const { operation, width } = i;
    if (operation === 'mov') return this.write(width, i.register, this.operand(width, i));
    const plain = plainNames[operation];
    const left = this.read(width, i.register);
    const right = this.operand(width, i);
    // WebAssembly's shifts use the low bits of the count, too.
    const result =
      plain === undefined ? this.division(operation, width, left, right) : e.op(`i${width}.${plain}`, left, right);
    this.write(width, i.register, result);
  }

  /** By zero: the quotient is 0, the remainder the dividend. The lowest number by -1: itself, without a remainder. */
  private division(operation: AluOperation, width: Width, dividend: Expr, divisor: Expr): Expr {
    const { e } = this;
    const type: Type = `i${width}`;
    const a = e.share(dividend, type);
    const b = e.share(divisor, type);
    const isZero = () => e.op(`${type}.eqz`, b());
    const safe = e.select(isZero(), this.constant(width, 1), b());
    switch (operation) {
      case 'div':
        return e.select(isZero(), this.constant(width, 0), e.op(`${type}.div_u`, a(), safe));
      case 'mod':
        return e.select(isZero(), a(), e.op(`${type}.rem_u`, a(), safe));
      case 'smod':
        return e.select(isZero(), a(), e.op(`${type}.rem_s`, a(), safe));
      case 'sdiv': {
        const isMinus = () => e.op(`${type}.eq`, b(), this.constant(width, -1));
        const safer = e.select(isMinus(), this.constant(width, 1), safe);
        const quotient = e.select(isZero(), this.constant(width, 0), e.op(`${type}.div_s`, a(), safer));
        return e.select(isMinus(), e.op(`${type}.sub`, this.constant(width, 0), a()), quotient);
      }
      default:
        throw new Error(`bpf: no translation of ${operation}`);
    }
  }

  private extended(width: Width, bits: 8 | 16 | 32, value: Expr): Expr {
    return this.e.op(`i${width}.extend${bits}_s`, value);
  }

  private swap({ order, bits, register }: BpfInstruction & { kind: 'swap' }): void {
    const { e } = this;
    const mask = (value: Expr, kept: bigint) => e.op('i64.and', value, e.i64(BigInt.asIntN(64, kept)));
    const all = (1n << BigInt(bits)) - 1n;
    if (order === 'le') {
      if (bits !== 64) this.set(register, mask(this.get(register), all));
      return;
    }
    // Neighbouring bytes change places, then pairs of them, then halves.
    let value = bits === 64 ? this.get(register) : mask(this.get(register), all);
    const masks = { 8: 0x00ff00ff00ff00ffn, 16: 0x0000ffff0000ffffn, 32: 0xffffffffn } as const;
    for (const step of [8, 16, 32] as const) {
      if (step >= bits) break;
      const shared = e.share(value, 'i64');
      const up = e.op('i64.shl', mask(shared(), masks[step]), e.i64(BigInt(step)));
      const down = mask(e.op('i64.shr_u', shared(), e.i64(BigInt(step))), masks[step]);
      value = e.op('i64.or', up, down);
    }
    this.set(register, value);
  }

  private atomic(i: BpfInstruction & { kind: 'atomic' }): void {
    const { e } = this;
    const width: Width = i.size === 8 ? 64 : 32;
    const type = `i${width}.atomic.rmw`;
    const address = this.address(i.base, i.offset);
    const source = this.read(width, i.source);
    if (i.operation === 'compare-exchange')
      return this.write(width, 0, e.op(`${type}.cmpxchg`, 0, address, this.read(width, 0), source, 'm'));
    const old = e.op(`${type}.${atomicNames[i.operation]}`, 0, address, source, 'm');
    if (i.fetch) this.write(width, i.source, old);
    else e.drop(old);
  }

  private call(id: number): void {
    const { e } = this;
    const helper = this.program.environment.helpers[id]!;
    const values = helper.arguments.map((_, index) => this.get(index + 1));
    if (helper.by !== 'bigint' && helper.by !== 'number') {
      const given = values.slice(0, intrinsicParameters[helper.by]);
      return this.set(0, e.call(helper.by, given, 'i64'));
    }
    const type = helper.by === 'number' ? 'f64' : 'i64';
    const passed = type === 'f64' ? values.map((value) => e.op('f64.convert_u.i64', value)) : values;
    const answer = e.call(helperImport(id), passed, helper.result.kind === 'none' ? null : type);
    this.result(helper, answer, type);
  }

  private result({ result, name }: BpfHelper, answer: Expr, type: 'f64' | 'i64'): void {
    const { e } = this;
    const register = (): Expr => (type === 'f64' ? e.op('i64.trunc_s_sat.f64', answer) : answer);
    switch (result.kind) {
      case 'none':
        return e.emit(answer);
      case 'number': {
        this.set(0, register());
        const { min = 0n, max } = result;
        // What the verifier relied on must hold, whatever the embedder's function gives.
        if (min > 0n) e.if(e.op('i64.lt_u', this.get(0), e.i64(BigInt.asIntN(64, min))), () => e.unreachable());
        if (max !== undefined)
          e.if(e.op('i64.gt_u', this.get(0), e.i64(BigInt.asIntN(64, max))), () => e.unreachable());
        return;
      }
      case 'region': {
        this.set(0, register());
        const isNone = e.op('i64.eqz', this.get(0));
        const address = e.i64(BigInt(this.target.regions[result.region]!.address));
        if (result.nullable) return this.set(0, e.select(isNone, e.i64(0n), address));
        e.if(isNone, () => e.unreachable());
        return this.set(0, address);
      }
      case 'value':
        throw new Error(`bpf: helper ${name} cannot give values of maps`);
      default:
        return result satisfies never;
    }
  }
}
