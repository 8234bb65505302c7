/** C to BPF objects by clang, where there is one. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const targets = spawnSync('clang', ['--print-targets'], { encoding: 'utf8' });
/** A reason to skip, or false. */
export const withoutClang =
  targets.status === 0 && targets.stdout.includes('bpfel') ? false : 'clang has no BPF target here';

export const programPath = (name: string): string => fileURLToPath(new URL(`programs/${name}`, import.meta.url));

/**
 * @param header becomes `device.h`
 * @param options for clang, before its own
 */
export function compile(source: string, header: string, ...options: string[]): Uint8Array {
  const folder = mkdtempSync(join(tmpdir(), 'bpf-'));
  try {
    writeFileSync(join(folder, 'device.h'), header);
    const input = source.includes('\n') ? join(folder, 'source.c') : programPath(source);
    if (source.includes('\n')) writeFileSync(input, source);
    const output = join(folder, 'a.o');
    const fixed = [
      '-target',
      'bpf',
      '-O2',
      '-Wall',
      '-Werror',
      '-Wno-unused-const-variable',
      '-I',
      folder,
      '-c',
      input,
      '-o',
      output,
    ];
    execFileSync('clang', [...options, ...fixed], { stdio: 'pipe' });
    return readFileSync(output);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const linker = spawnSync('wasm-ld', ['--version'], { encoding: 'utf8' });
/** A reason to skip what needs modules out of C, or false. */
export const withoutWasmClang =
  targets.status === 0 && targets.stdout.includes('wasm32') && linker.status === 0
    ? false
    : 'clang cannot make WebAssembly here';

/**
 * The same sources as WebAssembly modules that import their memory.
 * @param header becomes `device.h`
 */
export function compileWasm(source: string, header: string, ...options: string[]): Uint8Array {
  const folder = mkdtempSync(join(tmpdir(), 'wasm-'));
  try {
    writeFileSync(join(folder, 'device.h'), header);
    const input = source.includes('\n') ? join(folder, 'source.c') : programPath(source);
    if (source.includes('\n')) writeFileSync(input, source);
    const output = join(folder, 'a.wasm');
    const fixed = ['--target=wasm32', '-O2', '-Wall', '-nostdlib', '-Wl,--no-entry,--import-memory,-z,stack-size=4096'];
    execFileSync('clang', [...fixed, ...options, '-I', folder, input, '-o', output], { stdio: 'pipe' });
    return readFileSync(output);
  } finally {
    rmSync(folder, { recursive: true });
  }
}
