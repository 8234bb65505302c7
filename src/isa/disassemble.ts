/**
 * Intel-syntax text of a decoded instruction, for `disasm` and for messages. RIP-relative operands show their target.
 */
import { conditionNames } from '../ir/flag-names.ts';
import type { MemoryOperand, Operand } from '../ir/operand.ts';
import type { DecodedInstruction } from './decode.ts';

const words = ['ax', 'cx', 'dx', 'bx', 'sp', 'bp', 'si', 'di'];
const lowBytes = ['al', 'cl', 'dl', 'bl', 'spl', 'bpl', 'sil', 'dil'];
const highBytes = ['ah', 'ch', 'dh', 'bh'];
const segments = ['es', 'cs', 'ss', 'ds', 'fs', 'gs'];
const SS = 2;
const DS = 3;

/** Name of a general register. */
export function registerName(index: number, width: number, high = false): string {
  if (high) return highBytes[index]!;
  if (index >= 8) return `r${index}${width === 64 ? '' : width === 32 ? 'd' : width === 16 ? 'w' : 'b'}`;
  if (width === 8) return lowBytes[index]!;
  return `${width === 64 ? 'r' : width === 32 ? 'e' : ''}${words[index]!}`;
}

const sizeNames: Record<number, string> = {
  8: 'byte ptr ',
  16: 'word ptr ',
  32: 'dword ptr ',
  48: 'fword ptr ',
  64: 'qword ptr ',
  80: 'tbyte ptr ',
  128: 'xmmword ptr ',
  256: 'ymmword ptr ',
};

const hex = (n: bigint): string => `0x${n.toString(16)}`;

function memoryText(o: MemoryOperand): string {
  const usual = o.base === 4 || o.base === 5 ? SS : DS;
  const parts: string[] = [];
  if (o.base >= 0) parts.push(registerName(o.base, o.addressWidth));
  if (o.index >= 0) {
    const vector = o.vectorIndex === undefined ? null : `${o.vectorIndex === 256 ? 'y' : 'x'}mm${o.index}`;
    const index = vector ?? registerName(o.index, o.addressWidth);
    parts.push(o.addressWidth === 16 ? index : `${index}*${1 << o.scale}`);
  }
  let inside = parts.join('+');
  if (parts.length === 0) inside = hex(BigInt.asUintN(o.addressWidth, o.displacement));
  else if (o.displacement !== 0n) {
    inside += o.displacement < 0n ? `-${hex(-o.displacement)}` : `+${hex(o.displacement)}`;
  }
  return `${sizeNames[o.width] ?? ''}${o.segment === usual ? '' : `${segments[o.segment]}:`}[${inside}]`;
}

function operandText(o: Operand): string {
  switch (o.kind) {
    case 'register':
      return registerName(o.index, o.width, o.high);
    case 'memory':
      return memoryText(o);
    case 'immediate':
      return hex(BigInt.asUintN(o.width, o.value));
    case 'far':
      return `${hex(BigInt(o.selector))}:${hex(o.offset)}`;
    case 'xmm':
      return `${o.width === 256 ? 'y' : 'x'}mm${o.index}`;
    case 'mmx':
      return `mm${o.index}`;
    case 'st':
      return o.index === 0 ? 'st' : `st(${o.index})`;
    case 'segment':
      return segments[o.index]!;
    case 'control':
      return `cr${o.index}`;
    case 'debug':
      return `dr${o.index}`;
  }
}

const suffixes: Record<number, string> = { 8: 'b', 16: 'w', 32: 'd', 64: 'q' };
/** One-byte opcodes whose mnemonic says the operand size: names for 16, 32 and 64 bits. */
const sizedNames: Record<number, readonly [string, string, string]> = {
  96: ['pusha', 'pushad', 'pushad'],
  97: ['popa', 'popad', 'popad'],
  152: ['cbw', 'cwde', 'cdqe'],
  153: ['cwd', 'cdq', 'cqo'],
  156: ['pushf', 'pushfd', 'pushfq'],
  157: ['popf', 'popfd', 'popfq'],
  207: ['iret', 'iretd', 'iretq'],
};
const JCXZ = 0xe3;

/** Mnemonic in lower case: condition, size suffix and the like resolved. */
export function mnemonic({ insn, definition, form }: DecodedInstruction): string {
  const name = definition.name.toLowerCase();
  if (form.opcodes === 16) return name.replace(/cc$/, conditionNames[insn.cc]!);
  if (isString(form.operands)) return `${name}${suffixes[insn.width]}`;
  if (form.map === 0 && form.vex === null) {
    const sized = sizedNames[form.opcode];
    if (sized !== undefined) return sized[insn.width >> 5]!;
    if (form.opcode === JCXZ) return ({ 16: 'jcxz', 32: 'jecxz', 64: 'jrcxz' } as const)[insn.addressWidth];
  }
  if (
    /^v?(?:mov|pinsr|pextr)d$/.test(name) &&
    insn.operands.some((o) => (o.kind === 'register' || o.kind === 'memory') && o.width === 64)
  )
    return name.replace(/d$/, 'q');
  if (/^(?:fx(?:save|rstor)|x(?:save(?:opt|c|s)?|rstors?))$/.test(name) && insn.rexW) return `${name}64`;
  return name;
}

function isString(operands: readonly { readonly source: string }[]): boolean {
  return operands.some((o) => o.source === 'string-source' || o.source === 'string-destination');
}

/** The text of an instruction: `lock add dword ptr [rbx+rcx*4+0x10], eax`. */
export function disassemble(decoded: DecodedInstruction): string {
  const { insn, form } = decoded;
  const prefixes: string[] = [];
  if (insn.lock) prefixes.push('lock');
  const compares = /^(?:CMPS|SCAS)/.test(decoded.definition.name);
  if (insn.repeat !== 'none') prefixes.push(insn.repeat === 'repne' ? 'repne' : compares ? 'repe' : 'rep');
  const operands: string[] = [];
  if (isString(form.operands)) {
    if (insn.segment !== DS && form.operands.some((o) => o.source === 'string-source')) {
      prefixes.push(segments[insn.segment]!);
    }
  } else {
    let n = 0;
    for (const o of form.operands) {
      if (o.source === 'relative') operands.push(hex(insn.target));
      else {
        const operand = insn.operands[n++]!;
        operands.push(o.text === '1' ? '1' : operandText(operand));
      }
    }
  }
  const head = [...prefixes, mnemonic(decoded)].join(' ');
  return operands.length === 0 ? head : `${head} ${operands.join(', ')}`;
}
