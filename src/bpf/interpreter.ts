/**
 * Runs verified programs an instruction at a time: the reference that translations are compared with, and what runs a
 * program until its translation is there. Every access is checked against the areas that the program may touch; a verified
 * program never goes beyond them.
 */
import { compute, extend, holds, negate, swap } from './arithmetic.ts';
import { type AccessSize, type BpfInstruction, framePointer, immediateSource, registerCount } from './instructions.ts';
import { runIntrinsic } from './intrinsics.ts';
import type { Area, PlacedContext } from './placement.ts';
import { type BpfLinkage, type BpfProgram, checkLinkage, checkResult, numberResult } from './program.ts';
import type { VerifiedProgram } from './verifier.ts';

interface CallFrame {
  readonly registers: bigint[];
  readonly returnTo: number;
  readonly start: number;
}

const u64 = (value: bigint): bigint => BigInt.asUintN(64, value);

export class BpfInterpreter implements BpfProgram {
  readonly name: string;
  /** Called before each instruction: for tests. */
  trace: ((at: number, registers: readonly bigint[], depth: number) => void) | null = null;
  private readonly program: VerifiedProgram;
  private readonly linkage: BpfLinkage;
  private readonly areas: readonly Area[];
  private view: DataView;

  constructor(program: VerifiedProgram, linkage: BpfLinkage) {
    checkLinkage(program, linkage);
    this.name = program.name;
    this.program = program;
    this.linkage = linkage;
    this.areas = [...linkage.maps.values, ...Object.values(linkage.regions)];
    this.view = new DataView(linkage.memory.buffer);
  }

  run(context: PlacedContext): bigint {
    context.enter();
    try {
      return this.execute(context);
    } finally {
      context.busy = false;
    }
  }
  runSmall(context: PlacedContext): number {
    return Number(BigInt.asIntN(32, this.run(context)));
  }

  private execute(context: PlacedContext): bigint {
    const { code, frameBytes } = this.program;
    const areas = [...this.areas, context.area, context.stack];
    const first = new Array<bigint>(registerCount).fill(0n);
    first[1] = BigInt(context.area.address);
    first[framePointer] = BigInt(context.stackTop);
    const frames: CallFrame[] = [{ registers: first, returnTo: -1, start: 0 }];
    for (let at = 0; ; ) {
      if (this.view.buffer !== this.linkage.memory.buffer) this.view = new DataView(this.linkage.memory.buffer);
      const frame = frames.at(-1)!;
      const r = frame.registers;
      this.trace?.(at, r, frames.length);
      const i = code[at]!;
      switch (i.kind) {
        case 'branch':
          at = holds(i.condition, i.width, r[i.register]!, operand(i, r)) ? i.target : at + 1;
          break;
        case 'goto':
          at = i.target;
          break;
        case 'call-local': {
          const registers = new Array<bigint>(registerCount).fill(0n);
          for (let n = 1; n <= 5; n++) registers[n] = r[n]!;
          registers[framePointer] = r[framePointer]! - BigInt(frameBytes.get(frame.start)!);
          frames.push({ registers, returnTo: at + 1, start: i.target });
          at = i.target;
          break;
        }
        case 'exit': {
          frames.pop();
          const caller = frames.at(-1);
          if (caller === undefined) return r[0]!;
          caller.registers[0] = r[0]!;
          at = frame.returnTo;
          break;
        }
        case 'constant':
        case 'map':
        case 'map-value':
          r[i.register] = this.constant(i);
          at += 2;
          break;
        default:
          this.step(i, r, areas, at);
          at++;
      }
    }
  }

  private constant(i: BpfInstruction & { kind: 'constant' | 'map' | 'map-value' }): bigint {
    if (i.kind === 'constant') return i.value;
    const { descriptors, values } = this.linkage.maps;
    return BigInt(i.kind === 'map' ? descriptors[i.map]!.address : values[i.map]!.address + i.offset);
  }

  private step(
    i: BpfInstruction & { kind: 'alu' | 'negate' | 'extend' | 'swap' | 'load' | 'store' | 'atomic' | 'call' },
    r: bigint[],
    areas: readonly Area[],
    at: number,
  ): void {
    switch (i.kind) {
      case 'alu':
        r[i.register] = compute(i.operation, i.width, r[i.register]!, operand(i, r));
        return;
      case 'negate':
        r[i.register] = negate(i.width, r[i.register]!);
        return;
      case 'extend':
        r[i.register] = extend(i.width, i.bits, r[i.source]!);
        return;
      case 'swap':
        r[i.register] = swap(i.order, i.bits, r[i.register]!);
        return;
      case 'load': {
        const loaded = this.load(place(r[i.base]!, i.offset, i.size, areas, at), i.size);
        r[i.register] = i.signed ? extend(64, i.size * 8, loaded) : loaded;
        return;
      }
      case 'store':
        return this.store(place(r[i.base]!, i.offset, i.size, areas, at), i.size, u64(operand(i, r)));
      case 'atomic':
        return this.atomic(i, r, place(r[i.base]!, i.offset, i.size, areas, at));
      case 'call':
        r[0] = this.call(i.helper, r);
        return;
      default:
        return i satisfies never;
    }
  }

  private load(address: number, size: AccessSize): bigint {
    switch (size) {
      case 1:
        return BigInt(this.view.getUint8(address));
      case 2:
        return BigInt(this.view.getUint16(address, true));
      case 4:
        return BigInt(this.view.getUint32(address, true));
      case 8:
        return this.view.getBigUint64(address, true);
      default:
        return size satisfies never;
    }
  }
  private store(address: number, size: AccessSize, value: bigint): void {
    switch (size) {
      case 1:
        return this.view.setUint8(address, Number(value & 0xffn));
      case 2:
        return this.view.setUint16(address, Number(value & 0xffffn), true);
      case 4:
        return this.view.setUint32(address, Number(value & 0xffff_ffffn), true);
      case 8:
        return this.view.setBigUint64(address, value, true);
      default:
        return size satisfies never;
    }
  }

  private atomic(i: BpfInstruction & { kind: 'atomic' }, r: bigint[], address: number): void {
    const words = new BigUint64Array(this.linkage.memory.buffer, address & ~7, 1);
    // An operation on half a word is tried on the whole until nobody else was there.
    const shift = BigInt((address & 7) * 8);
    const bits = i.size * 8;
    const mask = (1n << BigInt(bits)) - 1n;
    const source = r[i.source]! & mask;
    for (;;) {
      const whole = Atomics.load(words, 0);
      const old = (whole >> shift) & mask;
      const next = combine(i.operation, old, source, r[0]! & mask) & mask;
      const changed = (whole & ~(mask << shift)) | (next << shift);
      if (Atomics.compareExchange(words, 0, whole, changed) !== whole) continue;
      if (i.operation === 'compare-exchange') r[0] = old;
      else if (i.fetch) r[i.source] = old;
      return;
    }
  }

  private call(id: number, r: readonly bigint[]): bigint {
    const { environment } = this.program;
    const helper = environment.helpers[id]!;
    const values = r.slice(1, 1 + helper.arguments.length);
    if (helper.by !== 'bigint' && helper.by !== 'number') return runIntrinsic(helper.by, this.linkage.memory, values);
    const call = this.linkage.calls[helper.name] as (...values: (bigint | number)[]) => unknown;
    const { result } = helper;
    const answer =
      helper.by === 'number'
        ? numberResult(call(...values.map(Number)))
        : u64(BigInt((call(...values) ?? 0n) as bigint));
    switch (result.kind) {
      case 'number':
        return checkResult(helper.name, answer, result.min, result.max);
      case 'region':
        if (answer === 0n && !result.nullable) throw new RangeError(`helper ${helper.name} gave no region`);
        return answer === 0n ? 0n : BigInt(this.linkage.regions[result.region]!.address);
      case 'none':
        return 0n;
      case 'value':
        throw new RangeError(`helper ${helper.name} cannot give values of maps`);
      default:
        return result satisfies never;
    }
  }
}

const operand = ({ source, immediate }: { source: number; immediate: number }, r: readonly bigint[]): bigint =>
  source === immediateSource ? BigInt(immediate) : r[source]!;

function combine(
  operation: (BpfInstruction & { kind: 'atomic' })['operation'],
  old: bigint,
  source: bigint,
  expected: bigint,
): bigint {
  switch (operation) {
    case 'add':
      return old + source;
    case 'or':
      return old | source;
    case 'and':
      return old & source;
    case 'xor':
      return old ^ source;
    case 'exchange':
      return source;
    case 'compare-exchange':
      return old === expected ? source : old;
    default:
      return operation satisfies never;
  }
}

/** The address of an access, which the verifier has proven; to leave the areas is a bug of it. */
function place(base: bigint, offset: number, size: number, areas: readonly Area[], at: number): number {
  const address = Number(BigInt.asIntN(64, base)) + offset;
  if (!areas.some((area) => address >= area.address && address + size <= area.address + area.size))
    throw new Error(`bpf: instruction ${at} accesses ${size} bytes at ${address}, outside of what it may`);
  return address;
}
