/**
 * Every fusion of the interpreter's records against the records that it stands for: the same sequence of micro-ops on
 * random operands, as it was encoded and as one record, with accesses that succeed and that fault.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Guest, type GuestKind } from '../../runtime/lockstep/guest.ts';
import { blockHeaderBytes } from '../../src/execute/encode.ts';
import { fuse } from '../../src/execute/encode-fusions.ts';
import { leave } from '../../src/execute/leave.ts';
import { allKinds, immediateBytes, kindAt, kindOf, type RecordKind } from '../../src/execute/records.ts';
import { flagCode, flagKinds } from '../../src/ir/flags.ts';
import { offsetOf, slotsOffset } from '../../src/state/layout.ts';
import { randomNumbers } from '../isa/random.ts';
import { vmModules } from './modules.ts';

const guestKind: GuestKind = { mode: '64', cpl: 0, paging: '4-level', code: 0x3450_0000n, data: 0x3456_7000n };
const registers = ['rax', 'rcx', 'rdx', 'rbx', 'rsi', 'rdi', 'r8', 'r9', 'r10', 'r11'].map((name) => offsetOf(name));
/** Slots that stand for themselves, and those that only the parts of a fusion see. */
const slots = Array.from({ length: 8 }, (_, i) => slotsOffset + i * 16);
const firstInner = 32;
const headerWords = blockHeaderBytes >> 2;
const jump = kindOf('jump', ['constant']);
const below = randomNumbers(0xf5);
const pick = <T>(list: readonly T[]): T => list[below(list.length)]!;

interface Sequence {
  readonly words: Int32Array;
  readonly length: number;
  readonly marks: Int32Array;
  readonly instructions: number;
}

/** The records of the parts, each by itself, at places that say where results are handed on. */
function apart(fusion: RecordKind): Sequence {
  const words = new Int32Array(256);
  const view = new DataView(words.buffer);
  let at = blockHeaderBytes;
  const destinations: number[] = [];
  const marks = [at];
  let stores = false;
  for (const [index, part] of fusion.parts.entries()) {
    const { kind } = part;
    const single = kind.parts[0]!;
    if (index > 0 && !stores && below(2) === 0) marks.push(at | (index << 16));
    if (kind.op.startsWith('store.')) stores = true;
    const taken = new Set(destinations);
    // What nobody reads any more in a slot need not be there.
    const free = registers.filter((place) => !taken.has(place));
    view.setUint16(at, kind.id, true);
    if (single.destination >= 0) {
      destinations[index] = part.destination < 0 ? slotsOffset + (firstInner + index) * 16 : pick(free);
      view.setUint16(at + single.destination, destinations[index]!, true);
    } else destinations[index] = -1;
    const readable = [...registers, ...slots].filter((place) => !taken.has(place));
    for (const [k, offset] of single.operands.entries())
      if (offset >= 0)
        view.setUint16(at + offset, part.from[k]! >= 0 ? destinations[part.from[k]!]! : pick(readable), true);
    if (single.extra >= 0)
      view.setUint16(at + single.extra, kind.op.startsWith('flags.') ? anyFlagCode() : below(2), true);
    for (const [k, offset] of single.immediates.entries()) immediate(view, at + offset, kind, k);
    at += kind.bytes;
  }
  if (!['jump', 'branch'].includes(fusion.op)) {
    view.setUint16(at, jump.id, true);
    view.setBigUint64(at + jump.immediateOffset, 0x1234n, true);
    at += jump.bytes;
  }
  words[0] = marks.length;
  return { words, length: at >> 2, marks: Int32Array.from(marks), instructions: marks.length };
}
const anyFlagCode = (): number => flagCode(pick(flagKinds), pick([8, 16, 32, 64])) | (below(2) << 8);

function immediate(view: DataView, at: number, { op, immediates }: RecordKind, k: number): void {
  if (immediateBytes[immediates[k]!] === 8) {
    const target = pick([guestKind.data + BigInt(below(4000)), 0x7fff_1234_5678n, -4096n]);
    return view.setBigInt64(at, target, true);
  }
  let value = pick([below(64), -below(64), below(2 ** 32)]);
  if (op === 'flags.test') value = below(16);
  else if (op === 'raise.if') value = k === 0 ? 13 : 0;
  else if (op === 'flags.merge') value = 0x8d5;
  else if (/^address|^i64\.add/.test(op)) value = below(256) - 128;
  view.setInt32(at, value, true);
}

/** The same as the fusion's record. */
function joined({ words, length, marks, instructions }: Sequence, fusion: RecordKind): Sequence {
  const fused = { words: words.slice(), marks: marks.slice(), instructions };
  const end = fuse(fused.words, headerWords, length, fused.marks, instructions);
  const kind = kindAt(fused.words[headerWords]! & 0xffff);
  assert.ok(kind.parts.length >= fusion.parts.length, `${fusion.key} was not found, but ${kind.key}`);
  return { ...fused, length: end };
}

class Comparison {
  private readonly guest = new Guest(guestKind, 'never', vmModules());
  private readonly data = new Uint8Array(4096);
  private readonly values = new BigUint64Array(registers.length + slots.length * 2);
  private readonly flags = [0n, 0n, 0];
  faults = 0;
  ends = 0;

  private dataPage(): Uint8Array {
    const { ram } = this.guest.vm;
    const entry = this.guest.pageEntries[0]!;
    const page = new DataView(ram.buffer, ram.byteOffset).getUint32(entry, true) & ~0xfff;
    return ram.subarray(page, page + 4096);
  }

  /** New values everywhere. */
  shuffle(): void {
    for (let i = 0; i < this.data.length; i++) this.data[i] = below(256);
    for (let i = 0; i < this.values.length; i++)
      this.values[i] = pick([
        guestKind.data + 256n + BigInt(below(3000)),
        guestKind.data + 256n + BigInt(below(3000)),
        BigInt(below(64)),
        BigInt.asUintN(64, (BigInt(below(2 ** 32)) << 32n) | BigInt(below(2 ** 32))),
      ]);
    this.flags[0] = BigInt(below(2 ** 32));
    this.flags[1] = BigInt(below(2 ** 32));
    this.flags[2] = anyFlagCode();
  }

  /** What a sequence does: everything that another instruction may see. */
  run({ words, length, marks, instructions }: Sequence, rip: number): unknown {
    const { guest } = this;
    guest.reset();
    guest.write('data', 0, this.data);
    const { fields: state, engine, code } = guest.vcpu;
    const places = [...registers, ...slots.flatMap((slot) => [slot, slot + 8])];
    for (const [i, place] of places.entries()) state.u64[place >> 3] = this.values[i]!;
    state.set64('flagA', this.flags[0] as bigint);
    state.set64('flagB', this.flags[1] as bigint);
    state.set32('flagKind', this.flags[2] as number);
    state.set32('faultVector', 0);
    state.set32('budget', 1000);
    state.set64('rip', BigInt(rip));
    const block = code.add(
      { words, length, marks, instructions },
      {
        physical: 0x50000,
        second: -1,
        length: 1,
        context: 1,
        rip: BigInt(rip),
        key: rip,
        single: true,
        quick: false,
        repeats: false,
      },
    );
    const ended = engine.core.enter(state.base, block.address);
    if (ended === leave.fault) this.faults++;
    else this.ends++;
    return {
      ended,
      at: ended === leave.fault ? code.ripOf(block, code.instructionAt(block, state.get32('leaveRecord'))) : 0n,
      vector: state.get32('faultVector'),
      values: registers.map((place) => state.u64[place >> 3]!.toString(16)),
      flags: [state.get64('flagA'), state.get64('flagB'), state.get32('flagKind')],
      rip: state.get64('rip'),
      data: Buffer.from(this.dataPage()).toString('base64'),
    };
  }
}

test('every fusion does what its parts do one after the other, also where one of them faults', () => {
  const comparison = new Comparison();
  const fusions = allKinds().filter(({ parts }) => parts.length > 1);
  let rip = 0x40_0000;
  for (const fusion of fusions) {
    for (let trial = 0; trial < 3; trial++) {
      comparison.shuffle();
      const sequence = apart(fusion);
      const expected = comparison.run(sequence, (rip += 64));
      assert.deepEqual(comparison.run(joined(sequence, fusion), rip), expected, fusion.key);
    }
  }
  assert.ok(comparison.faults > 200, `${comparison.faults} faults`);
  assert.ok(comparison.ends > 4 * comparison.faults, `${comparison.ends} without a fault`);
});
