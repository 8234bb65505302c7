/**
 * Binaryen's module in Node. V8 looks at a function's body only when the function is first called: to look at all 10 MB
 * takes a good part of the loading, and they are the build's own. V8 is to optimise it late, since that takes a processor
 * for hundreds of milliseconds, just when the guest's first regions should be optimised. Where the build's V8 has kept
 * what it had optimised in a trial, that is there from the first call on.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { nodeMachineCode, serializeModule } from './node-machine-code.ts';

/** The end of the module, which is a hash of it, stands before the code that belongs to it. */
const nameLength = 16;
const V8s = ['--no-wasm-lazy-validation', '--wasm-tiering-budget=13000000', '--no-wasm-sync-tier-up'];

function compile(wasm: BufferSource, ...flags: string[]): WebAssembly.Module {
  for (const flag of ['--wasm-lazy-compilation', '--wasm-lazy-validation', ...flags]) setFlagsFromString(flag);
  return new WebAssembly.Module(wasm);
}
const reset = () => V8s.forEach((flag) => setFlagsFromString(flag));

/** @param path of a module that this process trusts, which ends with its name */
export function readLateModule(path: string): WebAssembly.Module {
  const wasm = readFileSync(path);
  try {
    const file = readFileSync(path.replace(/\.wasm$/, '.code'));
    const isOf = file.subarray(0, nameLength).equals(wasm.subarray(-nameLength));
    const module = isOf ? nodeMachineCode.module(file.subarray(nameLength), wasm) : null;
    if (module !== null) return module;
  } catch {
    // there is no such file
  }
  try {
    return compile(wasm, '--wasm-tiering-budget=2000000000');
  } finally {
    reset();
  }
}

/**
 * Has V8 optimise early what is called of a module that {@link readLateModule} reads after this.
 * @returns ends that, and keeps the code beside the module if this V8 hands it out
 */
export function tryModule(path: string): () => void {
  const wasm = readFileSync(path);
  // V8 finds it again when somebody compiles the same bytes.
  const module = compile(wasm, '--wasm-tiering-budget=30000', '--wasm-sync-tier-up');
  return () => {
    reset();
    const code = serializeModule(module);
    if (code === null) return;
    writeFileSync(path.replace(/\.wasm$/, '.code'), Buffer.concat([wasm.subarray(-nameLength), code]));
  };
}
