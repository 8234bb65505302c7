/**
 * A third reader of micro-ops, for tests alone: slow and plain, every value a BigInt, registers and fields in maps, memory
 * a map of pages. Its flags are worked out at once and by itself, so that it can tell a wrong formula in `src/ir/flags.ts`.
 *
 * Integer, state, memory and control micro-ops are evaluated; floating-point and most vector ones are not, and throw.
 */
import { type Immediate, type MicroOp, microOps, type Node } from '../../src/ir/micro-ops.ts';
import { segmentNames } from '../../src/state/layout.ts';

const PAGE = 4096n;

/** Memory by pages; a page that is not in the map is not present. */
export class SparseMemory {
  readonly pages = new Map<bigint, { readonly bytes: Uint8Array; readonly writable: boolean }>();

  map(address: bigint, bytes: Uint8Array, writable = true): void {
    this.pages.set(address / PAGE, { bytes, writable });
  }
  read(address: bigint, length: number): bigint {
    let value = 0n;
    for (let i = length - 1; i >= 0; i--) {
      const at = address + BigInt(i);
      value = (value << 8n) | BigInt(this.pages.get(at / PAGE)!.bytes[Number(at % PAGE)]!);
    }
    return value;
  }
  write(address: bigint, length: number, value: bigint): void {
    for (let i = 0; i < length; i++) {
      const at = address + BigInt(i);
      this.pages.get(at / PAGE)!.bytes[Number(at % PAGE)] = Number((value >> BigInt(8 * i)) & 0xffn);
    }
  }
}

/** A guest exception. */
export interface Fault {
  readonly kind: 'fault';
  readonly vector: number;
  readonly errorCode: number | null;
  /** #PF: the linear address. */
  readonly address: bigint;
}
export type Outcome =
  | Fault
  /** The nodes ran out: on to the next instruction. */
  | { readonly kind: 'next' }
  | { readonly kind: 'jump'; readonly target: bigint; readonly how: 'jump' | 'call' | 'return' }
  | { readonly kind: 'call'; readonly helper: string };

/** A guest: what micro-ops act upon. */
export class Guest {
  readonly gpr = new BigUint64Array(16);
  readonly xmm = new Array<bigint>(16).fill(0n);
  readonly ymmHigh = new Array<bigint>(16).fill(0n);
  /** CF PF AF ZF SF OF. */
  flags = 0;
  /** Every other field of the layout, by name; absent = 0. */
  readonly fields = new Map<string, bigint>();
  readonly memory = new SparseMemory();
  /** CPL 3: page faults say so, and 48-bit addresses must be canonical. */
  readonly user = true;

  field(name: string): bigint {
    return this.fields.get(name) ?? 0n;
  }
}

class FaultSignal {
  readonly fault: Fault;
  constructor(vector: number, errorCode: number | null, address = 0n) {
    this.fault = { kind: 'fault', vector, errorCode, address };
  }
}

const u = (bits: number, n: bigint): bigint => BigInt.asUintN(bits, n);
const s = (bits: number, n: bigint): bigint => BigInt.asIntN(bits, n);
const truth = (b: boolean): bigint => (b ? 1n : 0n);

function divide(bits: number, name: string, a: bigint, c: bigint): bigint {
  if (c === 0n) throw new Error(`evaluate: ${name} by zero would trap`);
  if (name === 'div_s' && a === -(1n << BigInt(bits - 1)) && c === -1n)
    throw new Error('evaluate: div_s overflow would trap');
  return name.startsWith('div') ? a / c : a % c;
}

function countBits(n: bigint): number {
  return n.toString(2).replaceAll('0', '').length;
}

/** WebAssembly's integer operations; operands and result are unsigned. */
function integerOp(bits: 32 | 64, name: string, a: bigint, c: bigint): bigint {
  const count = c & BigInt(bits - 1);
  switch (name) {
    case 'add':
      return u(bits, a + c);
    case 'sub':
      return u(bits, a - c);
    case 'mul':
      return u(bits, a * c);
    case 'and':
      return a & c;
    case 'or':
      return a | c;
    case 'xor':
      return a ^ c;
    case 'shl':
      return u(bits, a << count);
    case 'shr_u':
      return a >> count;
    case 'shr_s':
      return u(bits, s(bits, a) >> count);
    case 'rotl':
      return u(bits, a << count) | (a >> (BigInt(bits) - count));
    case 'rotr':
      return (a >> count) | u(bits, a << (BigInt(bits) - count));
    case 'div_u':
    case 'rem_u':
      return divide(bits, name, a, c);
    case 'div_s':
    case 'rem_s':
      return u(bits, divide(bits, name, s(bits, a), s(bits, c)));
    case 'eq':
      return truth(a === c);
    case 'ne':
      return truth(a !== c);
    case 'lt_u':
      return truth(a < c);
    case 'le_u':
      return truth(a <= c);
    case 'gt_u':
      return truth(a > c);
    case 'ge_u':
      return truth(a >= c);
    case 'lt_s':
      return truth(s(bits, a) < s(bits, c));
    case 'le_s':
      return truth(s(bits, a) <= s(bits, c));
    case 'gt_s':
      return truth(s(bits, a) > s(bits, c));
    case 'ge_s':
      return truth(s(bits, a) >= s(bits, c));
    case 'eqz':
      return truth(a === 0n);
    case 'clz':
      return BigInt(bits - (a === 0n ? 0 : a.toString(2).length));
    case 'ctz':
      return a === 0n ? BigInt(bits) : BigInt((a & -a).toString(2).length - 1);
    case 'popcnt':
      return BigInt(countBits(a));
    case 'extend8_s':
      return u(bits, s(8, a));
    case 'extend16_s':
      return u(bits, s(16, a));
    case 'extend32_s':
      return u(bits, s(32, a));
    default:
      throw new Error(`evaluate: ${bits}-bit ${name} is not evaluated`);
  }
}

/** Scatters (deposit) or gathers the bits that `mask` names. */
function parallelBits(value: bigint, mask: bigint, deposit: boolean): bigint {
  let result = 0n;
  let k = 0n;
  for (let i = 0n; i < 64n; i++) {
    if (((mask >> i) & 1n) === 0n) continue;
    result |= deposit ? ((value >> k) & 1n) << i : ((value >> i) & 1n) << k;
    k++;
  }
  return result;
}

/** CRC32 of the low bytes of the data, bit by bit. */
function crc32c(crc: bigint, data: bigint, bytes: number): bigint {
  let value = crc ^ u(8 * bytes, data);
  for (let i = 0; i < 8 * bytes; i++) value = (value >> 1n) ^ (value & 1n ? 0x82f63b78n : 0n);
  return value;
}

function divide128(high: bigint, low: bigint, divisor: bigint): readonly [quotient: bigint, remainder: bigint] {
  const dividend = (high << 64n) | low;
  if (divisor === 0n || (dividend / divisor) >> 64n !== 0n)
    throw new Error('evaluate: a 128-bit quotient does not fit');
  return [dividend / divisor, dividend % divisor];
}

const CF = 1,
  PF = 4,
  AF = 16,
  ZF = 64,
  SF = 128,
  OF = 2048;
/** The arithmetic flags that an operation leaves, straight from the manual. */
function flagsAfter(kind: string, width: number, a: bigint, b: bigint, carryIn: bigint): number {
  if (kind === 'bits') return Number(a);
  const carry = kind === 'add' || kind === 'sub' ? 0n : carryIn;
  const signed = (n: bigint) => s(width, n);
  let exact: bigint;
  let carryOut: boolean;
  let overflow: boolean;
  let adjust = false;
  const nibble = (n: bigint) => n & 15n;
  switch (kind) {
    case 'add':
    case 'adc':
      exact = a + b + carry;
      carryOut = exact >> BigInt(width) !== 0n;
      overflow = signed(exact) !== signed(a) + signed(b) + carry;
      adjust = nibble(a) + nibble(b) + carry > 15n;
      break;
    case 'sub':
    case 'sbb':
      exact = a - b - carry;
      carryOut = exact < 0n;
      overflow = signed(exact) !== signed(a) - signed(b) - carry;
      adjust = nibble(a) - nibble(b) - carry < 0n;
      break;
    case 'inc':
    case 'dec': {
      const step = kind === 'inc' ? 1n : -1n;
      exact = a + step;
      carryOut = carry !== 0n;
      overflow = signed(exact) !== signed(a) + step;
      adjust = nibble(a) + step > 15n || nibble(a) + step < 0n;
      break;
    }
    case 'logic':
      exact = a;
      carryOut = overflow = false;
      break;
    case 'shl':
      exact = a << b;
      carryOut = ((exact >> BigInt(width)) & 1n) !== 0n;
      overflow = signed(exact) < 0n !== carryOut;
      break;
    case 'shr':
      exact = a >> b;
      carryOut = ((a >> (b - 1n)) & 1n) !== 0n;
      overflow = b === 1n && signed(a) < 0n;
      break;
    case 'sar':
      exact = signed(a) >> b;
      carryOut = ((signed(a) >> (b - 1n)) & 1n) !== 0n;
      overflow = false;
      break;
    default:
      throw new Error(`evaluate: flags of kind ${kind} are not evaluated`);
  }
  const result = u(width, exact);
  const even = countBits(result & 0xffn) % 2 === 0;
  return (
    (carryOut ? CF : 0) |
    (even ? PF : 0) |
    (adjust ? AF : 0) |
    (result === 0n ? ZF : 0) |
    (signed(result) < 0n ? SF : 0) |
    (overflow ? OF : 0)
  );
}

function conditionHolds(flags: number, code: number): boolean {
  const is = (flag: number) => (flags & flag) !== 0;
  const positive = [
    is(OF),
    is(CF),
    is(ZF),
    is(CF) || is(ZF),
    is(SF),
    is(PF),
    is(SF) !== is(OF),
    is(ZF) || is(SF) !== is(OF),
  ][code >> 1]!;
  return positive !== ((code & 1) !== 0);
}

/** Faults unless every byte of an access is canonical, present and, for a write, writable. */
function check(guest: Guest, address: bigint, bytes: number, write: boolean, stack: boolean): void {
  const last = address + BigInt(bytes - 1);
  for (const at of [address, last]) {
    if (u(64, s(48, at)) !== at) throw new FaultSignal(stack ? 12 : 13, 0);
  }
  for (const at of address / PAGE === last / PAGE ? [address] : [address, (last / PAGE) * PAGE]) {
    const page = guest.memory.pages.get(at / PAGE);
    if (page === undefined) throw new FaultSignal(14, (write ? 2 : 0) | 4, at);
    if (write && !page.writable) throw new FaultSignal(14, 7, at);
  }
}

/** Offset -> linear address through a segment's checked range. */
function segmented(guest: Guest, offset: bigint, segment: number, bytes: number, write: boolean): bigint {
  const name = segmentNames[segment]!;
  const low = guest.field(`${name}${write ? 'Write' : 'Read'}Low`);
  const high = guest.field(`${name}${write ? 'Write' : 'Read'}High`);
  if (offset < low || offset + BigInt(bytes - 1) > high) throw new FaultSignal(segment === 2 ? 12 : 13, 0);
  return u(32, guest.field(`${name}Base`) + offset);
}

const vectorOf = (bytes: readonly number[]): bigint => bytes.reduceRight((n, byte) => (n << 8n) | BigInt(byte), 0n);
const memoryOp = /^(load|modify|store)\.(8|16|32|64|128)$/;
const integerName = /^i(32|64)\.(.+)$/;

/** The result of a pure micro-op. */
export function evaluatePure(op: MicroOp, args: readonly bigint[], imm: readonly Immediate[]): bigint {
  const [a = 0n, b = 0n, c = 0n] = args;
  switch (op) {
    case 'i32.const':
      return u(32, BigInt(imm[0] as number));
    case 'i64.const':
      return u(64, imm[0] as bigint);
    case 'v128.const':
      return vectorOf(imm[0] as readonly number[]);
    case 'i64.extend_u':
      return a;
    case 'i64.extend_s':
      return u(64, s(32, a));
    case 'i32.wrap':
      return u(32, a);
    case 'i32.select':
    case 'i64.select':
    case 'v128.select':
      return a !== 0n ? b : c;
    case 'insert8':
      return (a & ~0xffn) | (b & 0xffn);
    case 'insert8h':
      return (a & ~0xff00n) | ((b & 0xffn) << 8n);
    case 'insert16':
      return (a & ~0xffffn) | (b & 0xffffn);
    case 'extract8h':
      return (a >> 8n) & 0xffn;
    case 'i64.mul_high_u':
      return (a * b) >> 64n;
    case 'i64.mul_high_s':
      return u(64, (s(64, a) * s(64, b)) >> 64n);
    case 'i64.div128_u':
      return divide128(a, b, c)[0];
    case 'i64.rem128_u':
      return divide128(a, b, c)[1];
    case 'crc32c.update':
      return crc32c(a, b, Number(c));
    case 'i64.pdep':
      return parallelBits(a, b, true);
    case 'i64.pext':
      return parallelBits(a, b, false);
    case 'address.base':
      return u(imm[1] as number, a + BigInt(imm[0] as number));
    case 'address.index':
      return u(imm[2] as number, a + (b << BigInt(imm[0] as number)) + BigInt(imm[1] as number));
    default: {
      const match = integerName.exec(op);
      if (match === null) throw new Error(`evaluate: ${op} is not evaluated`);
      return integerOp(Number(match[1]) as 32 | 64, match[2]!, a, b);
    }
  }
}

/** Runs nodes over a guest until they end, fault or leave. */
export function evaluate(nodes: readonly Node[], guest: Guest): Outcome {
  try {
    return run(nodes, guest);
  } catch (e) {
    if (e instanceof FaultSignal) return e.fault;
    throw e;
  }
}

function run(nodes: readonly Node[], guest: Guest): Outcome {
  const values = new Array<bigint | undefined>(nodes.length);
  const { gpr, xmm, ymmHigh, memory, fields } = guest;
  const raise = (imm: readonly Immediate[]): never => {
    throw new FaultSignal(imm[0] as number, imm[1] === -1 ? null : (imm[1] as number));
  };
  for (let i = 0; i < nodes.length; i++) {
    const { op, imm } = nodes[i]!;
    const args = nodes[i]!.args.map((n) => {
      const value = values[n];
      if (value === undefined) throw new Error(`evaluate: ${op} (${i}) uses value ${n}, which was not made`);
      return value;
    });
    const a = args[0] ?? 0n;
    if (microOps[op].effect === 'pure') {
      values[i] = evaluatePure(op, args, imm);
      continue;
    }
    const name = imm[0] as string;
    const index = imm[0] as number;
    switch (op) {
      case 'reg.get':
        values[i] = gpr[index]!;
        break;
      case 'reg.set':
        gpr[index] = a;
        break;
      case 'xmm.get':
        values[i] = xmm[index]!;
        break;
      case 'xmm.set':
        xmm[index] = a;
        break;
      case 'ymm.get':
        values[i] = ymmHigh[index]!;
        break;
      case 'ymm.set':
        ymmHigh[index] = a;
        break;
      case 'state.get32':
        values[i] = u(32, guest.field(name));
        break;
      case 'state.get64':
        values[i] = guest.field(name);
        break;
      case 'state.set32':
      case 'state.set64':
        fields.set(name, a);
        break;
      case 'flags.set':
        guest.flags = flagsAfter(name, imm[1] as number, a, args[1]!, args[2]!);
        break;
      case 'flags.merge':
        guest.flags = (guest.flags & ~index) | (Number(a) & index);
        break;
      case 'flags.get':
        values[i] = BigInt(guest.flags & index);
        break;
      case 'flags.test':
        values[i] = truth(conditionHolds(guest.flags, index));
        break;
      case 'segment':
        values[i] = segmented(guest, a, index, imm[1] as number, imm[2] === 1);
        break;
      case 'probe.read':
        check(guest, a, index, false, imm[1] === 1);
        break;
      case 'probe.write':
        check(guest, a, index, true, imm[1] === 1);
        break;
      case 'insn':
      case 'restart':
        break;
      case 'when': {
        if (a !== 0n) break;
        for (let depth = 1; depth > 0; ) {
          const { op: skipped } = nodes[++i]!;
          if (skipped === 'when') depth++;
          else if (skipped === 'end') depth--;
        }
        break;
      }
      case 'end':
        break;
      case 'raise':
        return raise(imm);
      case 'raise.if':
        if (a !== 0n) raise(imm);
        break;
      case 'jump':
        return { kind: 'jump', target: a, how: imm[0] as 'jump' | 'call' | 'return' };
      case 'branch':
        return { kind: 'jump', target: (a !== 0n ? imm[0] : imm[1]) as bigint, how: 'jump' };
      case 'call':
        return { kind: 'call', helper: name };
      case 'call.if':
        if (a !== 0n) return { kind: 'call', helper: name };
        break;
      default: {
        const match = memoryOp.exec(op);
        if (match === null) throw new Error(`evaluate: ${op} is not evaluated`);
        const bytes = Number(match[2]) / 8;
        check(guest, a, bytes, match[1] !== 'load', imm[0] === 1);
        if (match[1] === 'store') memory.write(a, bytes, args[1]!);
        else values[i] = memory.read(a, bytes);
      }
    }
  }
  return { kind: 'next' };
}
