/**
 * Is a branch taken? Where the instruction pointer ends up does not tell if it leads to the next instruction; single steps at
 * branches alone (IA32_DEBUGCTL.BTF) want to know. And: does a repeated string instruction stand somewhere? SDM volume 3,
 * sections 19.4.3 and 19.3.1.1.
 */
import type { Insn } from '../ir/operand.ts';
import { decoderWithout } from '../isa/decode.ts';
import type { Context } from './context.ts';

/** What decides about a branch: nothing, a condition, a counter, or both of the latter. */
interface Branch {
  /** Condition code, null = none. */
  readonly condition: number | null;
  /** LOOP counts rCX down and goes on unless it is zero then, JrCXZ if it is zero. */
  readonly counter: 'loop' | 'zero' | null;
  readonly counterWidth: 16 | 32 | 64;
}

const unconditional = new Set(['JMP', 'CALL', 'RET', 'RETF', 'IRET', 'SYSRET', 'SYSEXIT']);
const loops: Readonly<Record<string, number | null>> = { LOOP: null, LOOPE: 4, LOOPNE: 5 };

/** What kind of branch an instruction is; null = none. */
function branchOf(name: string, { cc, addressWidth }: Insn): Branch | null {
  const made = (condition: number | null, counter: Branch['counter']): Branch => ({
    condition,
    counter,
    counterWidth: addressWidth,
  });
  if (unconditional.has(name)) return made(null, null);
  if (name === 'Jcc') return made(cc, null);
  if (name === 'JCXZ') return made(null, 'zero');
  return name in loops ? made(loops[name]!, 'loop') : null;
}

const CF = 1;
const PF = 4;
const ZF = 0x40;
const SF = 0x80;
const OF = 0x800;

/** A condition (0-15) of flags at their places in RFLAGS. */
function holds(condition: number, flags: number): boolean {
  const has = (bits: number) => (flags & bits) !== 0;
  const less = has(SF) !== has(OF);
  const pairs = [has(OF), has(CF), has(ZF), has(CF | ZF), has(SF), has(PF), less, less || has(ZF)];
  return pairs[condition >> 1] !== ((condition & 1) !== 0);
}

/** Whether the branch is taken, by the flags and rCX before it. */
function isTaken({ condition, counter, counterWidth }: Branch, flags: number, rcx: bigint): boolean {
  if (condition !== null && !holds(condition, flags)) return false;
  const count = BigInt.asUintN(counterWidth, rcx);
  return counter === null || (counter === 'zero' ? count === 0n : count !== 1n);
}

/** Do the bytes begin with a branch that is taken, by the flags and rCX before it? */
export function takenBranchAt(bytes: Uint8Array, context: Context, flags: number, rcx: bigint): boolean {
  const decoded = decoderWithout(context.lacks)(bytes, 0, bytes.length, 0n, context.codeSize);
  if (decoded.failure !== null) return false;
  const branch = branchOf(decoded.definition.name, decoded.insn);
  return branch !== null && isTaken(branch, flags, rcx);
}

/** What else goes on somewhere else. */
const transfers = new Set(['INT', 'INT1', 'INT3', 'INTO', 'SYSCALL', 'SYSENTER', 'RSM']);

/** Which blocks of one instruction end a basic block. */
export class BasicBlocks {
  private readonly known = new WeakMap<object, boolean>();

  /** @param bytes of the block's instruction, asked for the first time */
  endWith(block: object, context: Context, bytes: () => Uint8Array): boolean {
    let ends = this.known.get(block);
    if (ends === undefined) this.known.set(block, (ends = endsBasicBlock(bytes(), context)));
    return ends;
  }
}

/** Do the bytes begin with an instruction that ends a basic block, whether it goes somewhere else or not? */
function endsBasicBlock(bytes: Uint8Array, context: Context): boolean {
  const decoded = decoderWithout(context.lacks)(bytes, 0, bytes.length, 0n, context.codeSize);
  if (decoded.failure !== null) return false;
  const { name } = decoded.definition;
  return transfers.has(name) || branchOf(name, decoded.insn) !== null;
}

const prefixes = new Set([0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0]);

/** Do the bytes begin with a string instruction that repeats? */
export function isRepeated(bytes: Uint8Array, wide: boolean): boolean {
  let repeats = false;
  for (const byte of bytes) {
    if (byte === 0xf2 || byte === 0xf3) repeats = true;
    else if (!prefixes.has(byte) && !(wide && byte >> 4 === 4))
      return repeats && ((byte >= 0xa4 && byte <= 0xaf && byte !== 0xa8 && byte !== 0xa9) || byte >> 2 === 0x6c >> 2);
  }
  return false;
}
