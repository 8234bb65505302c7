/** The generated modules as the tests use them: the core module and the arithmetic library, from the build's output. */
import { readFileSync } from 'node:fs';

export interface Modules {
  readonly core: WebAssembly.Module;
  readonly arithmetic: WebAssembly.Exports;
}

let modules: Modules | undefined;

export function loadModules(): Modules {
  const file = (name: string) => readFileSync(new URL(`../../dist/${name}`, import.meta.url));
  modules ??= {
    core: new WebAssembly.Module(file('core.wasm')),
    arithmetic: new WebAssembly.Instance(new WebAssembly.Module(file('softfloat.wasm'))).exports,
  };
  return modules;
}
