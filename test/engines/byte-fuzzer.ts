/**
 * Random byte sequences as code, in every mode and at CPL 0 and 3, in the interpreter: whatever they are, the host throws
 * nothing, the guest is back after its budget, and no byte of the host outside guest memory has changed. Made for many
 * sequences; what the engines make of each other is for `jit86 diff --hostile`.
 */
import {
  CODE_PAGES,
  codeStart,
  DATA_PAGES,
  dataStart,
  Guest,
  type GuestKind,
  type GuestMode,
  RAM_BYTES,
} from '../../runtime/lockstep/guest.ts';
import { guestKinds } from '../../runtime/lockstep/program-fuzzer.ts';
import type { Random } from '../../runtime/lockstep/random-numbers.ts';
import { LogReader } from '../../src/mmu/dirty-logs.ts';
import { layout } from '../../src/state/layout.ts';
import { vmModules } from './modules.ts';

export interface ByteFuzzLimits {
  readonly sequences: number;
  readonly seconds: number;
  readonly modes: readonly GuestMode[];
  /** Failures after which it stops. */
  readonly failures: number;
  /** A sequence that takes more of the processor hangs. */
  readonly secondsPerSequence: number;
  readonly progress?: (sequences: number) => void;
}
export interface ByteFuzzResult {
  readonly sequences: number;
  readonly instructions: number;
  readonly failures: readonly string[];
}

/** The longest sequence, and the room that each has. */
const longest = 24;
const slotBytes = 64;
/** Instructions that a sequence may execute. */
const budgets = [1, 3, 10, 40] as const;
/** Sequences between two looks at the host's memory; the guest's tables are put right after each. */
const batch = 64;
/** Sequences after which a guest is made anew: what a VM learns of ever other code segments does not pile up. */
const longestLife = 100_000;
const fprs = layout.get('fpr0')!.offset;
const xmms = layout.get('xmm0')!.offset;
const opcodeMaps = [
  [],
  [0x0f],
  [0x0f],
  [0x0f, 0x38],
  [0x0f, 0x3a],
  [0xc5, 0xf8],
  [0xc4, 0xe1, 0x7b],
  [0xc4, 0xe2, 0x79],
  [0xc4, 0xe3, 0xfd],
];
const prefixes = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x40, 0x41, 0x48, 0x4f];

class ByteGuest {
  readonly guest: Guest;
  readonly kind: GuestKind;
  instructions = 0;
  sequences = 0;
  private readonly random: Random;
  private slot = 0;
  private readonly log: LogReader;
  private readonly dirty = new Uint32Array(RAM_BYTES / 4096);
  private readonly code: number;
  private readonly last: { bytes: Uint8Array; budget: number; offset: number; registers: BigUint64Array }[] = [];

  constructor(kind: GuestKind, random: Random) {
    this.kind = kind;
    this.random = random;
    this.guest = new Guest(kind, 'never', vmModules());
    this.guest.fillWithTraps();
    this.guest.makeHoles();
    this.guest.reset();
    this.guest.loaded();
    this.code = CODE_PAGES * 4096;
    this.log = new LogReader(this.guest.vm.physical.logs);
    this.log.start('normal', { from: 0, to: this.dirty.length });
  }

  private pick<T>(list: readonly T[]): T {
    return list[this.random(list.length)]!;
  }
  private number(): bigint {
    const { random, kind } = this;
    switch (random(10)) {
      case 0:
        return BigInt(random(256));
      case 1:
        return codeStart(kind) + BigInt(random(this.code));
      case 2:
        return BigInt(random(0x10000));
      case 3:
        return BigInt(random(2 ** 32));
      case 4:
        return (BigInt(random(2 ** 32)) << 32n) | BigInt(random(2 ** 32));
      case 5:
        return BigInt.asUintN(64, -1n << BigInt(random(64)));
      case 6:
        return BigInt(
          this.pick([0x10, 0x1b, 0x174, 0xc0000080, 0xc0000081, 0xc0000100, 0x277, 0x2ff, 0x80010033, 0x6f0, 8, 0x33]),
        );
      default:
        return dataStart(kind) + BigInt(random(DATA_PAGES * 4096));
    }
  }
  private sequence(): Uint8Array {
    const { random } = this;
    const made: number[] = [];
    if (random(3) !== 0) {
      for (let n = random(4) - 1; n > 0; n--) made.push(this.pick(prefixes));
      made.push(...this.pick(opcodeMaps));
    }
    const length = 1 + random(longest);
    while (made.length < length) made.push(random(256));
    return Uint8Array.from(made);
  }

  /** Pages that have been written since the last call. */
  private changedPages(): number[] {
    const count = this.log.collect('normal', 0, this.dirty.length, this.dirty, this.dirty.length, false);
    return [...this.dirty.subarray(0, count)];
  }
  /** Writes are logged again, after everything was put right. */
  private logWrites(): void {
    const { dirty } = this;
    this.log.collect('normal', 0, dirty.length, dirty, dirty.length, true);
  }

  /** Runs one sequence. */
  run(): void {
    const { guest, random, kind } = this;
    const { vm, vcpu } = guest;
    const { fields: state, engine } = vcpu;
    const bytes = this.sequence();
    this.sequences++;
    // Sometimes across two pages, or up to the last byte of code.
    let offset = (this.slot++ % (this.code / slotBytes)) * slotBytes;
    if (random(8) === 0) offset = (1 + random(CODE_PAGES)) * 4096 - 1 - random(longest);
    const registers = new BigUint64Array(16);
    for (let i = 0; i < 16; i++) registers[i] = BigInt.asUintN(kind.mode === '64' ? 64 : i < 8 ? 32 : 0, this.number());
    if (random(3) !== 0) registers[4] = BigInt.asUintN(64, dataStart(kind) + 0x3800n);
    const budget = this.pick(budgets);
    this.last.push({ bytes, budget, offset, registers });
    if (this.last.length > batch) this.last.shift();

    const changed = this.changedPages();
    guest.resume(BigInt.asUintN(64, codeStart(kind) + BigInt(offset)), 'loaded', changed);
    this.logWrites();
    state.u64.set(registers, 0);
    for (let i = 0; i < 4; i++) state.u8[xmms + random(256)] = random(256);
    for (let i = 0; i < 4; i++) state.u8[fprs + random(128)] = random(256);
    state.set32('ftw', random(256));
    state.set32('mxcsr', 0x1f80 & ~(random(8) === 0 ? 1 << (7 + random(6)) : 0));
    engine.setFlags(random(0x1000) & 0x8d5);
    for (let at = 0; at < bytes.length; ) {
      const part = Math.min(bytes.length - at, 4096 - ((offset + at) & 0xfff));
      if (offset + at >= this.code) break;
      vm.physical.writeBytes(guest.physical('code', offset + at), bytes.subarray(at, at + part));
      at += part;
    }
    const exit = vcpu.enter(budget);
    this.instructions += budget - engine.left;
    if (exit.kind !== 'budget' && exit.kind !== 'halt' && exit.kind !== 'shutdown')
      throw new Error(`the guest left with ${exit.kind}`);
    if (engine.left < 0) throw new Error(`${budget - engine.left} instructions with a budget of ${budget}`);
  }

  /** The last sequences, the newest first. */
  report(count: number): string {
    const { mode, cpl, paging } = this.kind;
    const lines = this.last
      .slice(-count)
      .reverse()
      .map(({ bytes, budget, offset, registers }) => {
        const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
        return `  ${hex} (at ${offset.toString(16)}, budget ${budget}; ${[...registers].map((r) => r.toString(16)).join(' ')})`;
      });
    return [`mode ${mode}, CPL ${cpl}, ${paging} paging`, ...lines].join('\n');
  }
}

/** Of this thread: a busy host may let it wait for many seconds. */
function processorSeconds(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1e6;
}

export function fuzzBytes(random: Random, limits: ByteFuzzLimits): ByteFuzzResult {
  const kinds = limits.modes.flatMap(guestKinds);
  const guests = new Map<GuestKind, ByteGuest>();
  const failures: string[] = [];
  const end = performance.now() + limits.seconds * 1000;
  let sequences = 0;
  let instructions = 0;
  while (sequences < limits.sequences && failures.length < limits.failures && performance.now() < end) {
    const kind = kinds[random(kinds.length)]!;
    let guest = guests.get(kind);
    if (guest === undefined || guest.sequences >= longestLife) guests.set(kind, (guest = new ByteGuest(kind, random)));
    const before = guest.instructions;
    let failed = false;
    for (let i = Math.min(batch, limits.sequences - sequences); i > 0; i--) {
      const began = processorSeconds();
      sequences++;
      try {
        guest.run();
      } catch (error) {
        failures.push(`${(error as Error).stack}\n${guest.report(1)}`);
        failed = true;
        break;
      }
      const seconds = processorSeconds() - began;
      if (seconds > limits.secondsPerSequence) failures.push(`${seconds} s\n${guest.report(1)}`);
    }
    if (!failed && !guest.guest.holesIntact()) {
      failures.push(`bytes of the host have changed, by one of\n${guest.report(batch)}`);
      failed = true;
    }
    instructions += guest.instructions - before;
    if (failed) guests.delete(kind);
    limits.progress?.(sequences);
  }
  return { sequences, instructions, failures };
}
