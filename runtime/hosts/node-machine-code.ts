/**
 * V8's machine code of WebAssembly modules, kept from one process to another. V8 can do that for its embedders (Chromium
 * keeps the code of pages so), and Node has no function for it; the way there is V8's own test functions, which a flag
 * makes callable. So this is for the versions of V8 that it was tried with, and every other one compiles.
 *
 * V8 takes back only what the same version with the same flags for the same processor has written. It does not look at
 * the code itself: callers keep it where no other user can write, and see by a hash that it is whole.
 */
import { readFileSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import type { MachineCode } from '../../jit/machine-code.ts';

const triedWith = /^13\.6\./;
const lengthBytes = 4;

interface Natives {
  readonly isOptimised: (main: WebAssembly.ExportValue) => boolean;
  /** Ends the process if nothing of the module is optimised. */
  readonly serialize: (module: WebAssembly.Module) => ArrayBuffer | undefined;
  readonly deserialize: (code: ArrayBuffer, wasm: Uint8Array) => WebAssembly.Module | undefined;
}

function findNatives(): Natives | null {
  if (!triedWith.test(process.versions.v8)) return null;
  setFlagsFromString('--allow-natives-syntax');
  try {
    // The parentheses have the functions compiled now, while the flag is set.
    const [trapHandler, isOptimised, serialize, deserialize] = new Function(
      `return [
        (function () { return %IsWasmTrapHandlerEnabled(); }),
        (function (main) { return %IsTurboFanFunction(main); }),
        (function (module) { return %SerializeWasmModule(module); }),
        (function (code, wasm) { return %DeserializeWasmModule(code, wasm); }),
      ];`,
    )();
    // Without the handler, code that counts on it would reach outside its memory.
    return trapHandler() === true ? { isOptimised, serialize, deserialize } : null;
  } catch {
    return null; // strings may not become code in this process
  } finally {
    setFlagsFromString('--no-allow-natives-syntax'); // code of other flags would be foreign
  }
}
let natives: Natives | null | undefined;
const find = (): Natives | null => (natives === undefined ? (natives = findNatives()) : natives);
/**
 * Calls one of the functions; null if there are none. V8 drops the code of functions that were not called for long and
 * compiles them again when they are, but then the flag is no longer set: so they are made anew.
 */
function withNatives<T>(use: (natives: Natives) => T): T | null {
  const known = find();
  if (known === null) return null;
  try {
    return use(known);
  } catch (thrown) {
    if (!(thrown instanceof SyntaxError)) throw thrown;
    natives = findNatives();
    return natives === null ? null : use(natives);
  }
}

/** Machine code in this process. */
export const nodeMachineCode: MachineCode = {
  of(module, main) {
    if (withNatives((natives) => natives.isOptimised(main)) !== true) return null;
    return serializeModule(module);
  },
  module(code, wasm) {
    // V8 wants a buffer that holds nothing else.
    const { buffer } = new Uint8Array(code);
    return withNatives((natives) => natives.deserialize(buffer, wasm)) ?? null;
  },
};

/** What V8 has optimised of a module, of which that must be something; null: this V8 does not hand it out. */
export function serializeModule(module: WebAssembly.Module): Uint8Array | null {
  const code = withNatives((natives) => natives.serialize(module)) ?? undefined;
  return code === undefined ? null : new Uint8Array(code);
}

/**
 * A file of machine code with the module that it was made from, so that the two cannot be mixed up; null: there is none
 * with this V8.
 *
 * @param wasm a module that this process has not compiled: V8 would find it and leave it as it is
 */
export function machineCodeFile(wasm: Uint8Array<ArrayBuffer>): Uint8Array | null {
  if (find() === null) return null;
  const flags = ['liftoff', 'wasm-lazy-compilation'];
  for (const flag of flags) setFlagsFromString(`--no-${flag}`);
  let module: WebAssembly.Module;
  try {
    module = new WebAssembly.Module(wasm); // by the optimising compiler, all of it
  } finally {
    for (const flag of flags) setFlagsFromString(`--${flag}`);
  }
  const code = serializeModule(module);
  if (code === null) return null;
  const file = new Uint8Array(lengthBytes + code.length + wasm.length);
  new DataView(file.buffer).setUint32(0, code.length, true);
  file.set(code, lengthBytes);
  file.set(wasm, lengthBytes + code.length);
  return file;
}

/** The module of a {@link machineCodeFile}; null if there is no such file, or it is another module's or another V8's. */
export function readMachineCodeFile(path: URL, wasm: Uint8Array): WebAssembly.Module | null {
  let file: Buffer;
  try {
    file = readFileSync(path);
  } catch {
    return null; // the build's V8 had none
  }
  if (file.length < lengthBytes) return null;
  const end = lengthBytes + new DataView(file.buffer, file.byteOffset).getUint32(0, true);
  if (end > file.length || !file.subarray(end).equals(wasm)) return null;
  return nodeMachineCode.module(file.subarray(lengthBytes, end), wasm);
}
