/*
 * Compiles the floating point library in assembly/ to its wasm module. Runs when the package is built; nothing of it is
 * there at run time.
 */
import { mkdirSync } from 'node:fs';
import { dirname, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import asc from 'assemblyscript/asc';

/** Builds the module to `outFile`; throws the compiler's messages if it does not accept a source. */
export async function buildSoftfloat(outFile: string): Promise<void> {
  const root = fileURLToPath(new URL('../..', import.meta.url));
  mkdirSync(dirname(outFile), { recursive: true });
  const { error, stderr } = await asc.main([
    fileURLToPath(new URL('assembly/index.ts', import.meta.url)).slice(root.length),
    '--baseDir',
    root,
    '--outFile',
    relative(root, outFile),
    '-O3',
    '--converge',
    '--enable',
    'simd',
    '--runtime',
    'stub',
    '--noAssert',
    '--noExportMemory',
    '--use',
    'abort=',
  ]);
  if (error) throw new Error(`softfloat does not compile: ${stderr.toString() || error.message}`);
}
