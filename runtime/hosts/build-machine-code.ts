/** Makes the machine code of the modules that every run needs, for the V8 of this build. Run at build time. */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { machineCodeFile } from './node-machine-code.ts';

/** @param names modules; the code of `x.wasm` becomes `x.code`, and an empty file where this V8 gives none */
export function buildMachineCode(names: readonly string[]): void {
  for (const name of names) {
    const out = name.replace(/\.wasm$/, '.code');
    rmSync(out, { force: true });
    writeFileSync(out, machineCodeFile(new Uint8Array(readFileSync(name))) ?? new Uint8Array());
  }
}
