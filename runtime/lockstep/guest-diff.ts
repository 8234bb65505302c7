/**
 * Runs one guest twice, interpreted and translated, and compares all that it can see after every interval; a difference is
 * narrowed down to the instruction that made it. Time is the count of instructions, so both runs are the same.
 */
import type { Translate } from '../../jit/translate.ts';
import { layout } from '../../src/state/layout.ts';
import { PortBus } from '../bus.ts';
import type { LoadedGuest } from '../loaders/load.ts';
import { attachBareDevices, type BareMachineDevices } from '../machines/bare.ts';
import { Vm, type VmModules, type VmTranslation } from '../vm.ts';
import { cpuBase } from '../vm-places.ts';
import { describePlace, differingPlaces, type Place, type Side, Trace } from './differences.ts';

export interface GuestDiffOptions {
  /** Bytes of RAM. */
  readonly memory: number;
  readonly modules: VmModules;
  /** Puts the guest into RAM. */
  readonly load: (ram: Uint8Array) => LoadedGuest;
  /** Instructions between two comparisons. */
  readonly interval: number;
  readonly maxInstructions: number;
  /** Translate at the first execution, or when code is hot. */
  readonly when: 'first' | 'hot';
  readonly translate: Translate;
  readonly x87: 'exact' | 'fast';
  /** Told of every comparison that found nothing. */
  readonly progress?: (instructions: number) => void;
}

export interface GuestDiffResult {
  /** Instructions that both have executed. */
  readonly instructions: number;
  readonly translated: number;
  /** How the guest has ended, if it has. */
  readonly end: string | null;
  /** Lines about the difference; null: there is none. */
  readonly difference: readonly string[] | null;
}

/** End of the fields; tables follow. */
const fieldBytes = Math.max(...[...layout.values()].map((field) => field.offset)) + 16;
/** Instructions that are looked at one by one before a difference. */
const window = 400;

/** What a run goes back to. */
interface Saved {
  readonly fields: Uint8Array;
  readonly ram: Uint8Array;
  readonly devices: Readonly<Record<string, unknown>>;
  readonly retired: number;
  readonly said: string;
}

class Machine {
  readonly vm: Vm;
  readonly side: Side;
  /** What the devices were told, as text. */
  said = '';
  retired = 0;
  end: string | null = null;
  private running = 0;
  private readonly devices: BareMachineDevices;

  constructor(options: GuestDiffOptions, translate: false | VmTranslation) {
    const bus = new PortBus();
    this.vm = new Vm({
      memory: options.memory,
      cpus: 1,
      modules: options.modules,
      ports: {
        read: (port, bytes) => bus.read(port, bytes),
        write: (port, bytes, value) => bus.write(port, bytes, value),
      },
      tsc: { read: () => BigInt(this.now()), hertz: 1_000_000_000 },
      x87: options.x87,
      translate,
    });
    this.side = { vcpu: this.vm.vcpu(0), ram: this.vm.ram };
    this.devices = attachBareDevices(bus, {
      serial: (byte) => void (this.said += String.fromCharCode(byte)),
      debugcon: (byte) => void (this.said += String.fromCharCode(byte)),
      exit: (status) => {
        this.end = `exit ${status}`;
        this.side.vcpu.kick();
      },
    });
    this.vm.start(0, options.load(this.vm.ram).state);
  }
  private now(): number {
    return this.retired + (this.running > 0 ? this.running - this.side.vcpu.engine.left : 0);
  }
  /** Runs until so many instructions have been retired in all, or to the guest's end. */
  runTo(instructions: number): void {
    const { vcpu } = this.side;
    while (this.end === null && this.retired < instructions) {
      this.running = instructions - this.retired;
      const exit = vcpu.enter(this.running);
      this.retired += this.running - vcpu.engine.left;
      this.running = 0;
      if (exit.kind === 'halt' || exit.kind === 'shutdown') this.end ??= exit.kind;
    }
  }
  save(): Saved {
    const { vcpu, ram } = this.side;
    const devices = Object.entries(this.devices).map(([name, device]) => [
      name,
      'state' in device ? structuredClone(device.state) : null,
    ]);
    return {
      fields: vcpu.state.u8.slice(0, fieldBytes),
      ram: ram.slice(),
      devices: Object.fromEntries(devices),
      retired: this.retired,
      said: this.said,
    };
  }
  restore(saved: Saved): void {
    const { vcpu, ram } = this.side;
    ram.set(saved.ram);
    vcpu.state.u8.set(saved.fields);
    for (const [name, device] of Object.entries(this.devices))
      if ('state' in device) device.state = structuredClone(saved.devices[name]);
    vcpu.code.dropAll();
    for (const translator of this.vm.translators) translator.dropAll();
    vcpu.cpu.stateReplaced();
    this.retired = saved.retired;
    this.said = saved.said;
    this.end = null;
  }
}

class GuestDiff {
  private readonly options: GuestDiffOptions;
  private readonly reference: Machine;
  private readonly translated: Machine;

  constructor(options: GuestDiffOptions) {
    const { when: kind, translate, x87 } = options;
    this.options = options;
    this.reference = new Machine(options, false);
    this.translated = new Machine(options, {
      way: { kind, translate },
      cache: null,
      mode: { shared: false, x87, cpu: cpuBase },
    });
  }

  run(): GuestDiffResult {
    const { reference, translated, options } = this;
    let saved = reference.save();
    for (let done = 0; ; done = reference.retired) {
      const to = Math.min(done + options.interval, options.maxInstructions);
      reference.runTo(to);
      translated.runTo(to);
      const differs = this.compare();
      const figures = { instructions: reference.retired, translated: translated.side.vcpu.engine.translated };
      if (differs.length > 0) return { ...figures, end: null, difference: this.narrow(saved, differs) };
      options.progress?.(reference.retired);
      if (reference.end !== null || reference.retired >= options.maxInstructions)
        return { ...figures, end: reference.end, difference: null };
      saved = reference.save();
    }
  }

  /** Lines about all that differs now. */
  private compare(): string[] {
    const { reference, translated } = this;
    const lines = this.places().map((place) => describePlace(place, translated.side, reference.side));
    if (translated.retired !== reference.retired)
      lines.push(`instructions: got ${translated.retired}, expected ${reference.retired}`);
    if (translated.end !== reference.end) lines.push(`end: got ${translated.end}, expected ${reference.end}`);
    if (translated.said !== reference.said) lines.push('the devices were told other bytes');
    return lines;
  }
  private places(): Place[] {
    return differingPlaces(this.translated.side, this.reference.side);
  }
  private differAfter(saved: Saved, instructions: number): boolean {
    for (const machine of [this.reference, this.translated]) {
      machine.restore(saved);
      machine.runTo(instructions);
    }
    return this.compare().length > 0;
  }

  private narrow(saved: Saved, whole: readonly string[]): string[] {
    const { reference } = this;
    const end = reference.retired;
    if (!this.differAfter(saved, end))
      return [
        `after ${end} instructions, and not again from ${saved.retired} on:`,
        ...whole.map((line) => `  ${line}`),
      ];
    let [same, other] = [saved.retired, end];
    while (other - same > 1) {
      const middle = Math.floor((same + other) / 2);
      if (this.differAfter(saved, middle)) other = middle;
      else same = middle;
    }
    this.differAfter(saved, other);
    const lines = this.compare();
    const places = this.places();
    reference.restore(saved);
    reference.runTo(Math.max(saved.retired, other - window));
    const trace = new Trace(places);
    while (reference.end === null && reference.retired < other) {
      trace.before(reference.side);
      reference.runTo(reference.retired + 1);
      trace.after(reference.side);
    }
    return [`after ${other} instructions:`, ...lines.map((line) => `  ${line}`), ...trace.report()];
  }
}

/** Compares until a difference, the guest's end or the limit. */
export function diffGuest(options: GuestDiffOptions): GuestDiffResult {
  return new GuestDiff(options).run();
}
