/**
 * Representative encodings of a form: every operand size, address size and kind of operand that it has, with the prefixes
 * that it allows. For tests and fuzzing; made from the form alone, so that the decoder can be held against it.
 */
import { acceptsModrm, type Form, sizeSlot } from './forms.ts';

type Mode = 16 | 32 | 64;

interface Prefixes {
  readonly bytes: readonly number[];
  readonly rex: number;
  readonly operandSize: Mode;
  readonly addressWidth: Mode;
}

function prefixVariants(form: Form, mode: Mode): Prefixes[] {
  const mandatory = form.prefix === '66' ? [0x66] : form.prefix === 'F3' ? [0xf3] : form.prefix === 'F2' ? [0xf2] : [];
  const vex = form.vex !== null;
  const operandPrefixes = form.prefix === 'none' || form.prefix === '66' || vex ? [false] : [false, true];
  const rexes = mode === 64 ? [0, 0x40, 0x48, 0x45, 0x4f] : form.vex?.w === 1 ? [0x48] : [0];
  const made: Prefixes[] = [];
  for (const shrink of operandPrefixes) {
    for (const address of [false, true]) {
      for (const rex of rexes) {
        const w = (rex >> 3) & 1;
        if (form.w !== null && form.w !== w) continue;
        if (vex && typeof form.vex.w === 'number' && form.vex.w !== w) continue;
        let operandSize: Mode;
        if (mode !== 64) operandSize = (mode === 16) !== shrink ? 16 : 32;
        else if (form.operandSize64 === 'always64' || w === 1) operandSize = 64;
        else if (shrink) operandSize = 16;
        else operandSize = form.operandSize64 === 'default64' ? 64 : 32;
        const addressWidth = mode === 64 ? (address ? 32 : 64) : (mode === 16) !== address ? 16 : 32;
        const bytes = [...(address ? [0x67] : []), ...(shrink ? [0x66] : []), ...(vex ? [] : mandatory)];
        made.push({ bytes, rex, operandSize, addressWidth });
      }
    }
  }
  return made;
}

/** ModRM, SIB and displacement: registers, then each shape of address. */
function modrmVariants(form: Form, addressWidth: Mode): number[][] {
  if (!form.modrm) return [[]];
  if (form.fixedModrm !== null) {
    return form.fixedModrms === 1
      ? [[form.fixedModrm]]
      : [[form.fixedModrm], [form.fixedModrm + 3], [form.fixedModrm + 7]];
  }
  const reg = form.operands.find((o) => o.source === 'reg');
  let numbers = [2, 7];
  if (form.extension !== null) numbers = [form.extension];
  else if (reg?.file === 'segment') numbers = [0, 3, 5];
  else if (reg?.file === 'control') numbers = [0, 3, 4];
  else if (reg === undefined) numbers = [0];
  const shapes =
    addressWidth === 16
      ? [[0xc1], [0xc6], [0x00], [0x06, 0x34, 0x12], [0x43, 0xf8], [0x86, 0x10, 0x01]]
      : [
          [0xc1],
          [0xc6],
          [0x03],
          [0x05, 0x10, 0x20, 0, 0],
          [0x45, 0xf8],
          [0x04, 0x8b],
          [0x84, 0x24, 0, 1, 0, 0],
          [0x04, 0x25, 0, 0x10, 0, 0],
        ];
  const made: number[][] = [];
  for (const number of numbers) {
    for (const [shape, ...rest] of shapes) {
      const modrm = shape! | (number << 3);
      if (form.mod === 'ignored' && modrm < 0xc0) continue;
      if (form.vsib !== null && (addressWidth === 16 || (modrm & 7) !== 4)) continue; // it needs a SIB byte
      if (acceptsModrm(form, modrm)) made.push([modrm, ...rest]);
    }
  }
  return made;
}

const mapBytes = [[], [0x0f], [0x0f, 0x38], [0x0f, 0x3a]];

function opcodeBytes(form: Form, rex: number, length: number, vvvv: number, mode: Mode): number[][] {
  const opcodes = form.opcodes === 1 ? [0] : form.opcodes === 8 ? [1, 7] : [...Array(16).keys()];
  return opcodes.map((n) => {
    const opcode = form.opcode + n;
    if (form.vex === null) return [...(rex === 0 ? [] : [rex]), ...mapBytes[form.map]!, opcode];
    const pp = ['none', '66', 'F3', 'F2'].indexOf(form.prefix);
    const rxb = mode === 64 ? (~rex & 7) << 5 : 0xe0;
    const w = ((rex >> 3) & 1) << 7;
    return [0xc4, rxb | form.map, w | ((~vvvv & 15) << 3) | (length << 2) | pp, opcode];
  });
}

const immediatePatterns = [
  [0x05, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00],
  [0xfb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
];

/** Encodings of a form in a mode; none if it does not exist there. */
export function sampleEncodings(form: Form, mode: Mode): Uint8Array[] {
  if (!(mode === 64 ? form.in64 : form.outside64)) return [];
  const made = new Map<string, Uint8Array>();
  const add = (bytes: readonly number[]) => {
    if (bytes.length <= 15) made.set(bytes.join(), Uint8Array.from(bytes));
  };
  const lengths = form.vex === null ? [0] : form.vex.length === null ? [0, 1] : [form.vex.length];
  for (const prefixes of prefixVariants(form, mode)) {
    for (const length of lengths) {
      for (const opcode of opcodeBytes(form, prefixes.rex, length, form.usesVvvv ? 3 : 0, mode)) {
        for (const modrm of modrmVariants(form, prefixes.addressWidth)) {
          const tail =
            form.immediateBytes[sizeSlot(prefixes.operandSize, length === 1 ? 256 : 128)]! +
            (form.moffs ? prefixes.addressWidth / 8 : 0);
          for (const pattern of tail === 0 ? [[]] : immediatePatterns) {
            const rest = [...opcode, ...modrm, ...pattern.slice(0, tail)];
            add([...prefixes.bytes, ...rest]);
            const plain = prefixes.rex === 0 && prefixes.bytes.length === 0;
            if (form.lock && modrm.length > 0 && modrm[0]! < 0xc0) add([0xf0, ...prefixes.bytes, ...rest]);
            if (form.repeats) {
              add([0xf3, ...prefixes.bytes, ...rest]);
              add([0xf2, ...prefixes.bytes, ...rest]);
            }
            const memory = (modrm.length > 0 && modrm[0]! < 0xc0) || form.moffs || form.repeats;
            if (plain && memory) for (const segment of [0x2e, 0x64]) add([segment, ...rest]);
          }
        }
      }
    }
  }
  return [...made.values()];
}
