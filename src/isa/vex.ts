/**
 * VEX-encoded vector instructions, and definitions that serve the legacy SSE form and the VEX form at once: what an
 * instruction does stands there as a function of 128-bit values. The legacy form takes its first source from the
 * destination and keeps the upper half of the ymm register; the VEX form takes it from VEX.vvvv, does both halves if
 * VEX.L is set and clears the upper half if not. SDM volume 1, chapter 14; volume 2, section 2.3 and 2.4.
 */
import type { Builder } from '../ir/builder.ts';
import type { Insn, MemoryOperand, Operand } from '../ir/operand.ts';
import type { Value } from '../ir/types.ts';
import type { Feature } from './define.ts';
import {
  alignedAddress,
  defineVector,
  defineVex,
  destination,
  isStack,
  operandIndex,
  readVector,
  setDestination,
  type V128,
  zero,
} from './vector.ts';

/** A vector operand's 128-bit parts, the lower one first: one, or two if the operand has 256 bits. */
export type Halves = readonly V128[];

/** Linear address of what follows at `bytes` after a linear address. */
export const further = (b: Builder, address: Value<'i64'>, bytes: number): Value<'i64'> =>
  b.emit('address.base', [address], bytes, b.context.codeSize === 64 ? 64 : 32);

/** A register or memory, of the operand's width (128 or 256 bits). */
export function readHalves(b: Builder, o: Operand, aligned = false): Halves {
  if (o.kind !== 'memory') {
    const index = operandIndex(o);
    return o.kind === 'xmm' && o.width === 256 ? [b.vector(index), b.vectorHigh(index)] : [b.vector(index)];
  }
  if (o.width !== 256) return [readVector(b, o, aligned)];
  const address = aligned ? alignedAddress(b, o, false, 32) : b.address(o, 32, false);
  const low = b.loadVector(address, isStack(o));
  return [low, b.loadVector(further(b, address, 16), isStack(o))];
}
/** Writes a register; its upper half is cleared if there is one part. */
export function setHalves(b: Builder, o: Operand, [low, high]: Halves): void {
  const index = operandIndex(o);
  b.setVector(index, low!);
  b.setVectorHigh(index, high ?? zero(b));
}
/** Stores 16 or 32 bytes. */
export function storeHalves(b: Builder, o: MemoryOperand, [low, high]: Halves, aligned = false): void {
  const bytes = high === undefined ? 16 : 32;
  const address = aligned ? alignedAddress(b, o, true, bytes) : b.address(o, bytes, true);
  if (high !== undefined) b.probeWrite(address, 32, isStack(o));
  b.storeVector(address, low!, isStack(o));
  if (high !== undefined) b.storeVector(further(b, address, 16), high, isStack(o));
}

/** `make` for each part; floating point operations (`float`) raise what both parts raise. */
export function eachHalf(b: Builder, count: number, float: boolean, make: (i: number) => V128): Halves {
  if (count === 1) return [make(0)];
  if (!float) return [make(0), make(1)];
  b.emit('fp.begin');
  const made = [make(0), make(1)];
  b.emit('fp.end');
  return made;
}

/** Conditions of a VEX form, and its operands where they are not the legacy form's. */
export interface VexForm {
  /** `L0`, `L1`, `LIG`; left out: both lengths. */
  readonly length?: 'L0' | 'L1' | 'LIG';
  /** Left out: ignored. `size`: the operand size. */
  readonly w?: 'W0' | 'W1' | 'size';
  readonly operands?: string;
}
/** The VEX form of a legacy form: `66 0F 38 00 Vx,Wx` is `VEX.66.0F38.WIG 00 Vx,Wx`. */
export function vexForm(legacy: string, { length, w, operands }: VexForm = {}): string {
  const parts = /^(NP|66|F3|F2) 0F (?:(38|3A) )?([0-9A-F]{2}(?: \/\S+)?) (.+)$/.exec(legacy);
  if (parts === null) throw new Error(`vex: '${legacy}' has no VEX form`);
  const [, prefix, map, opcode, own] = parts;
  const conditions = [`VEX.${prefix}.0F${map ?? ''}`, length, w === 'size' ? undefined : (w ?? 'WIG')];
  return `${conditions.filter((c) => c !== undefined).join('.')} ${opcode} ${operands ?? own}`;
}
/** Operands with the VEX.vvvv operand after the first one. */
const withFirst = (operands: string, size: string): string => operands.replace(',', `,H${size},`);
const operandsOf = (form: string): string => form.split(' ').at(-1)!;

/** What an instruction is part of. */
export interface Family {
  readonly feature: Feature;
  /** What the 256-bit form is part of, if there is one; the 128-bit VEX form is part of AVX. */
  readonly wide: 'avx' | 'avx2' | null;
  /** What the 128-bit VEX form needs besides AVX. */
  readonly besides?: Feature;
  /** Sources besides immediates: one is operand 2 alone, and there is no VEX.vvvv operand. Left out: two. */
  readonly sources?: 1 | 2;
  /** False: the 128-bit VEX form is defined elsewhere. */
  readonly narrow?: boolean;
  /** It raises floating point exceptions. */
  readonly float?: boolean;
}
/** A 128-bit part of the result, from those of the first and the second source; `half` 1 = the upper one. */
export type Combine = (b: Builder, first: V128, second: V128, x: Insn, half: number) => V128;

/** Destination = combine(first, second) on all lanes: the SSE form (`66 0F FC Vx,Wx`) and its two VEX forms. */
export function definePacked(name: string, form: string, family: Family, combine: Combine): void {
  const { feature, sources = 2 } = family;
  defineVector(name, [form], feature, (b, x) => {
    const second = readVector(b, x.src);
    setDestination(b, x, combine(b, sources === 1 ? second : destination(b, x), second, x, 0));
  });
  defineWide(`V${name}`, form, family, combine);
}
/** Its VEX forms alone. */
export function defineWide(
  name: string,
  form: string,
  { wide, besides = 'avx', sources = 2, narrow = true, float = false }: Family,
  combine: Combine,
) {
  const operands = sources === 1 ? operandsOf(form) : withFirst(operandsOf(form), 'x');
  for (const [length, feature] of [
    ['L0', narrow ? besides : null],
    ['L1', wide],
  ] as const) {
    if (feature === null) continue;
    defineVex(name, [vexForm(form, { length, operands })], feature, (b, x) => {
      const second = readHalves(b, x.operands[sources]!);
      const first = sources === 1 ? second : readHalves(b, x.src);
      const made = eachHalf(b, second.length, float, (i) => combine(b, first[i]!, second[i]!, x, i));
      setHalves(b, x.dst, made);
    });
  }
}

/**
 * Destination = combine(first, second) where only the low lane of the second counts and `first` gives the other lanes:
 * the SSE form (`F2 0F 58 Vsd,Wsd`) and its VEX form.
 */
export function defineScalar<T extends Value>(
  name: string,
  form: string,
  feature: Feature,
  read: (b: Builder, o: Operand) => T,
  combine: (b: Builder, first: V128, second: T, x: Insn) => V128,
  vex: VexForm = {},
): void {
  defineVector(name, [form], feature, (b, x) => {
    const second = read(b, x.src);
    setDestination(b, x, combine(b, destination(b, x), second, x));
  });
  const operands = withFirst(operandsOf(form), 'dq');
  defineVex(`V${name}`, [vexForm(form, { length: 'LIG', operands, ...vex })], 'avx', (b, x) => {
    const second = read(b, x.operands[2]!);
    setDestination(b, x, combine(b, b.vector(operandIndex(x.src)), second, x));
  });
}

/** Instructions without a VEX.vvvv operand: `record` serves the SSE forms and the VEX forms alike. */
export function defineBoth(
  name: string,
  forms: readonly string[],
  feature: Feature,
  vex: VexForm,
  record: (b: Builder, x: Insn) => void,
): void {
  defineVector(name, forms, feature, record);
  defineVex(
    `V${name}`,
    forms.map((form) => vexForm(form, vex)),
    'avx',
    record,
  );
}
