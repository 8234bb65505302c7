/**
 * The yardstick: the guests' sources as programs of this machine, by gcc, and as WebAssembly, by clang. They are built once
 * and kept in the cache directory, under a name that changes with the sources and the compiler.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
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

/** Builds into a directory of its own and moves the result to its place: what is cut short is never taken for whole. */
async function keep(path: string, build: (directory: string) => Promise<string>): Promise<string> {
  if (existsSync(path)) return path;
  await mkdir(dirname(path), { recursive: true });
  const workplace = await mkdtemp(`${path}.`);
  try {
    await rename(await build(workplace), path).catch((error) => {
      if (!existsSync(path)) throw error; // else another process was faster
    });
  } finally {
    await rm(workplace, { recursive: true, force: true });
  }
  return path;
}

/** The workloads as programs of this machine, each built when it is first asked for. */
export class Natives {
  /** Where gcc builds programs that run here: none without gcc, no 32-bit ones without its multilib. */
  readonly variants: readonly GuestVariant[];
  private readonly directory: string;

  private constructor(directory: string, variants: readonly GuestVariant[]) {
    this.directory = directory;
    this.variants = variants;
  }

  static async prepare(): Promise<Natives> {
    const gcc = await toolVersion('gcc');
    return new Natives(keptDirectory('native', gcc ?? ''), gcc === null ? [] : await nativeVariants());
  }

  /**
   * The times of several calls in one process, in seconds; null where there is no such program.
   * @throws if a checksum is wrong
   */
  async calls(
    name: string,
    variantName: string,
    count: number,
  ): Promise<{ seconds: number; cpuSeconds: number }[] | null> {
    const variant = this.variants.find((each) => each === variantName);
    const guest = workloads.find((each) => each.name === name);
    if (variant === undefined || guest === undefined) return null;
    const program = await keep(join(this.directory, variant, name), async (directory) => {
      const [built] = await buildNative(directory, [variant], [guest]);
      return built!;
    });
    const { stdout } = await execute(program, new Array<string>(count).fill('1'), { timeout: 60_000 });
    return [...stdout.matchAll(/ nanos=(\d+) cpu=(\d+) /g)].map(([, nanos, cpu]) => ({
      seconds: Number(nanos) / 1e9,
      cpuSeconds: Number(cpu) / 1e9,
    }));
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
    const build = async (directory: string) => {
      const modules = join(directory, 'modules');
      await buildWasm(modules, workloads);
      return modules;
    };
    return new WasmBuilds(await keep(kept, build));
  }

  /** The module of a guest; null for those in assembly. */
  path(guest: Guest): string | null {
    const path = join(this.directory, `${guest.name}.wasm`);
    return existsSync(path) ? path : null;
  }
}
