/** Encodings of a form: some bytes that decode to it in a mode, with registers and memory in turn as its operand. */
import { type DecodedInstruction, decode } from '../../src/isa/decode.ts';
import type { Form } from '../../src/isa/forms.ts';
import type { Mode } from '../hardware/vectors.ts';

/** ModRM with what follows it: registers, then memory by one register, by two with a displacement, absolute, by rSP. */
const rms32: readonly (readonly number[])[] = [
  [0xc1],
  [0xcc],
  [0x03],
  [0x44, 0x8b, 0x10],
  [0x05, 0, 0x10, 0, 0],
  [0x44, 0x24, 0x08],
];
const rms16: readonly (readonly number[])[] = [[0xc1], [0xcc], [0x07], [0x41, 0x10], [0x06, 0x00, 0x10], [0x46, 0x08]];

function modrms(form: Form, mode: Mode): number[][] {
  if (!form.modrm) return [[]];
  if (form.fixedModrm !== null) return [[form.fixedModrm], [form.fixedModrm + form.fixedModrms - 1]];
  const list = mode === 16 ? rms16 : rms32;
  const reg = form.extension;
  return list.map(([modrm, ...rest]) => [reg === null ? modrm! | 0x10 : (modrm! & 0xc7) | (reg << 3), ...rest]);
}

function head(form: Form, w: number, vvvv: number): number[] {
  if (form.vex !== null) {
    const pp = ['none', '66', 'F3', 'F2'].indexOf(form.prefix === 'any' ? 'none' : form.prefix);
    const length = form.vex.length === 1 ? 4 : 0;
    return [0xc4, 0xe0 | form.map, ((form.vex.w === 1 || w === 1 ? 1 : 0) << 7) | ((~vvvv & 15) << 3) | length | pp];
  }
  const prefix = form.prefix === '66' ? [0x66] : form.prefix === 'F3' ? [0xf3] : form.prefix === 'F2' ? [0xf2] : [];
  const rex = w === 1 || form.w === 1 ? [0x48] : [];
  return [...prefix, ...rex, ...[[], [0x0f], [0x0f, 0x38], [0x0f, 0x3a]][form.map]!];
}

/** Everything that decodes to the form among its bytes with and without 66, F3, F2, REX.W and three kinds of immediates. */
export function* instructionsOf(form: Form, mode: Mode): Iterable<DecodedInstruction> {
  const extras: readonly (readonly number[])[] = form.vex !== null ? [[]] : [[], [0x66], [0x67], [0xf3], [0xf2]];
  for (const extra of extras) {
    for (const w of mode === 64 ? [0, 1] : [0]) {
      for (const modrm of modrms(form, mode)) {
        for (const immediate of [0x00, 0x03, 0xff]) {
          const opcode = form.opcode + (form.opcodes === 1 ? 0 : form.opcodes === 8 ? 3 : 7);
          const start = [...extra, ...head(form, w, form.usesVvvv ? 3 : 0), opcode, ...modrm];
          const bytes = new Uint8Array(16).fill(immediate);
          bytes.set(start.slice(0, 16));
          const decoded = decode(bytes, 0, 16, 0x1000n, mode);
          if (decoded.failure === null && decoded.form === form) yield decoded;
        }
      }
    }
  }
}
