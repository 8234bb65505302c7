/**
 * The yardstick: the guests' sources as programs of this machine, by gcc, and as WebAssembly, by clang. They are built once
 * and kept in the cache directory, under a name that changes with the sources and the compiler.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { defaultCacheDirectory } from '../runtime/hosts/node.ts';
import { buildNative, buildWasm, nativeVariants, whyNoWasm } from './guests/build.ts';
import { type Guest, type GuestVariant, workloads } from './guests/catalogue.ts';
import { guestsDirectory, toolVersion } from './guests/toolchain.ts';

const execute = promisify(execFile);

/** Where builds by `tool` of the present sources are kept. */
function keptDirectory(kind: string, tool: string): string {
  const hash = createHash('sha256').update(tool);
  const sources = globSync('{workloads,runtime}/*.{c,h,S}', { cwd: guestsDirectory }).sort();
  for (const file of [...sources, 'toolchain.ts', 'build.ts', 'catalogue.ts'])
    hash.update(`${file}\0`).update(readFileSync(join(guestsDirectory, file)));
  return join(defaultCacheDirectory(), 'yardstick', `${kind}-${hash.digest('hex').slice(0, 16)}`);
}

/** Builds into a directory beside the one wanted and moves it there, so that what is cut short is never taken for whole. */
async function keep(directory: string, build: (directory: string) => Promise<unknown>): Promise<string> {
  if (existsSync(directory)) return directory;
  const unfinished = `${directory}.${process.pid}`;
  try {
    await build(unfinished);
    await rename(unfinished, directory).catch((error) => {
      if (!existsSync(directory)) throw error; // else another process was faster
    });
  } finally {
    await rm(unfinished, { recursive: true, force: true });
  }
  return directory;
}

/** The native programs of every workload that this machine can build; none where there is no gcc. */
export class Natives {
  readonly variants: readonly GuestVariant[];
  private readonly directory: string | null;

  private constructor(directory: string | null, variants: readonly GuestVariant[]) {
    this.directory = directory;
    this.variants = variants;
  }

  static async prepare(): Promise<Natives> {
    const gcc = await toolVersion('gcc');
    const variants = gcc === null ? [] : await nativeVariants();
    if (gcc === null || variants.length === 0) return new Natives(null, []);
    const kept = keptDirectory('native', `${gcc} ${variants.join(' ')}`);
    return new Natives(await keep(kept, (directory) => buildNative(directory, variants, workloads)), variants);
  }

  /**
   * Seconds of each of several calls in one process; null where there is no such program.
   * @throws if a checksum is wrong
   */
  async calls(guest: string, variant: string, count: number): Promise<number[] | null> {
    if (this.directory === null || !this.variants.some((each) => each === variant)) return null;
    const program = join(this.directory, variant, guest);
    if (!existsSync(program)) return null;
    const { stdout } = await execute(program, new Array<string>(count).fill('1'), { timeout: 60_000 });
    return [...stdout.matchAll(/ nanos=(\d+) /g)].map((match) => Number(match[1]) / 1e9);
  }
}

/** The modules that clang made of the workloads in C. */
export class WasmBuilds {
  private readonly directory: string;

  private constructor(directory: string) {
    this.directory = directory;
  }

  /** The modules, or why there are none. */
  static async prepare(): Promise<WasmBuilds | string> {
    const reason = await whyNoWasm();
    if (reason !== null) return reason;
    const kept = keptDirectory('wasm', `${await toolVersion('clang')} ${await toolVersion('wasm-ld')}`);
    return new WasmBuilds(await keep(kept, (directory) => buildWasm(directory, workloads)));
  }

  /** The module of a guest; null for those in assembly. */
  path(guest: Guest): string | null {
    const path = join(this.directory, `${guest.name}.wasm`);
    return existsSync(path) ? path : null;
  }
}
