/**
 * Runs recorded hardware vectors on whole vCPUs: the machine that `test/hardware/machine.ts` describes stands in guest RAM,
 * the vector's instruction runs at CPL 3, and whatever ends it goes through the guest's IDT to a handler that halts. The
 * outcome is read from the frame on the kernel's stack.
 */

import { formRegion, type Region } from '../../jit/region.ts';
import { buildMachine, IMAGE, type Machine, RFLAGS_ALWAYS } from '../../runtime/lockstep/machine-image.ts';
import { Vm } from '../../runtime/vm/vm.ts';
import { type CodeSource, linearOf } from '../../src/execute/frontend.ts';
import { openBus } from '../../src/mmu/physical-memory.ts';
import { layout, offsetOf } from '../../src/state/layout.ts';
import type { ActualState } from '../hardware/compare.ts';
import { deliveredException, ending, loadVector, readWindow } from '../hardware/machine.ts';
import type { Mode, Vector } from '../hardware/vectors.ts';
import { vmModules } from './modules.ts';
import { RegionBatch } from './region-batch.ts';

/** `cold`: the look-aside tables are empty and the vCPU is entered for one instruction at a time. */
export type EngineKind = 'interpreter' | 'translation' | 'cold';

/** More instructions than the longest vector's repetitions. */
const MAXIMUM = 4000;
const ARITHMETIC = 0x8d5;
const DIRECTION = 0x400;
const DATA_BYTES = 4096;
const INEXACT = 0x20;
const MASKED_INEXACT = 0x1000;
const RFLAGS_RF = 0x10000n;
const gprOffset = offsetOf('rax');
const at = {
  rip: offsetOf('rip'),
  rsp: offsetOf('rsp'),
  st: Array.from({ length: 8 }, (_, i) => offsetOf(`fpr${i}`)),
  xmm: offsetOf('xmm0'),
  ymmHigh: offsetOf('ymmHigh0'),
};
/** End of the fields; tables follow. */
const fieldBytes = Math.max(...[...layout.values()].map((f) => f.offset)) + 16;

/** A virtual machine for one mode, ready at CPL 3. */
class VectorMachine {
  readonly vm: Vm;
  readonly machine: Machine;
  readonly batch: RegionBatch;
  /** The vCPU's fields before any vector. */
  private readonly ready: Uint8Array;

  constructor(mode: Mode) {
    this.vm = new Vm({
      mmio: openBus,
      memory: IMAGE.size,
      cpus: 1,
      modules: vmModules(),
      ports: { read: () => 0xffffffff, write: () => {} },
      tsc: { read: () => 0n, hertz: 1e9 },
      translate: false,
    });
    this.batch = new RegionBatch(this.vm);
    this.machine = buildMachine(this.vm.ram, mode);
    const { fields: state, cpu } = this.vm.vcpu(0);
    const { cr0, cr3, cr4, efer, xcr0, gdtr, idtr, segments } = this.machine;
    for (const [name, segment] of Object.entries(segments)) {
      state.set32(`${name}Selector`, segment.selector);
      state.set64(`${name}Base`, BigInt(segment.base));
      state.set32(`${name}Limit`, segment.limit);
      state.set32(`${name}Access`, segment.access);
    }
    for (const [name, value] of Object.entries({ cr0, cr3, cr4, efer, xcr0 })) state.set64(name, BigInt(value));
    for (const [name, table] of Object.entries({ gdtr, idtr })) {
      state.set64(`${name}Base`, BigInt(table.base));
      state.set32(`${name}Limit`, table.limit);
    }
    state.set32('cpl', 3);
    cpu.stateReplaced();
    this.ready = state.u8.slice(0, fieldBytes);
  }

  get context() {
    const { engine, fields: state } = this.vm.vcpu(0);
    return engine.contexts.current(state);
  }

  /** Puts the machine into the state before the vector. */
  load(v: Vector): void {
    const { fields: state, cpu, code, engine } = this.vm.vcpu(0);
    state.u8.set(this.ready);
    loadVector(this.vm.ram, v);
    code.written(IMAGE.code, 4096);
    state.u64.set(v.in.gpr, gprOffset >> 3);
    state.u64[at.rip >> 3] = BigInt.asUintN(64, v.ip);
    state.set32('rflagsRest', RFLAGS_ALWAYS | (v.in.flags & DIRECTION));
    engine.setFlags(v.in.flags & ARITHMETIC);
    const top = (v.in.fsw >> 11) & 7;
    for (let i = 0; i < 8; i++) state.u8.set(v.in.st.subarray(i * 10, i * 10 + 10), at.st[(top + i) & 7]!);
    state.set32('fcw', v.in.fcw);
    state.set32('fsw', v.in.fsw);
    state.set32('ftw', v.in.ftw);
    state.set32('mxcsr', v.in.mxcsr);
    state.u8.set(v.in.xmm, at.xmm);
    state.u8.set(v.in.ymmHigh, at.ymmHigh);
    cpu.stateReplaced();
  }

  /** Puts the data page into the look-aside tables. */
  warm(v: Vector): void {
    const { mmu } = this.vm.vcpu(0);
    mmu.probe(v.data >>> 0, Math.floor(v.data / 2 ** 32), DATA_BYTES, 'modify', false);
  }

  /** Runs until the handler has halted. */
  run(slice: number): ActualState {
    const vcpu = this.vm.vcpu(0);
    for (let left = MAXIMUM; left > 0; left -= slice) {
      const { kind } = vcpu.enter(slice);
      if (kind === 'halt') return this.outcome();
      if (kind !== 'budget') throw new Error(`the machine ended with ${kind}`);
    }
    throw new Error(`still running after ${MAXIMUM} instructions`);
  }

  private outcome(): ActualState {
    const { ram } = this.vm;
    const { fields: state, cpu } = this.vm.vcpu(0);
    const rip = Number(state.u64[at.rip >> 3]!);
    const frame = deliveredException(ram, this.machine, rip, Number(state.u64[at.rsp >> 3]!));
    if (frame === undefined) throw new Error(`halted at 0x${rip.toString(16)}, which is no handler`);
    this.checkFrame(frame);
    const { window, strayed } = readWindow(ram);
    if (strayed) throw new Error('wrote below the window');
    const fsw = state.get32('fsw');
    const st = new Uint8Array(80);
    for (let i = 0; i < 8; i++) {
      const from = at.st[((fsw >> 11) + i) & 7]!;
      st.set(state.u8.subarray(from, from + 10), i * 10);
    }
    const gpr = state.u64.slice(gprOffset >> 3, (gprOffset >> 3) + 16);
    gpr[4] = frame.rsp;
    if (cpu.processor.cpl !== 0) throw new Error('the handler runs at CPL 3');
    return {
      ...ending(frame, state.get64('cr2')),
      flags: Number(frame.rflags) & (ARITHMETIC | DIRECTION),
      gpr,
      window,
      fcw: state.get32('fcw'),
      fsw,
      ftw: state.get32('ftw'),
      st,
      mxcsr: state.get32('mxcsr'),
      xmm: state.u8.slice(at.xmm, at.xmm + 256),
      ymmHigh: state.u8.slice(at.ymmHigh, at.ymmHigh + 256),
    };
  }

  /** What every frame must show, whatever the vector. SDM volume 3, 7.12 and 18.3.1.1 (RF). */
  private checkFrame({ vector, cs, ss, rflags }: NonNullable<ReturnType<typeof deliveredException>>): void {
    const { segments } = this.machine;
    if (cs !== segments.cs.selector || ss !== segments.ss.selector)
      throw new Error(`the frame holds CS ${cs.toString(16)}, SS ${ss.toString(16)}`);
    const isTrap = vector === 3 || vector === 4;
    if ((rflags & 0x202n) !== 0x202n || (rflags & RFLAGS_RF) !== (isTrap ? 0n : RFLAGS_RF))
      throw new Error(`the frame of vector ${vector} holds RFLAGS ${rflags.toString(16)}`);
  }

  /** The region of the vector's instruction, or null if that is the interpreter's. */
  region(v: Vector): Region | null {
    const page = new Uint8Array(4096).fill(0xcc);
    page.set(v.bytes, 0x800);
    const { context } = this;
    const code = linearOf(context, v.ip) & ~0xfffn;
    const source: CodeSource = { page: (linear) => ((linear & ~0xfffn) === code ? page : null) };
    return formRegion(source, context, v.ip);
  }
}

/**
 * The vector with the masked inexact flag set before it, where the instruction only adds to the sticky flags: translations
 * take floating point operations on the fast road only then.
 */
function withInexactNoted(v: Vector): Vector {
  const changesMxcsr = ['sse', 'avx', 'fma', 'f16c'].includes(v.cls) && !/^v?(?:ldmxcsr|stmxcsr|fx)/.test(v.name);
  if (!changesMxcsr || (v.in.mxcsr & MASKED_INEXACT) === 0) return v;
  return {
    ...v,
    in: { ...v.in, mxcsr: v.in.mxcsr | INEXACT },
    out: { ...v.out, mxcsr: v.out.mxcsr | INEXACT },
  };
}

export class VectorRunner {
  private readonly machines = new Map<Mode, VectorMachine>();
  /** Vectors that ran in a translation at least in part. */
  translated = 0;
  private interpreted = 0;

  private machine(mode: Mode): VectorMachine {
    let machine = this.machines.get(mode);
    if (machine === undefined) this.machines.set(mode, (machine = new VectorMachine(mode)));
    return machine;
  }

  /** Executes the vector's instruction in the interpreter: every other one in optimised blocks, the others in hasty ones. */
  interpret(v: Vector): ActualState {
    const machine = this.machine(v.mode);
    machine.batch.withdraw();
    machine.load(v);
    machine.vm.vcpu(0).engine.maker.patience = this.interpreted++ % 2 === 0 ? 0 : MAXIMUM;
    return machine.run(MAXIMUM);
  }

  /**
   * Executes vectors of one mode in translations made together, once for each kind, and hands each outcome over; an error
   * of the host is handed over in its place. Vectors whose instruction is the interpreter's are left out.
   */
  translate(
    vectors: readonly Vector[],
    kinds: readonly ('translation' | 'cold')[],
    take: (v: Vector, kind: EngineKind, actual: ActualState | Error) => void,
  ): void {
    const first = vectors[0];
    if (first === undefined) return;
    const machine = this.machine(first.mode);
    machine.load(first); // for the context
    const { context } = machine;
    const made = vectors.flatMap((vector) => {
      const region = machine.region(vector);
      return region === null ? [] : [{ vector, region }];
    });
    if (made.length === 0) return;
    machine.batch.translate(made.map(({ region }) => region));
    made.forEach(({ vector }, i) => {
      machine.batch.offer(i, context, vector.ip);
      for (const kind of kinds) {
        const v = kind === 'translation' ? withInexactNoted(vector) : vector;
        try {
          machine.load(v);
          if (kind === 'translation') machine.warm(v);
          const before = machine.vm.vcpu(0).engine.translated;
          const actual = machine.run(kind === 'cold' ? 1 : MAXIMUM);
          if (machine.vm.vcpu(0).engine.translated > before) this.translated++;
          take(v, kind, actual);
        } catch (error) {
          take(v, kind, error as Error);
        }
      }
    });
  }
}
