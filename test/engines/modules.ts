/** The generated modules as the tests use them: the core module and the arithmetic library, from the build's output. */
import { readFileSync } from 'node:fs';
import type { VmModules } from '../../runtime/vm/options.ts';

export interface Modules {
  readonly core: WebAssembly.Module;
  readonly arithmetic: WebAssembly.Exports;
}

let modules: VmModules | undefined;

/** For whole virtual machines. */
export function vmModules(): VmModules {
  const file = (name: string) => new WebAssembly.Module(readFileSync(new URL(`../../dist/${name}`, import.meta.url)));
  modules ??= { core: file('core.wasm'), arithmetic: file('softfloat.wasm') };
  return modules;
}

/** With the library's functions, for tests of single functions. */
export function loadModules(): Modules {
  const { core, arithmetic } = vmModules();
  return { core, arithmetic: new WebAssembly.Instance(arithmetic).exports };
}
