/**
 * Guests that take interrupts: flat protected mode, handlers that count in RAM, devices that are reached through exits, so
 * that one in another thread is driven like one in this.
 */
import assert from 'node:assert/strict';
import { setImmediate as hostTurn } from 'node:timers/promises';
import { VirtualClock } from '../../runtime/devices/clock.ts';
import type { AccessSize, Device } from '../../runtime/devices/device.ts';
import { loadFlatBinary } from '../../runtime/loaders/flat-binary.ts';
import type { Vm } from '../../runtime/vm/vm.ts';
import { type Assembler, dword } from '../engines/assembler.ts';
import { lidt, putIdt } from '../engines/system-code.ts';
import { emptyVm, origin, type TestEngine, type GuestOptions as VmParts } from './vm-harness.ts';

export const engines = ['interpreter', 'translation'] as const;

const idt = 0x8000;
/** Where handlers count, one word each. */
export const counterAt = (n: number) => 0x9000 + n * 4;

// --- instructions
export const loadIdt = lidt(idt - 8);
/** `mov eax, [from]; mov [to], eax` */
export const copy = (from: number, to: number) => [0xa1, ...dword(from), 0xa3, ...dword(to)];
export const count = (n: number) => [0xff, 0x05, ...dword(counterAt(n))];
export const sti = 0xfb;
export const hlt = 0xf4;
/** A handler: counts, ends the interrupt, returns; eax, ecx and edx are kept. */
export const handler = (n: number, end: readonly number[]) => [
  ...[0x50, 0x51, 0x52],
  ...count(n),
  ...end,
  ...[0x5a, 0x59, 0x58, 0xcf],
];

/** Somewhere registers are: a device, or what stands for one in another thread. */
export interface Registers {
  readonly space: 'pio' | 'mmio';
  readonly base: number;
  readonly length: number;
  read(offset: number, size: AccessSize): number | Promise<number>;
  write(offset: number, size: AccessSize, value: number): void | Promise<void>;
}
export const registers = (space: 'pio' | 'mmio', base: number, length: number, device: Device): Registers => ({
  space,
  base,
  length,
  read: (offset, size) => device.read(offset, size),
  write: (offset, size, value) => device.write(offset, size, value),
});

export interface GuestOptions extends Omit<VmParts, 'mode'> {
  readonly code: Assembler;
  /** Vectors and the labels of their handlers. */
  readonly vectors: Readonly<Record<number, string>>;
}

export class Guest {
  readonly vm: Vm;
  readonly clock: VirtualClock;
  readonly devices: Registers[] = [];
  readonly #view: DataView;

  constructor(engine: TestEngine, { code, vectors, ...options }: GuestOptions) {
    this.vm = emptyVm(engine, {
      memory: 1 << 20,
      clock: 'virtual',
      lapic: 'visible',
      ...options,
    });
    const { clock } = this.vm.time;
    assert.ok(clock instanceof VirtualClock);
    this.clock = clock;
    const { ram } = this.vm;
    this.#view = new DataView(ram.buffer, ram.byteOffset, ram.byteLength);
    const bytes = code.finish();
    assert.ok(bytes.length < idt - origin - 8);
    this.vm.start(0, loadFlatBinary(bytes, { bytes: ram }, { address: origin, mode: 'protected' }));
    const handlers = Object.entries(vectors).map(([vector, label]) => [vector, code.addressOf(label)]);
    putIdt(ram, idt, Object.fromEntries(handlers));
  }

  word(address: number): number {
    return this.#view.getUint32(address, true);
  }
  /** How often a handler has run. */
  runs(n: number): number {
    return this.word(counterAt(n));
  }
  #at(space: 'pio' | 'mmio', address: number): Registers | undefined {
    return this.devices.find((d) => d.space === space && address >= d.base && address < d.base + d.length);
  }

  /** Runs until the guest halts for good (`asleep` is asked what to do then) or so many instructions are executed. */
  async run(
    instructions: number,
    done: () => boolean = () => false,
    slice = 5000,
  ): Promise<'halt' | 'budget' | 'done'> {
    const vcpu = this.vm.vcpu(0);
    for (let left = instructions; left > 0; ) {
      if (done()) return 'done';
      const budget = Math.min(left, slice);
      const exit = vcpu.enter({ maxInstructions: budget });
      left -= budget - vcpu.left;
      switch (exit.kind) {
        case 'pio':
        case 'mmio': {
          const address = exit.kind === 'pio' ? exit.port : exit.physical;
          const device = this.#at(exit.kind, address);
          const size = exit.size as AccessSize;
          if (exit.write) await device?.write(address - device.base, size, exit.kind === 'pio' ? exit.value : exit.low);
          else {
            const value = (await device?.read(address - device.base, size)) ?? 0xffff_ffff;
            if (exit.kind === 'pio') exit.value = value;
            else exit.low = value;
          }
          break;
        }
        case 'halt':
          if (vcpu.runnable) break;
          if (this.clock.nextDeadline() < Number.POSITIVE_INFINITY) {
            this.clock.advanceTo(this.clock.nextDeadline());
            break;
          }
          this.vm.irq.poll();
          if (!vcpu.runnable) return 'halt';
          break;
        case 'budget':
          break;
        default:
          assert.fail(`exit ${JSON.stringify(exit)}`);
      }
    }
    return 'budget';
  }
  /** Runs on, giving other threads their time, until something is so. */
  async until(what: string, done: () => boolean): Promise<void> {
    const end = performance.now() + 20_000;
    while (!done()) {
      assert.ok(performance.now() < end, `waited for: ${what}`);
      await this.run(5000, done);
      await hostTurn();
    }
  }
}
