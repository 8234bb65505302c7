/**
 * Has the engine compile translations on the compiler's thread. Engines leave a function to its first call and share
 * what they make of a module between threads, so each region is called here once, in surroundings that are good for
 * nothing: in a memory of zeros, with no budget, it leaves as soon as it looks at either.
 */
import { cpuBytes, offsetOf } from '../src/state/layout.ts';
import type { TranslationMode } from './compiler-protocol.ts';
import { coreMemory } from './core-memory.ts';
import { Emitter } from './emitter.ts';
import { importFunctions } from './translate.ts';

const wasmPage = 65536;

/** A module that exports what regions import: functions that do nothing. */
class Stubs extends Emitter {
  override importFunction(...[name, , parameters, result]: Parameters<Emitter['importFunction']>): void {
    const body = () => {
      if (result !== null) this.return(this.op(`${result}.const`, result === 'i64' ? 0n : 0));
    };
    this.addFunction(name, parameters, result, body, true);
  }
  override offerFunction(...declared: Parameters<Emitter['importFunction']>): void {
    this.importFunction(...declared);
  }
  override offerGlobal(...[name, , type, mutable]: Parameters<Emitter['importGlobal']>): void {
    this.exportGlobal(name, type, mutable);
  }
}

/** Surroundings for the translations of one way. */
interface Surroundings {
  readonly imports: WebAssembly.Imports;
  readonly budget: Int32Array;
  readonly cpu: number;
}

export class DryRuns {
  private readonly made = new Map<string, Surroundings>();

  /** Calls a module's region. It is none of the guest's business whether that comes to a good end. */
  run(module: WebAssembly.Module, mode: TranslationMode): void {
    const key = `${mode.shared} ${mode.cpu}`;
    let around = this.made.get(key);
    if (around === undefined) this.made.set(key, (around = surroundings(mode)));
    const instance = new WebAssembly.Instance(module, around.imports);
    around.budget[0] = -1;
    try {
      (instance.exports.region as (cpu: number, depth: number) => bigint)(around.cpu, 0);
    } catch (error) {
      if (!(error instanceof WebAssembly.RuntimeError)) throw error;
    }
  }
}

function surroundings({ shared, cpu = 0 }: TranslationMode): Surroundings {
  const stubs = new Stubs();
  importFunctions(stubs);
  const nothing = new WebAssembly.Instance(new WebAssembly.Module(stubs.binary() as BufferSource)).exports;
  stubs.dispose();
  const memory = new WebAssembly.Memory({ ...coreMemory, initial: Math.ceil((cpu + cpuBytes) / wasmPage), shared });
  const table = new WebAssembly.Table({ element: 'anyfunc', initial: 1 });
  const imports = { env: { memory, table }, core: { ...nothing }, arith: { ...nothing } } as WebAssembly.Imports;
  return { imports, budget: new Int32Array(memory.buffer, cpu + offsetOf('budget'), 1), cpu };
}
