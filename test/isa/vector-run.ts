/** Runs a recorded hardware vector by decoding, recording and evaluating it: no engine takes part. */
import { Builder, type ExecutionContext } from '../../src/ir/builder.ts';
import { ARITHMETIC_FLAGS } from '../../src/ir/flags.ts';
import { RSP } from '../../src/ir/operand.ts';
import { decode } from '../../src/isa/decode.ts';
import type { ActualState } from '../hardware/compare.ts';
import type { Exception, Mode, Vector } from '../hardware/vectors.ts';
import { evaluate, type Fault, Guest, type Outcome } from './evaluate.ts';

/** What user-mode code of a vector runs in (README of the vectors, "The machine"). */
export function userContext(mode: Mode): ExecutionContext {
  return {
    codeSize: mode,
    stackSize: mode,
    flat: mode !== 16,
    cpl: 3,
    protectedMode: true,
    virtual8086: false,
    iopl: 0,
    x87: 'available',
    mmx: 'available',
    waitFaults: false,
    sse: 'available',
    avx: 'available',
    linearBits: 48,
    baseBits: 48,
  };
}

const PAGE = 4096;
const WINDOW = PAGE - 256;
const DF = 0x400;
/** TF, DF, NT, AC and ID: what POPF changes for a user with IOPL 0, besides the arithmetic flags. */
const POPPED = 0x24_4500;

function prepare(vector: Vector): { readonly guest: Guest; readonly page: Uint8Array; readonly code: Uint8Array } {
  const { mode, in: before } = vector;
  const guest = new Guest();
  guest.gpr.set(before.gpr);
  guest.flags = before.flags & ARITHMETIC_FLAGS;
  guest.fields.set('rflagsRest', BigInt((before.flags & DF) | 0x202));
  const code = new Uint8Array(PAGE).fill(0xcc);
  code.set(vector.bytes, 0x800);
  guest.memory.map(BigInt(vector.code), code, false);
  const page = new Uint8Array(PAGE);
  page.set(before.window, WINDOW);
  guest.memory.map(BigInt(vector.data), page);
  const limit = mode === 16 ? 0xfffn : 0xffff_ffffn;
  guest.fields.set('csLimit', limit);
  for (const name of ['es', 'cs', 'ss', 'ds', 'fs', 'gs']) {
    const usable = name !== 'fs' && name !== 'gs';
    const base = mode === 16 && usable ? (name === 'cs' ? vector.code : vector.data) : 0;
    guest.fields.set(`${name}Base`, BigInt(base));
    for (const access of ['Read', 'Write']) {
      const allowed = usable && !(name === 'cs' && access === 'Write');
      guest.fields.set(`${name}${access}Low`, allowed ? 0n : 1n);
      guest.fields.set(`${name}${access}High`, allowed ? limit : 0n);
    }
  }
  return { guest, page, code };
}

/** POPF at CPL 3 with IOPL 0: value, width, and the stack pointer behind it. */
function popf(guest: Guest, mode: Mode): void {
  const width = Number(guest.field('argument1'));
  const value = Number(guest.field('argument0') & 0xffff_ffffn) & (width === 16 ? 0xffff : -1);
  const rest = Number(guest.field('rflagsRest'));
  const changed = POPPED & (width === 16 ? 0xffff : -1);
  guest.flags = value & ARITHMETIC_FLAGS;
  guest.gpr[RSP] = (guest.gpr[RSP]! & (mode === 16 ? ~0xffffn : 0n)) | BigInt.asUintN(mode, guest.field('argument2'));
  guest.fields.set('rflagsRest', BigInt((rest & ~changed) | (value & changed)));
}

/** Records what is decoded; null where there is no such instruction. */
export function recordInstruction(vector: Vector, code: Uint8Array): { builder: Builder; next: bigint } | null {
  const decoded = decode(code, 0x800, PAGE - 0x800, vector.ip, vector.mode);
  if (decoded.failure !== null) return null;
  const builder = new Builder(userContext(vector.mode));
  decoded.definition.record(builder, decoded.insn);
  return { builder, next: decoded.insn.next };
}

/** More than any vector's count, so that an endless repetition is noticed. */
const MAXIMUM_STEPS = 5000;

export function runVector(vector: Vector): ActualState {
  const { guest, page, code } = prepare(vector);
  const recorded = recordInstruction(vector, code);
  let rip = vector.ip;
  let outcome: Outcome = { kind: 'fault', vector: 6, errorCode: null, address: 0n };
  for (let steps = 0; recorded !== null && rip === vector.ip; steps++) {
    if (steps === MAXIMUM_STEPS) throw new Error('the instruction does not end');
    outcome = evaluate(recorded.builder.nodes, guest);
    if (outcome.kind === 'fault') break;
    if (outcome.kind === 'jump') {
      rip = outcome.target;
      // A jump to itself that is no repetition would run the same instruction again, as the CPU does.
      continue;
    }
    if (outcome.kind === 'call') {
      if (outcome.helper !== 'popf') throw new Error(`needs the helper ${outcome.helper}`);
      popf(guest, vector.mode);
    }
    rip = recorded.next;
  }
  const { in: before } = vector;
  return {
    ...before,
    gpr: guest.gpr,
    flags: guest.flags | (Number(guest.field('rflagsRest')) & DF),
    window: page.slice(WINDOW),
    rip,
    exception: outcome.kind === 'fault' ? exceptionOf(outcome) : undefined,
  };
}

const exceptionOf = ({ vector, errorCode, address }: Fault): Exception => ({
  vector,
  errorCode: errorCode ?? 0,
  cr2: vector === 14 ? address : 0n,
});
