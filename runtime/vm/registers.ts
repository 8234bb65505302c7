/**
 * A vCPU's state as registers: (set, number, size, attributes, value), read and written one, some or all at a time.
 *
 * The fields of src/state/layout.ts that have a set are registers: a row there appears here. Others are made up: RFLAGS out
 * of lazy flags, the local APIC's state (src/system/apic-registers.ts), CPUID.
 *
 * A register's id is its set's number times 65536 plus its number in the set; it stays the same from version to version.
 */
import type { Engine } from '../../src/execute/engine.ts';
import type { PhysicalMemory } from '../../src/mmu/physical-memory.ts';
import type { CpuState } from '../../src/state/cpu-state.ts';
import { type Field, type FieldType, layout, type RegisterAccess, type RegisterSet } from '../../src/state/layout.ts';
import type { ApicKept } from '../../src/system/apic-map.ts';
import { type ApicRegister, apicRefusal, apicRegisters } from '../../src/system/apic-registers.ts';
import type { Cpu } from '../../src/system/cpu.ts';
import type { InterruptSource } from '../../src/system/interrupt-pins.ts';
import type { LocalApic } from '../../src/system/local-apic.ts';
import { stateRefusal } from '../../src/system/state-check.ts';
import { timeMoved } from '../../src/system/time.ts';
import { ConfigurationError, StateError } from '../errors.ts';
import { cpuidRegisters } from './cpuid-registers.ts';

/** The sets of registers; `event` holds what is no register of the manual: pending events, shadows, halts, modes. */
export type StateSet = RegisterSet | 'apic' | 'cpuid';

/** The numbers of the sets, for ids. */
export const setNumbers: Readonly<Record<StateSet, number>> = {
  gpr: 1,
  segment: 2,
  table: 3,
  control: 4,
  debug: 5,
  msr: 6,
  xcr: 7,
  x87: 8,
  sse: 9,
  event: 10,
  apic: 11,
  cpuid: 12,
};

/** What a register is. */
export interface RegisterInfo {
  /** `setNumbers[set] * 65536 + number`. */
  readonly id: number;
  /** The set that it is in. */
  readonly set: StateSet;
  /** Its number there. */
  readonly number: number;
  /** Unique among all sets. */
  readonly name: string;
  /** Bytes: 4, 8, 10 (x87) or 16. */
  readonly size: number;
  /**
   * `rw`; `ro-for-guest`: the embedder may set what no instruction can; `ro`: {@link VcpuState.set} takes nothing but the
   * value that it has, so that state of another kind of processor is refused.
   */
  readonly attributes: RegisterAccess;
}

/** An id and an unsigned value of at most the register's size. */
export type RegisterTuple = readonly [id: number, value: bigint];

/** The vCPU whose registers they are. */
export interface RegisterOwner {
  readonly index: number;
  readonly fields: CpuState;
  readonly cpu: Cpu;
  readonly engine: Engine;
  readonly apic: LocalApic | null;
  readonly pins: InterruptSource;
  readonly memory: PhysicalMemory;
  /** The guest runs. */
  readonly isEntered: boolean;
}

/** Where a register's value is. */
interface Register extends RegisterInfo {
  readonly apic: ApicRegister | null;
  read(): bigint;
  write(value: bigint): void;
}

const sizes: Readonly<Record<FieldType, number>> = { u32: 4, u64: 8, f80: 10, v128: 16 };
/** Sets on which address translation, privilege, breakpoints or the APIC's place depend. */
const decisive: ReadonlySet<StateSet> = new Set(['segment', 'table', 'control', 'debug', 'msr', 'xcr']);
const decisiveEvents: ReadonlySet<string> = new Set(['rflags', 'cpl', 'smm']);
/** Registers of the set `event` that are no fields. */
const INSIDE_REPEAT = 0x1000;
const SHUTDOWN_VECTOR = 0x1001;
const PINS = 0x1002;
const ACKNOWLEDGE = 0x1003;
const A20 = 0x1004;
const RFLAGS_RF = 1 << 16;
const RFLAGS_ARITHMETIC = 0x8d5;

const hex = (value: bigint): string => `0x${value.toString(16)}`;

/** The registers of a vCPU: `vcpu.state`. */
export class VcpuState {
  private readonly vcpu: RegisterOwner;
  private readonly registers: readonly Register[];
  private readonly byId: ReadonlyMap<number, Register>;
  private readonly byName: ReadonlyMap<string, Register>;

  /** Made by its vCPU. */
  constructor(vcpu: RegisterOwner) {
    this.vcpu = vcpu;
    const registers: Register[] = [];
    for (const field of layout.values()) if (field.set !== null) registers.push(this.ofField(field, field.set));
    registers.push(...this.madeUp(), ...this.madeUpPins());
    if (vcpu.apic !== null)
      for (const [number, row] of apicRegisters.entries()) registers.push(this.ofApic(row, number));
    for (const { number, name, read } of cpuidRegisters(vcpu.cpu.processor))
      registers.push(this.register('cpuid', number, name, 16, 'ro', read, () => {}));
    this.registers = registers.sort((a, b) => a.id - b.id);
    this.byId = new Map(registers.map((register) => [register.id, register]));
    this.byName = new Map(registers.map((register) => [register.name, register]));
  }

  private register(
    set: StateSet,
    number: number,
    name: string,
    size: number,
    attributes: RegisterAccess,
    read: () => bigint,
    write: (value: bigint) => void,
    apic: ApicRegister | null = null,
  ): Register {
    return { id: setNumbers[set] * 65536 + number, set, number, name, size, attributes, apic, read, write };
  }

  private ofField({ name, type, offset, number, access }: Field, set: RegisterSet): Register {
    const { fields, cpu, apic, engine } = this.vcpu;
    const { u32, u64, view } = fields;
    const size = sizes[type];
    const make = (read: () => bigint, write: (value: bigint) => void, shown = name) =>
      this.register(set, number, shown, size, access, read, write);
    if (name === 'rflagsRest')
      return make(
        () => BigInt(cpu.processor.rflags),
        (value) => {
          engine.setFlags(Number(value) & RFLAGS_ARITHMETIC);
          u32[offset >> 2] = Number(value) & ~RFLAGS_ARITHMETIC;
        },
        'rflags',
      );
    // With a local APIC the task priority is its register.
    if (name === 'cr8' && apic !== null)
      return make(
        () => BigInt(apic.taskPriority),
        () => {},
      );
    if (type === 'u32')
      return make(
        () => BigInt(u32[offset >> 2]!),
        (value) => {
          u32[offset >> 2] = Number(value);
        },
      );
    if (type === 'u64')
      return make(
        () => u64[offset >> 3]!,
        (value) => {
          u64[offset >> 3] = value;
        },
      );
    const wide = type === 'v128';
    return make(
      () => ((wide ? u64[(offset >> 3) + 1]! : BigInt(view.getUint16(offset + 8, true))) << 64n) | u64[offset >> 3]!,
      (value) => {
        u64[offset >> 3] = value & 0xffff_ffff_ffff_ffffn;
        if (wide) u64[(offset >> 3) + 1] = value >> 64n;
        else view.setUint16(offset + 8, Number(value >> 64n), true);
      },
    );
  }

  private *madeUp(): Iterable<Register> {
    const { fields, cpu, engine } = this.vcpu;
    const { processor } = cpu;
    // The last element that was executed belongs to a repeated string instruction that goes on: an event now shows RF.
    yield this.register(
      'event',
      INSIDE_REPEAT,
      'insideRepeat',
      4,
      'ro-for-guest',
      () => (engine.repeating || processor.stoppedInside ? 1n : 0n),
      (value) => {
        processor.stoppedInside = value !== 0n;
      },
    );
    // After a triple fault: what could not be delivered.
    yield this.register(
      'event',
      SHUTDOWN_VECTOR,
      'shutdownVector',
      4,
      'ro-for-guest',
      () => (fields.get32('shutdown') !== 0 ? BigInt(fields.get32('faultVector')) : 0n),
      (value) => fields.set32('faultVector', Number(value)),
    );
  }

  private *madeUpPins(): Iterable<Register> {
    const { pins, memory } = this.vcpu;
    // The pin A20M#, all processors' in one: 1 = open.
    yield this.register(
      'event',
      A20,
      'a20',
      4,
      'ro-for-guest',
      () => (memory.a20 ? 1n : 0n),
      (value) => {
        memory.a20 = value !== 0n;
      },
    );
    // The levels of LINT0 and LINT1, which without a local APIC are INTR and NMI.
    yield this.register(
      'event',
      PINS,
      'interruptPins',
      4,
      'ro-for-guest',
      () => BigInt(pins.kept.levels),
      (value) => pins.replacePins({ ...pins.kept, levels: Number(value) }),
    );
    // The acknowledge cycle with the external controller: 1 = under way, 100H and the vector = answered.
    yield this.register(
      'event',
      ACKNOWLEDGE,
      'externalAcknowledge',
      4,
      'ro-for-guest',
      () => BigInt(pins.kept.acknowledge),
      (value) => pins.replacePins({ ...pins.kept, acknowledge: Number(value) }),
    );
  }

  private ofApic(row: ApicRegister, number: number): Register {
    const apic = this.vcpu.apic!;
    return this.register(
      'apic',
      number,
      row.name,
      row.bytes,
      row.access,
      () => row.read(apic.keep(), apic.id),
      () => {},
      row,
    );
  }

  /** All registers of this processor, by rising id. */
  list(): readonly RegisterInfo[] {
    return this.registers.map(({ id, set, number, name, size, attributes }) => ({
      ...{ id, set, number, name, size, attributes },
    }));
  }

  /**
   * The id of a register by its name.
   * @throws StateError `unknown-register`
   */
  idOf(name: string): number {
    const register = this.byName.get(name);
    if (register === undefined)
      throw new StateError('unknown-register', `register ${name}: there is none of this name`);
    return register.id;
  }

  /**
   * The value of a register. While an exit waits for its answer the state is that before its instruction, which the next
   * `enter` finishes; state that goes elsewhere then brings the same exit there once more.
   * @throws StateError `unknown-register`; ConfigurationError `already-entered` while the guest runs
   */
  get(id: number): bigint;
  /** Some registers in the order asked for, or all of them by rising id. */
  get(ids?: Iterable<number>): RegisterTuple[];
  get(wanted?: number | Iterable<number>): bigint | RegisterTuple[] {
    this.mustRest();
    if (typeof wanted === 'number') return this.known(wanted).read();
    const registers = wanted === undefined ? this.registers : this.all(wanted);
    const kept = registers.some(({ apic }) => apic !== null) ? this.vcpu.apic!.keep() : null;
    return registers.map((register) => [register.id, this.present(register, kept)]);
  }
  /** @param kept the local APIC's state, if its registers are asked for */
  private present(register: Register, kept: ApicKept | null): bigint {
    return register.apic !== null && kept !== null ? register.apic.read(kept, this.vcpu.apic!.id) : register.read();
  }
  private all(ids: Iterable<number>): Register[] {
    if (typeof ids !== 'object' || ids === null || !(Symbol.iterator in ids))
      throw new StateError('bad-register-type', `register ids ${String(ids)}: neither an id nor a list of ids`);
    return Array.from(ids, (id) => this.known(id));
  }
  private known(id: number): Register {
    const register = this.byId.get(id);
    if (register === undefined) throw new StateError('unknown-register', `register ${String(id)}: there is none`);
    return register;
  }
  private mustRest(): void {
    if (this.vcpu.isEntered)
      throw new ConfigurationError(
        'already-entered',
        `vCPU ${this.vcpu.index} is entered: its registers are in motion`,
      );
  }

  /**
   * Sets registers, all of them or, if one cannot be, none. They are judged together, as the state that they make up with
   * the registers that are not named.
   * @throws StateError naming the register: `unknown-register`, `duplicate-register`, `bad-register-type` (not a bigint),
   *   `bad-register-size` (negative, or more than its bytes hold), `read-only-register` (another value than it has),
   *   `bad-register-value` (reserved bits, a base that is not canonical, modes that exclude each other);
   *   ConfigurationError `already-entered` while the guest runs
   */
  set(tuples: Iterable<RegisterTuple>): void {
    this.mustRest();
    const named = this.judged(tuples);
    const kept = named.some(([{ apic }]) => apic !== null) ? this.vcpu.apic!.keep() : null;
    const changed = named.filter(([register, value]) => this.present(register, kept) !== value);
    // Whoever names such registers may have written page tables, too: what is remembered of them is dropped.
    const refresh = named.some(([{ set, name }]) => decisive.has(set) || decisiveEvents.has(name));
    if (changed.length === 0 && !refresh) return;
    for (const [{ name, id, attributes }, value] of changed)
      if (attributes === 'ro')
        throw new StateError('read-only-register', `register ${name} (${id}) is read-only and not ${hex(value)}`);
    const changes = new Map(changed.map(([{ name }, value]) => [name, value]));
    const { processor } = this.vcpu.cpu;
    const refusal = stateRefusal(processor, changes, (name) => this.byName.get(name)!.read());
    if (refusal !== null) throw this.refused(refusal, changes);
    const apic = this.newApicState(named, changes);
    const wholeClock = named.some(([{ name }]) => name === 'kvmSystemTime');
    this.write(changed, apic, refresh, wholeClock);
  }

  /** What is wrong with the tuples themselves. */
  private judged(tuples: Iterable<RegisterTuple>): (readonly [Register, bigint])[] {
    if (typeof tuples !== 'object' || tuples === null || !(Symbol.iterator in tuples))
      throw new StateError('bad-register-type', `registers ${String(tuples)}: not a list of [id, value]`);
    const seen = new Set<number>();
    return Array.from(tuples, (tuple) => {
      if (!Array.isArray(tuple) || tuple.length !== 2)
        throw new StateError('bad-register-type', `registers: ${String(tuple)} is not [id, value]`);
      const [id, value] = tuple as RegisterTuple;
      const register = this.known(id);
      const { name, size } = register;
      if (seen.has(id)) throw new StateError('duplicate-register', `register ${name} (${id}) stands twice in one call`);
      seen.add(id);
      if (typeof value !== 'bigint')
        throw new StateError('bad-register-type', `register ${name} (${id}): ${String(value)} is not a bigint`);
      if (value < 0n || value >> BigInt(size * 8) !== 0n)
        throw new StateError(
          'bad-register-size',
          `register ${name} (${id}): ${value < 0n ? value : hex(value)} is not an unsigned value of ${size} bytes`,
        );
      return [register, value] as const;
    });
  }
  private refused([name, reason]: readonly [string, string], changes: ReadonlyMap<string, bigint>): StateError {
    const value = changes.get(name) ?? this.byName.get(name)!.read();
    return new StateError('bad-register-value', `register ${name} (${this.idOf(name)}) = ${hex(value)}: ${reason}`);
  }

  /** The local APIC's state with what is named; null = nothing about it changes. */
  private newApicState(
    named: readonly (readonly [Register, bigint])[],
    changes: ReadonlyMap<string, bigint>,
  ): ApicKept | null {
    const { apic } = this.vcpu;
    const concerned = named.some(([r]) => changes.has(r.name) && (r.apic !== null || r.name === 'cr8'));
    if (apic === null || (!concerned && !changes.has('apicBase'))) return null;
    const kept = apic.keep();
    const base = changes.get('apicBase') ?? this.byName.get('apicBase')!.read();
    const x2 = (base & 0x400n) !== 0n;
    const priority = named.find(([{ name }]) => name === 'cr8')?.[1];
    if (priority !== undefined && changes.has('cr8')) kept.tpr = Number(priority) << 4;
    for (const [{ name, apic: row }, value] of named) {
      if (row === null || row.access === 'ro') continue;
      if (changes.has(name) && !row.fits(value, x2)) throw this.refused([name, 'reserved bits'], changes);
      row.write(kept, value);
    }
    if (priority !== undefined && kept.tpr >> 4 !== Number(priority))
      throw this.refused(['cr8', `not the upper half of the task priority ${kept.tpr}`], changes);
    const refusal = apicRefusal(kept);
    if (refusal !== null) throw this.refused(refusal, changes);
    return kept;
  }

  /** Nothing can fail from here on. */
  private write(
    changed: readonly (readonly [Register, bigint])[],
    apicState: ApicKept | null,
    refresh: boolean,
    wholeClock: boolean,
  ): void {
    const { cpu, engine, apic, fields } = this.vcpu;
    const { processor } = cpu;
    const names = new Set(changed.map(([{ name }]) => name));
    // Where it is inside a repetition is lost with the instruction pointer, unless that is said, too.
    processor.stoppedInside = (engine.repeating || processor.stoppedInside) && !names.has('rip');
    engine.last = null;
    processor.awaitedIn = 0;
    for (const [register, value] of changed) register.write(value);
    if (apicState !== null) apic!.replace(apicState, fields.get64('apicBase'));
    if (refresh) cpu.stateReplaced();
    else engine.contextChanged();
    // RF is there only while there are breakpoints.
    if (!processor.keepsResumeFlag) fields.set32('rflagsRest', fields.get32('rflagsRest') & ~RFLAGS_RF);
    if (!names.has('tscOffset')) return;
    // A state that comes with KVM's clock comes with the memory in which that stands.
    if (wholeClock) processor.apic?.timeMoved();
    else timeMoved(processor);
  }
}
