/**
 * Every micro-op, once: the types of its operands and of its result, its immediates and its effect. Builder, optimiser,
 * interpreter encoder and lowering are all checked against this table.
 *
 * Names of pure ones are WebAssembly's where WebAssembly has the operation (`i32.add`): those need no lowering arm, they
 * lower to the instruction of that name. The others have one arm each in jit/lower*.ts.
 */
import { libraryOps } from './library-ops.ts';
import { type Effect, type MicroOpSpec, spec } from './micro-op-spec.ts';
import { mmxOps } from './mmx-ops.ts';
import { simdOps } from './simd-ops.ts';
import { sseOps } from './sse-ops.ts';
import { isX87, x87Ops } from './x87-ops.ts';

export type { Effect, MicroOpSpec };

const pure = (signature: string) => spec('pure', signature);

const names = <const N extends string, const S extends MicroOpSpec>(list: readonly N[], of: S) =>
  Object.fromEntries(list.map((n) => [n, of])) as unknown as Record<N, MicroOpSpec>;

const integerOps = {
  ...names(
    [
      'i32.add',
      'i32.sub',
      'i32.mul',
      'i32.and',
      'i32.or',
      'i32.xor',
      'i32.shl',
      'i32.shr_u',
      'i32.shr_s',
      'i32.rotl',
      'i32.rotr',
      'i32.div_u',
      'i32.div_s',
      'i32.rem_u',
      'i32.rem_s',
      'i32.eq',
      'i32.ne',
      'i32.lt_u',
      'i32.lt_s',
      'i32.le_u',
      'i32.le_s',
      'i32.gt_u',
      'i32.gt_s',
      'i32.ge_u',
      'i32.ge_s',
    ],
    pure('ii>i'),
  ),
  ...names(['i32.eqz', 'i32.clz', 'i32.ctz', 'i32.popcnt', 'i32.extend8_s', 'i32.extend16_s'], pure('i>i')),
  ...names(
    [
      'i64.add',
      'i64.sub',
      'i64.mul',
      'i64.and',
      'i64.or',
      'i64.xor',
      'i64.shl',
      'i64.shr_u',
      'i64.shr_s',
      'i64.rotl',
      'i64.rotr',
      'i64.div_u',
      'i64.div_s',
      'i64.rem_u',
      'i64.rem_s',
    ],
    pure('ll>l'),
  ),
  ...names(
    [
      'i64.eq',
      'i64.ne',
      'i64.lt_u',
      'i64.lt_s',
      'i64.le_u',
      'i64.le_s',
      'i64.gt_u',
      'i64.gt_s',
      'i64.ge_u',
      'i64.ge_s',
    ],
    pure('ll>i'),
  ),
  ...names(['i64.clz', 'i64.ctz', 'i64.popcnt', 'i64.extend8_s', 'i64.extend16_s', 'i64.extend32_s'], pure('l>l')),
  'i64.eqz': pure('l>i'),
  'i64.extend_u': pure('i>l'), // wasm: i64.extend_i32_u
  'i64.extend_s': pure('i>l'),
  'i32.wrap': pure('l>i'),
  'i32.select': pure('iii>i'), // condition, if true, if false
  'i64.select': pure('ill>l'),
  'v128.select': pure('ivv>v'),
  // Partial registers: the 64-bit register and the new low 8 bits, bits 8-15, low 16 bits; and the read of bits 8-15.
  insert8: pure('li>l'),
  insert8h: pure('li>l'),
  insert16: pure('li>l'),
  extract8h: pure('l>i'),
  // Wide arithmetic, by calls into the arithmetic library: high half of a product; 128/64 division (high, low, divisor)
  // whose quotient must fit (the definition has raised #DE before); its remainder; parallel bit deposit and extract.
  'i64.mul_high_u': pure('ll>l'),
  'i64.mul_high_s': pure('ll>l'),
  'i64.div128_u': pure('lll>l'),
  'i64.rem128_u': pure('lll>l'),
  'i64.pdep': pure('ll>l'),
  'i64.pext': pure('ll>l'),
} as const;

const constants = {
  'i32.const': pure('>i'), // immediates: [number]
  'i64.const': pure('>l'), // [bigint]
  'f32.const': pure('>f'), // [number]
  'f64.const': pure('>d'), // [number]
  'v128.const': pure('>v'), // [16 numbers]
} as const;

const floatOps = {
  ...names(['f32.add', 'f32.sub', 'f32.mul', 'f32.div'], pure('ff>f')),
  ...names(['f64.add', 'f64.sub', 'f64.mul', 'f64.div'], pure('dd>d')),
  ...names(['f32.eq', 'f32.ne', 'f32.lt', 'f32.gt', 'f32.le', 'f32.ge'], pure('ff>i')),
  ...names(['f64.eq', 'f64.ne', 'f64.lt', 'f64.gt', 'f64.le', 'f64.ge'], pure('dd>i')),
  ...names(['f32.sqrt', 'f32.abs', 'f32.neg', 'f32.nearest', 'f32.floor', 'f32.ceil', 'f32.trunc'], pure('f>f')),
  ...names(['f64.sqrt', 'f64.abs', 'f64.neg', 'f64.nearest', 'f64.floor', 'f64.ceil', 'f64.trunc'], pure('d>d')),
  'i32.reinterpret': pure('f>i'),
  'i64.reinterpret': pure('d>l'),
  'f32.reinterpret': pure('i>f'),
  'f64.reinterpret': pure('l>d'),
  'f64.promote': pure('f>d'),
  'f32.demote': pure('d>f'),
  'f64.convert_i32_s': pure('i>d'),
  'f64.convert_i64_s': pure('l>d'),
  'f32.convert_i32_s': pure('i>f'),
  'f32.convert_i64_s': pure('l>f'),
  'i32.trunc_sat_f32_s': pure('f>i'),
  'i32.trunc_sat_f64_s': pure('d>i'),
  'i64.trunc_sat_f32_s': pure('f>l'),
  'i64.trunc_sat_f64_s': pure('d>l'),
} as const;

const stateOps = {
  'reg.get': spec('read', '>l'), // [index 0-15]: all 64 bits
  'reg.set': spec('write', 'l>'), // [index]
  'xmm.get': spec('read', '>v'), // [index]
  'xmm.set': spec('write', 'v>'), // [index]
  // The upper half of a ymm register: in memory even while a region holds the lower one in a local.
  'ymm.get': spec('read', '>v'), // [index]
  'ymm.set': spec('write', 'v>'), // [index]
  // Any other field of the layout table, by name.
  'state.get32': spec('read', '>i'), // [field]
  'state.set32': spec('write', 'i>'), // [field]
  'state.get64': spec('read', '>l'),
  'state.set64': spec('write', 'l>'),
  // Lazy flags, see flags.ts. [kind, width]: operands a, b (i64, zero-extended from width), carry in (0 or 1).
  'flags.set': spec('write', 'lli>'),
  // [mask]: replaces the flags in mask by those of the word, leaves the others.
  'flags.merge': spec('write', 'i>'),
  // [mask]: the flags in mask, at their places in RFLAGS; the other bits are zero.
  'flags.get': spec('read', '>i'),
  // [condition code 0-15] -> 0 or 1
  'flags.test': spec('read', '>i'),
  // The time-stamp counter as the guest sees it. The instruction that reads it is the last of its block: then the budget
  // says how many instructions have been executed.
  'time.stamp': spec('read', '>l'),
  // What is left of the instruction budget after the instruction that asks, which is the last of its block as well.
  'budget.get': spec('read', '>i'),
} as const;

const memoryOps = {
  // [index scale 0-3, displacement, address width]: base + displacement; base + (index << scale) + displacement;
  // cut to the address width, zero-extended.
  'address.base': pure('l>l'), // [displacement, width]
  'address.index': pure('ll>l'), // base, index [scale, displacement, width]
  // Segmentation outside flat mode: offset -> linear address, with limit and access check. [segment, bytes, write 0/1]
  segment: spec('fault', 'l>l'),
  // Linear address -> value, zero-extended. [stack 0/1: a non-canonical address is #SS and not #GP]
  ...names(['load.8', 'load.16', 'load.32'], spec('memory', 'l>i')),
  'load.64': spec('memory', 'l>l'),
  'load.128': spec('memory', 'l>v'),
  // The same for a read-modify-write: the page must be writable. The store that follows it at the same address cannot fault.
  ...names(['modify.8', 'modify.16', 'modify.32'], spec('memory', 'l>i')),
  'modify.64': spec('memory', 'l>l'),
  ...names(['store.8', 'store.16', 'store.32'], spec('memory', 'li>')), // [stack]
  'store.64': spec('memory', 'll>'),
  'store.128': spec('memory', 'lv>'),
  // Around the operations of an instruction that does several in one: exceptions are those of all of them. They come after
  // everything else that may fault.
  'fp.begin': spec('memory', '>'),
  'fp.end': spec('memory', '>'),
  // EFLAGS.AC lifts SMAP from here on (1) or does not (0). Its block ends, and so does a region: the interpreter does it.
  'smap.access': spec('fault', 'i>'),
  // Fault now if [bytes] at the linear address cannot be read / written. [bytes, stack]
  'probe.read': spec('memory', 'l>'),
  'probe.write': spec('memory', 'l>'),
} as const;

const controlOps = {
  insn: spec('control', '>'), // [rip, index in block]: an instruction begins
  // What the instruction has changed so far stays so if it faults from here on: it is written to go on from there.
  restart: spec('control', '>'),
  when: spec('control', 'i>'), // what follows up to 'end' happens only if the operand is not zero
  end: spec('control', '>'),
  raise: spec('fault', '>'), // [vector, error code or -1]
  'raise.if': spec('fault', 'i>'), // [vector, error code or -1]
  jump: spec('control', 'l>'), // target instruction pointer (not linear) [kind: 'jump' | 'call' | 'return', return address or 0n]
  branch: spec('control', 'i>'), // [taken, next]: constant instruction pointers
  // A helper in plain TypeScript, [name, rip of this instruction, rip of the next]: arguments in the fields argument0-3. Ends the block.
  // If the operand is not zero the helper does the whole instruction, and the block ends: [name, rip, next], arguments as for `call`.
  'call.if': spec('fault', 'i>'),
  call: spec('control', '>'), // preceded by state.set64 argumentN
} as const;

export const microOps = {
  ...constants,
  ...integerOps,
  ...floatOps,
  ...stateOps,
  ...memoryOps,
  ...controlOps,
  ...simdOps,
  ...libraryOps,
  ...mmxOps,
  ...sseOps,
  ...x87Ops,
};

export type MicroOp = keyof typeof microOps;
export type Immediate = number | bigint | string | readonly number[];

export interface Node {
  readonly op: MicroOp;
  /** The micro-op's number: an index into tables. */
  readonly code: number;
  readonly args: readonly number[];
  readonly imm: readonly Immediate[];
}

export const specOf = (op: MicroOp): MicroOpSpec => microOps[op];

/** Micro-ops by number. */
export const opList = Object.keys(microOps) as readonly MicroOp[];
const numbers = new Map(opList.map((op, index) => [op, index]));
export function codeOf(op: MicroOp): number {
  const code = numbers.get(op);
  if (code === undefined) throw new Error(`micro-ops: there is no ${op}`);
  return code;
}
export const nodeOf = (op: MicroOp, args: readonly number[], imm: readonly Immediate[]): Node => ({
  op,
  code: codeOf(op),
  args,
  imm,
});

/** Effects by a micro-op's number, as numbers. */
export const PURE = 0,
  READ = 1,
  WRITE = 2,
  MEMORY = 3,
  FAULT = 4,
  CONTROL = 5;
const effectNumbers: Record<Effect, number> = {
  pure: PURE,
  read: READ,
  write: WRITE,
  memory: MEMORY,
  fault: FAULT,
  control: CONTROL,
};
export const effects = Uint8Array.from(opList, (op) => effectNumbers[microOps[op].effect]);
/** Result types by a micro-op's number. */
export const results = opList.map((op) => microOps[op].result);

/** What a micro-op does to memory, by its number; null: nothing. */
export interface MemoryAccess {
  readonly kind: 'load' | 'modify' | 'store';
  readonly bytes: number;
}
export const memoryAccesses: readonly (MemoryAccess | null)[] = opList.map((op) => {
  const match = /^(load|modify|store)\.(\d+)$/.exec(op);
  return match === null ? null : { kind: match[1] as MemoryAccess['kind'], bytes: Number(match[2]) / 8 };
});
/** Whether a micro-op, by its number, is of the x87 unit. */
export const x87Codes: readonly boolean[] = opList.map(isX87);
/** May leave the straight path of the instruction: the state before it must be exact. */
export const codeMayFault = (code: number): boolean => effects[code] === MEMORY || effects[code] === FAULT;
