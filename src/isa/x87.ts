/**
 * What the x87 families share: availability, pending exceptions, the pointers to the last instruction, operands.
 * SDM volume 1, section 8.1.8; volume 3, chapter 2.5 (CR0.EM, CR0.TS).
 */
import type { Builder } from '../ir/builder.ts';
import { type Insn, type MemoryOperand, type NumberedOperand, type Operand, SS } from '../ir/operand.ts';
import type { Value, Width } from '../ir/types.ts';
import { OPERAND } from '../ir/x87-ops.ts';
import { define, type Feature, NM } from './define.ts';

/** An x87 instruction that looks at nothing but CR0 first: FNINIT and its like. */
export function defineNoWait(name: string, forms: readonly string[], record: (b: Builder, x: Insn) => void): void {
  define(
    name,
    forms,
    (b, x) => {
      if (b.context.x87 === 'device-not-available') b.raise(NM);
      else record(b, x);
    },
    'fpu',
  );
}
/** A control instruction that raises pending exceptions first. */
export function defineControl(name: string, forms: readonly string[], record: (b: Builder, x: Insn) => void): void {
  defineNoWait(name, forms, (b, x) => {
    b.emit('x87.ready');
    record(b, x);
  });
}
/** Any other x87 instruction: it becomes the last one, after its memory operand is known to be accessible. */
export function defineX87(
  name: string,
  forms: readonly string[],
  record: (b: Builder, x: Insn) => void,
  feature: Feature = 'fpu',
): void {
  define(
    name,
    forms,
    (b, x) => {
      if (b.context.x87 === 'device-not-available') return b.raise(NM);
      b.emit('x87.ready');
      record(b, x);
      const first = (x.opcode > 0xff ? x.opcode >> 8 : x.opcode) & 7;
      b.emit('x87.code', [], x.rip, (first << 8) | x.modrm);
      const memory = x.operands.find((o) => o.kind === 'memory');
      if (memory !== undefined) b.emit('x87.data', [b.effectiveAddress(memory)], memory.segment);
    },
    feature,
  );
}

/** The place of a stack operand. */
export const place = (o: Operand): number => (o as NumberedOperand).index;
const stack = (o: MemoryOperand): boolean => o.segment === SS;

export type Format = 'f32' | 'f64' | 'i16' | 'i32' | 'i64' | 'f80' | 'bcd';

/** Loads the memory operand as an operand of the unit; gives its place. */
export function operand(b: Builder, o: MemoryOperand, format: Format): typeof OPERAND {
  const load = (width: Width) => b.load(b.address(o, width / 8, false), width, stack(o));
  switch (format) {
    case 'f32':
      b.emit('x87.operand.f32', [load(32)]);
      break;
    case 'f64':
      b.emit('x87.operand.f64', [load(64)]);
      break;
    case 'i16':
    case 'i32':
    case 'i64': {
      const width = Number(format.slice(1)) as Width;
      b.emit('x87.operand.i64', [b.toI64Signed(load(width), width)]);
      break;
    }
    default: {
      const at = b.address(o, 10, false);
      const low = b.load(at, 64, stack(o));
      b.emit(`x87.operand.${format}`, [low, b.load(upper(b, at), 16, stack(o))]);
    }
  }
  return OPERAND;
}
/** Address of the two upper bytes of ten. */
const upper = (b: Builder, at: Value<'i64'>): Value<'i64'> =>
  b.emit('address.base', [at], 8, b.context.codeSize === 64 ? 64 : 32);

/** Stores ST0 and pops so often. */
export function result(b: Builder, o: MemoryOperand, format: Format, pops: number, truncate = false): void {
  const bytes = format === 'f80' || format === 'bcd' ? 10 : Number(format.slice(1)) / 8;
  const at = b.address(o, bytes, true);
  const integer = format[0] === 'i';
  const value = b.emit<'i32' | 'i64'>(`x87.result.${format}`, [], ...(integer ? [truncate ? 1 : 0] : []));
  b.when(b.emit('x87.done'), () => {
    if (bytes === 10) {
      b.probeWrite(at, 10, stack(o));
      b.store(at, 64, value, stack(o));
      b.store(upper(b, at), 16, b.emit('x87.result.upper'), stack(o));
    } else b.store(at, (bytes * 8) as Width, value, stack(o));
  });
  // What is not stored must be storable all the same: the access's fault goes before the exception. SDM volume 3, 7.9.
  b.when(b.emit('x87.undone'), () => b.probeWrite(at, bytes, stack(o)));
  b.emit('x87.commit', [], pops);
}
