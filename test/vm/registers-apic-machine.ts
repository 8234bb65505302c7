/**
 * A machine with a local APIC on virtual time, an instruction a nanosecond, that can be saved as text, here or in another
 * process: `node registers-apic-machine.ts` reads one on its standard input, runs it and writes where it has come to.
 */
import { text } from 'node:stream/consumers';
import { VirtualClock } from '../../runtime/devices/clock.ts';
import { stateHash } from '../../runtime/state-hash.ts';
import type { Vm } from '../../runtime/vm/vm.ts';
import { Assembler, dword, to } from '../engines/assembler.ts';
import { emptyVm, loadCode, origin, type TestEngine } from './vm-harness.ts';

/** Interrupts are counted here by vector: words. */
export const COUNTS = 0x2000;
const HANDLERS = 0x1100;
const handlerBytes = 48;
export const vectors = [0x91, 0x41, 0x51] as const;

/** Real mode and x2APIC: counts in EBX; each handler notes the time, rearms a TSC deadline if there is one, and ends. */
function program(): Uint8Array {
  return new Assembler(BigInt(origin)).put(0xfb).label('top').put(0x66, 0x43, 0xeb, to('top', 1)).finish();
}
function handler(vector: number, period: number): Uint8Array {
  const count = COUNTS + vector * 2;
  const rearm =
    period === 0
      ? []
      : [
          ...[0x0f, 0x31, 0x66, 0x05, ...dword(period)], // rdtsc; add eax, period
          ...[0x66, 0xb9, ...dword(0x6e0), 0x0f, 0x30], // mov ecx, 6e0h; wrmsr
        ];
  const bytes = [
    ...[0x66, 0x60, 0xff, 0x06, count & 0xff, count >> 8], // pushad; inc word [count]
    ...rearm,
    ...[0x66, 0xb9, ...dword(0x80b), 0x66, 0x31, 0xc0, 0x66, 0x31, 0xd2, 0x0f, 0x30], // end of interrupt
    ...[0x66, 0x61, 0xcf], // popad; iret
  ];
  if (bytes.length > handlerBytes) throw new Error(`a handler of ${bytes.length} bytes`);
  return Uint8Array.from(bytes);
}

/** What a machine is saved as. */
export interface Saved {
  readonly engine: TestEngine;
  readonly now: number;
  readonly ram: string;
  /** Ids and values, hexadecimal. */
  readonly registers: readonly (readonly [id: number, value: string])[];
  /** What the process that reads it is to do. */
  readonly run: number;
}

export class ApicTestMachine {
  readonly engine: TestEngine;
  readonly vm: Vm;
  readonly clock: VirtualClock;
  private slice = 0;

  constructor(engine: TestEngine) {
    this.engine = engine;
    this.clock = new VirtualClock(() => (this.slice === 0 ? 0 : this.slice - this.vm.vcpu(0).engine.left));
    const { clock } = this;
    this.vm = emptyVm(engine, {
      apic: { clock, acknowledgeExternal: () => 0x51 },
      tsc: { read: () => BigInt(clock.now()), hertz: 1e9 },
      random: { seed: 1 },
      memory: 0x10000,
    });
    clock.onEarlier = () => {
      if (this.slice !== 0) this.vm.vcpu(0).kick();
    };
  }

  /** The guest before its first instruction; `deadlinePeriod`: nanoseconds between two TSC deadlines, 0 = none. */
  start(deadlinePeriod: number): void {
    const { vm } = this;
    loadCode(vm, program(), 'real');
    for (const [i, vector] of vectors.entries()) {
      const at = HANDLERS + i * handlerBytes;
      vm.physical.writeBytes(at, handler(vector, i === 0 ? deadlinePeriod : 0));
      vm.physical.writeBytes(vector * 4, Uint8Array.of(at & 0xff, at >> 8, 0, 0));
    }
    const { state } = vm.vcpu(0);
    state.set([
      [state.idOf('rsp'), 0x7000n],
      [state.idOf('apicBase'), 0xfee0_0d00n],
      [state.idOf('apicSvr'), 0x1ffn],
    ]);
  }

  /** Executes exactly so many instructions. */
  run(instructions: number): void {
    const { clock } = this;
    const vcpu = this.vm.vcpu(0);
    for (let left = instructions; left > 0; ) {
      this.slice = Math.min(left, Math.max(1, clock.nextDeadline() - clock.now()));
      vcpu.enter(this.slice);
      const done = this.slice - vcpu.left;
      this.slice = 0;
      left -= done;
      clock.advanceTo(clock.now() + done);
    }
  }

  get hash(): string {
    return stateHash(this.vm.vcpu(0), this.vm.ram);
  }
  count(vector: number): number {
    return new DataView(this.vm.ram.buffer, this.vm.ram.byteOffset).getUint16(COUNTS + vector * 2, true);
  }

  save(run: number): Saved {
    return {
      engine: this.engine,
      now: this.clock.now(),
      ram: Buffer.from(this.vm.ram).toString('base64'),
      registers: this.vm
        .vcpu(0)
        .state.get()
        .map(([id, value]) => [id, value.toString(16)]),
      run,
    };
  }
  static restore({ engine, now, ram, registers }: Saved): ApicTestMachine {
    const machine = new ApicTestMachine(engine);
    machine.clock.advanceTo(now);
    machine.vm.physical.writeBytes(0, Buffer.from(ram, 'base64'));
    machine.vm.vcpu(0).state.set(registers.map(([id, value]) => [id, BigInt(`0x${value}`)]));
    return machine;
  }
}

if (process.argv[1] === import.meta.filename) {
  const saved = JSON.parse(await text(process.stdin)) as Saved;
  const machine = ApicTestMachine.restore(saved);
  const before = machine.hash;
  machine.run(saved.run);
  console.log(JSON.stringify({ before, after: machine.hash, counts: vectors.map((vector) => machine.count(vector)) }));
}
