/**
 * Runs recorded hardware vectors on a bare engine: the vector's two pages mapped through real page tables, segments and
 * control registers set as the vector's machine has them, and exceptions recorded in place of being delivered.
 */

import { Translator } from '../../jit/translator.ts';
import { CodeMemory } from '../../src/execute/code-memory.ts';
import { Contexts } from '../../src/execute/context.ts';
import { Engine } from '../../src/execute/engine.ts';
import type { Processor } from '../../src/execute/processor.ts';
import { Mmu } from '../../src/mmu/mmu.ts';
import { PhysicalMemory } from '../../src/mmu/physical-memory.ts';
import { CpuState } from '../../src/state/cpu-state.ts';
import { cpuBytes, offsetOf } from '../../src/state/layout.ts';
import type { ActualState } from '../hardware/compare.ts';
import type { Mode, Vector } from '../hardware/vectors.ts';
import { loadModules } from './modules.ts';

const cpuBase = 0x10000;
const codeBase = cpuBase + cpuBytes;
const codeBytes = 0x400000;
const ramBase = codeBase + codeBytes;
const ramBytes = 0x80000;
const ROOT = 0x10000;
const CODE_PAGE = 0x4000;
const DATA_PAGE = 0x5000;
const gprNames = ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi'];
const gpr = [...gprNames, ...Array.from({ length: 8 }, (_, i) => `r${8 + i}`)].map(offsetOf);
const ARITHMETIC = 0x8d5;

class NoHelpers extends Error {}

export class VectorRunner implements Processor {
  readonly state: CpuState;
  readonly memory: PhysicalMemory;
  readonly mmu: Mmu;
  readonly engine: Engine;
  readonly ram: Uint8Array;
  private readonly ramView: DataView;
  private readonly code: CodeMemory;
  readonly translator: Translator;
  /** How many vectors had a translation. */
  translated = 0;
  private faulted = false;
  private mapped = '';
  private nextTable = ROOT;

  constructor() {
    const { core, arithmetic } = loadModules();
    const memory = new WebAssembly.Memory({ initial: (ramBase + ramBytes) >> 16, maximum: 65536 });
    this.state = new CpuState(memory.buffer, cpuBase);
    this.ram = new Uint8Array(memory.buffer, ramBase, ramBytes);
    this.ramView = new DataView(memory.buffer, ramBase, ramBytes);
    this.memory = new PhysicalMemory(memory.buffer);
    this.memory.add({ kind: 'ram', start: 0, length: ramBytes, hostOffset: ramBase });
    this.mmu = new Mmu(this.state, this.memory);
    this.code = new CodeMemory(memory.buffer, codeBase, codeBytes, this.memory);
    const contexts = new Contexts();
    const table = new WebAssembly.Table({ element: 'anyfunc', initial: 16 });
    this.engine = new Engine({
      processor: this,
      memory,
      table,
      coreModule: core,
      arithmetic,
      contexts,
      code: this.code,
    });
    this.translator = new Translator({
      engine: this.engine,
      contexts,
      code: this.code,
      memory,
      table,
      arithmetic,
      shared: false,
      maximumBytes: 1 << 24,
    });
    this.engine.regions = this.translator;
    this.code.onDrop = (block) => this.engine.blockDropped(block);
    this.memory.onCodeWrite = (physical, bytes) => {
      this.code.written(physical, bytes);
    };
  }

  runHelper(name: string): boolean {
    throw new NoHelpers(`helper ${name}`);
  }
  deliverFault(): boolean {
    this.faulted = true;
    return true;
  }

  private table(): number {
    const at = this.nextTable;
    this.nextTable += 0x1000;
    this.ram.fill(0, at, at + 0x1000);
    return at;
  }
  private mapLong(root: number, linear: number, physical: number): void {
    let at = root;
    for (let level = 3; level > 0; level--) {
      const slot = at + (Math.floor(linear / 2 ** (12 + 9 * level)) % 512) * 8;
      if (this.ramView.getUint32(slot, true) === 0) this.ramView.setUint32(slot, this.table() | 7, true);
      at = this.ramView.getUint32(slot, true) & ~0xfff;
    }
    this.ramView.setUint32(at + (Math.floor(linear / 4096) % 512) * 8, physical | 0x67, true);
  }
  private map32(root: number, linear: number, physical: number): void {
    const slot = root + (linear >>> 22) * 4;
    if (this.ramView.getUint32(slot, true) === 0) this.ramView.setUint32(slot, this.table() | 7, true);
    const at = this.ramView.getUint32(slot, true) & ~0xfff;
    this.ramView.setUint32(at + ((linear >>> 12) & 1023) * 4, physical | 0x67, true);
  }

  private segment(name: string, base: number, limit: number, access: number, code: boolean): void {
    const { state } = this;
    state.set64(`${name}Base`, BigInt(base));
    state.set32(`${name}Limit`, limit);
    state.set32(`${name}Access`, access | (1 << 16));
    state.set32(`${name}ReadLow`, 0);
    state.set32(`${name}ReadHigh`, limit);
    state.set32(`${name}WriteLow`, code ? 1 : 0);
    state.set32(`${name}WriteHigh`, code ? 0 : limit);
  }

  private setMode(mode: Mode, code: number, data: number): void {
    const key = `${mode},${code},${data}`;
    if (key === this.mapped) return;
    this.mapped = key;
    const { state } = this;
    this.nextTable = ROOT;
    const root = this.table();
    state.set64('cr3', BigInt(root));
    state.set64('cr0', 0x80010033n);
    state.set64('cr4', mode === 64 ? 0x6a0n : 0x600n);
    state.set64('efer', mode === 64 ? 0xd00n : 0n);
    state.set32('cpl', 3);
    if (mode === 64) {
      this.mapLong(root, code, CODE_PAGE);
      this.mapLong(root, data, DATA_PAGE);
    } else {
      this.map32(root, code, CODE_PAGE);
      this.map32(root, data, DATA_PAGE);
    }
    const flags = mode === 64 ? 1 << 13 : mode === 32 ? 1 << 14 : 0;
    const limit = mode === 16 ? 0xfff : 0xffffffff;
    const base = (n: number) => (mode === 16 ? n : 0);
    this.segment('cs', base(code), limit, 0xfb | flags, true);
    for (const name of ['ds', 'es', 'ss', 'fs', 'gs'])
      this.segment(name, base(data), limit, 0xf3 | (mode === 16 ? 0 : 1 << 14), false);
    this.mmu.reconfigure();
    this.mmu.updatePrivilege();
    this.engine.contextChanged();
  }

  /** Puts the machine into the state before the vector. */
  prepare(v: Vector): void {
    const { state, ram } = this;
    this.setMode(v.mode, v.code, v.data);
    this.code.dropAll();
    ram.fill(0xcc, CODE_PAGE, CODE_PAGE + 4096);
    ram.set(v.bytes, CODE_PAGE + 0x800);
    ram.fill(0, DATA_PAGE, DATA_PAGE + 4096);
    ram.set(v.in.window, DATA_PAGE + 3840);
    gpr.forEach((offset, i) => (state.u64[offset >> 3] = v.in.gpr[i]!));
    state.set64('rip', v.ip);
    state.set32('rflagsRest', 0x202 | (v.in.flags & 0x400));
    this.engine.setFlags(v.in.flags & ARITHMETIC);
    state.set32('fcw', v.in.fcw);
    state.set32('fsw', v.in.fsw);
    state.set32('ftw', v.in.ftw);
    const top = (v.in.fsw >> 11) & 7;
    for (let i = 0; i < 8; i++) state.u8.set(v.in.st.subarray(i * 10, i * 10 + 10), offsetOf(`fpr${(top + i) & 7}`));
    state.set32('mxcsr', v.in.mxcsr);
    state.u8.set(v.in.xmm, offsetOf('xmm0'));
    state.u8.set(v.in.ymmHigh, offsetOf('ymmHigh0'));
    this.faulted = false;
  }

  /** Executes the vector's instruction in the interpreter. */
  interpret(v: Vector): ActualState {
    this.prepare(v);
    for (let i = 0; i < 1000 && !this.faulted && this.state.get64('rip') === v.ip; i++) this.engine.step();
    return this.outcome();
  }

  /** Executes it in a translation, with the look-aside table warm (or `cold`: empty, so that most of it is left to the interpreter). */
  translate(v: Vector, cold = false): ActualState {
    this.prepare(v);
    this.translator.dropAll();
    if (this.translator.force(v.ip, this.engine.contexts.current(this.state))) this.translated++;
    if (cold) this.mmu.flushAll();
    else {
      this.mmu.probe(v.data >>> 0, Math.floor(v.data / 2 ** 32), 4096, 'modify', false);
    }
    for (let i = 0; i < 1000 && !this.faulted && this.state.get64('rip') === v.ip; i++) this.engine.run(1);
    return this.outcome();
  }

  outcome(): ActualState {
    const { state } = this;
    const fsw = state.get32('fsw');
    const st = new Uint8Array(80);
    for (let i = 0; i < 8; i++)
      st.set(
        state.u8.subarray(offsetOf(`fpr${((fsw >> 11) + i) & 7}`), offsetOf(`fpr${((fsw >> 11) + i) & 7}`) + 10),
        i * 10,
      );
    const vector = state.get32('faultVector');
    const errorCode = state.get32('faultErrorCode');
    return {
      rip: state.get64('rip'),
      flags: this.engine.flags() | (state.get32('rflagsRest') & 0x400),
      gpr: BigUint64Array.from(gpr, (offset) => state.u64[offset >> 3]!),
      window: this.ram.slice(DATA_PAGE + 3840, DATA_PAGE + 4096),
      fcw: state.get32('fcw'),
      fsw,
      ftw: state.get32('ftw'),
      st,
      mxcsr: state.get32('mxcsr'),
      xmm: state.u8.slice(offsetOf('xmm0'), offsetOf('xmm0') + 256),
      ymmHigh: state.u8.slice(offsetOf('ymmHigh0'), offsetOf('ymmHigh0') + 256),
      exception: this.faulted
        ? {
            vector,
            errorCode: errorCode === 0xffffffff ? 0 : errorCode,
            cr2: vector === 14 ? state.get64('faultAddress') : 0n,
          }
        : undefined,
    };
  }
}
