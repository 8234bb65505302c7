/** Instructions as text, in the notation of LLVM and of the Linux kernel's documents; assemble.ts reads it back. */
import {
  aluOperations,
  atomicOperations,
  type BpfCodeList,
  type BpfInstruction,
  conditions,
  immediateSource,
  type Operand,
  type Width,
} from './instructions.ts';

const named = (width: Width, register: number): string => `${width === 32 ? 'w' : 'r'}${register}`;
const operand = (width: Width, { source, immediate }: Operand): string =>
  source === immediateSource ? `${immediate}` : named(width, source);
const place = (base: number, offset: number): string => `r${base} ${offset < 0 ? '-' : '+'} ${Math.abs(offset)}`;
const distance = (at: number, target: number): string => (target > at ? `+${target - at - 1}` : `${target - at - 1}`);

/** @param at the instruction's number, from which jumps count */
export function instructionText(instruction: BpfInstruction, at: number): string {
  const i = instruction;
  switch (i.kind) {
    case 'alu':
      return `${named(i.width, i.register)} ${aluOperations[i.operation].symbol} ${operand(i.width, i)}`;
    case 'negate':
      return `${named(i.width, i.register)} = -${named(i.width, i.register)}`;
    case 'extend':
      return `${named(i.width, i.register)} = (s${i.bits})${named(i.width, i.source)}`;
    case 'swap':
      return `r${i.register} = ${i.order === 'swap' ? 'bswap' : i.order}${i.bits} r${i.register}`;
    case 'constant':
      return `r${i.register} = 0x${i.value.toString(16)} ll`;
    case 'map':
      return `r${i.register} = ${i.byFd ? 'fd' : 'map'} ${i.map} ll`;
    case 'map-value':
      return `r${i.register} = ${i.byFd ? 'fd' : 'map'} ${i.map} value + ${i.offset} ll`;
    case 'load':
      return `r${i.register} = *(${i.signed ? 's' : 'u'}${i.size * 8} *)(${place(i.base, i.offset)})`;
    case 'store':
      return `*(u${i.size * 8} *)(${place(i.base, i.offset)}) = ${operand(64, i)}`;
    case 'atomic': {
      const width: Width = i.size === 4 ? 32 : 64;
      const source = named(width, i.source);
      const where = place(i.base, i.offset);
      const exchange = width === 32 ? 'xchg32_32' : 'xchg_64';
      if (i.operation === 'exchange') return `${source} = ${exchange}(${where}, ${source})`;
      if (i.operation === 'compare-exchange')
        return `${named(width, 0)} = cmp${exchange}(${where}, ${named(width, 0)}, ${source})`;
      if (i.fetch) return `${source} = atomic_fetch_${i.operation}((u${width} *)(${where}), ${source})`;
      return `lock *(u${width} *)(${where}) ${atomicOperations[i.operation].symbol} ${source}`;
    }
    case 'branch': {
      const test = `${named(i.width, i.register)} ${conditions[i.condition].symbol} ${operand(i.width, i)}`;
      return `if ${test} goto ${distance(at, i.target)}`;
    }
    case 'goto':
      return `${i.long ? 'gotol' : 'goto'} ${distance(at, i.target)}`;
    case 'call':
      return `call ${i.helper}`;
    case 'call-local':
      return `call pc${distance(at, i.target)}`;
    case 'exit':
      return 'exit';
    default:
      return i satisfies never;
  }
}

/** One line for each instruction. */
export function disassemble(code: BpfCodeList): string[] {
  return code.flatMap((instruction, at) => (instruction === null ? [] : [instructionText(instruction, at)]));
}
