/** Builds `core.wasm` (private memory) and `core-shared.wasm` (shared memory) into a directory. Run at build time. */
import { writeFileSync } from 'node:fs';
import { buildCore as build } from './core.ts';
import { coreMemory } from './core-memory.ts';

export function buildCore(outFile: string): void {
  writeFileSync(outFile, build({ ...coreMemory, shared: false }));
  writeFileSync(outFile.replace(/\.wasm$/, '-shared.wasm'), build({ ...coreMemory, shared: true }));
}
