/**
 * Builds the guests.
 *
 *   node bench/guests/build.ts               the ELFs in `built/`, which are part of the repository
 *   node bench/guests/build.ts --check       builds them elsewhere and compares; status 1 where they differ
 *   node bench/guests/build.ts --native DIR  Linux executables of the same sources: DIR/<variant>/<name>
 *   node bench/guests/build.ts --wasm DIR    wasm32 modules of the same sources: DIR/<name>.wasm
 *
 * An ELF is the workload, the runtime and a page-table-building start, loaded as multiboot 1; see `runtime/layout.h`. The
 * x86_64 ones wear the ELF32 header that multiboot loaders, QEMU's among them, ask for. A native executable takes scales
 * as its arguments and prints the time of each call; a wasm module exports `workload(scale)` and its memory.
 */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { catalogue, type Guest, type GuestVariant, guestVariants, workloads } from './catalogue.ts';
import {
  commonOptions,
  guestsDirectory,
  identityOptions,
  machineOptions,
  memoryOptions,
  runAll,
  runTool,
  toolVersion,
  withTemporaryDirectory,
} from './toolchain.ts';

/** Where the guests of the repository lie. */
export const builtDirectory: string = join(guestsDirectory, 'built');

/** What `built/BUILD.json` records: the tools that made the guests, and each guest's size in bytes. */
export interface BuildRecord {
  readonly gcc: string;
  readonly ld: string;
  readonly bytes: Readonly<Record<string, number>>;
}

/** What {@link checkGuests} found. */
export interface CheckResult {
  /** Guests, as `<variant>/<name>.elf`, whose rebuilt bytes are not the repository's. */
  readonly differing: readonly string[];
  /** The tools recorded in `BUILD.json`, where they are not this machine's; then differences are to be expected. */
  readonly recordedTools: string | null;
}

/** The built ELF of a guest, relative to {@link builtDirectory}. */
export function elfName(guest: Guest, variant: GuestVariant): string {
  return `${variant}/${guest.name}.elf`;
}

const linkOptions = ['-nostdlib', '-static', '-no-pie', '-Wl,--build-id=none', '-Wl,-n', '-Wl,-z,noexecstack'];

async function tools(): Promise<{ gcc: string; ld: string }> {
  const [gcc, ld] = await Promise.all([toolVersion('gcc'), toolVersion('ld')]);
  if (gcc === null || ld === null) throw new Error('building guests needs gcc and ld');
  return { gcc, ld };
}

/** Compiles what the guests of one variant share; returns the objects and the linker script. */
async function buildRuntime(variant: GuestVariant, directory: string): Promise<{ objects: string[]; script: string }> {
  const options = [...machineOptions[variant], ...commonOptions];
  const start = variant === 'x86_64' ? 'start-x86-64.S' : 'start-i386.S';
  const redZone = variant === 'x86_64' ? ['-mno-red-zone'] : [];
  const parts: [string, readonly string[]][] = [
    [start, []],
    ['console.c', redZone],
    ['memory.c', [...redZone, ...memoryOptions]],
  ];
  const objects: string[] = [];
  for (const [file, more] of parts) {
    const object = join(directory, `${file}.o`);
    await runTool('gcc', [...options, ...more, '-c', `runtime/${file}`, '-o', object]);
    objects.push(object);
  }
  const script = join(directory, 'guest.ld');
  await runTool('gcc', ['-E', '-P', '-x', 'c', 'runtime/guest.ld.h', '-o', script]);
  return { objects, script };
}

async function buildGuest(
  guest: Guest,
  variant: GuestVariant,
  runtime: { objects: string[]; script: string },
  directory: string,
  output: string,
): Promise<void> {
  const options = [...machineOptions[variant], ...commonOptions, ...identityOptions(guest, variant)];
  // The linker script knows the workload by the end of its name.
  const objects = [join(directory, `${guest.name}-workload.o`)];
  await runTool('gcc', [...options, '-c', `workloads/${guest.file}`, '-o', objects[0]!]);
  if (guest.checksum !== null) {
    objects.push(join(directory, `${guest.name}-main.o`));
    const redZone = variant === 'x86_64' ? ['-mno-red-zone'] : [];
    await runTool('gcc', [...options, ...redZone, '-c', 'runtime/main.c', '-o', objects[1]!]);
  }
  const linked = join(directory, `${guest.name}.linked`);
  await runTool('gcc', [
    machineOptions[variant][0]!,
    ...linkOptions,
    `-Wl,-T,${runtime.script}`,
    ...runtime.objects,
    ...objects,
    '-o',
    linked,
  ]);
  const format = variant === 'x86_64' ? ['-O', 'elf32-i386'] : [];
  await runTool('objcopy', [...format, '--strip-all', linked, output]);
}

/** Builds every guest into `directory` (as `<variant>/<name>.elf`) and returns each one's bytes by that name. */
export async function buildGuests(directory: string): Promise<Map<string, Buffer>> {
  return await withTemporaryDirectory(async (temporary) => {
    const tasks: (() => Promise<[string, Buffer]>)[] = [];
    for (const variant of guestVariants) {
      const objects = join(temporary, variant);
      await mkdir(objects, { recursive: true });
      await mkdir(join(directory, variant), { recursive: true });
      const runtime = await buildRuntime(variant, objects);
      for (const guest of catalogue.filter(({ variants }) => variants.includes(variant))) {
        tasks.push(async () => {
          const name = elfName(guest, variant);
          const output = resolve(directory, name);
          await buildGuest(guest, variant, runtime, objects, output);
          return [name, await readFile(output)];
        });
      }
    }
    return new Map(await runAll(tasks));
  });
}

/** Builds every guest elsewhere and compares it with the repository's. */
export async function checkGuests(): Promise<CheckResult> {
  const current = await tools();
  const record = JSON.parse(await readFile(join(builtDirectory, 'BUILD.json'), 'utf8')) as BuildRecord;
  const sameTools = record.gcc === current.gcc && record.ld === current.ld;
  return await withTemporaryDirectory(async (directory) => {
    const differing: string[] = [];
    for (const [name, bytes] of await buildGuests(directory)) {
      const kept = await readFile(join(builtDirectory, name)).catch(() => null);
      if (kept === null || !bytes.equals(kept)) differing.push(name);
    }
    return { differing, recordedTools: sameTools ? null : `${record.gcc}; ${record.ld}` };
  });
}

/** The variants that this machine can build natively: the 32-bit ones need gcc's multilib and a 32-bit libc. */
export async function nativeVariants(): Promise<GuestVariant[]> {
  return await withTemporaryDirectory(async (directory) => {
    const source = join(directory, 'probe.c');
    await writeFile(source, '#include <stdio.h>\nint main(void) { return puts("probe") < 0; }\n');
    const builds = async (variant: GuestVariant) => {
      try {
        await runTool('gcc', [...machineOptions[variant], source, '-o', join(directory, 'probe')]);
        await runTool(join(directory, 'probe'), []);
        return true;
      } catch {
        return false;
      }
    };
    const can: GuestVariant[] = [];
    for (const variant of guestVariants) if (await builds(variant)) can.push(variant);
    return can;
  });
}

/**
 * Builds workloads as Linux executables, `<directory>/<variant>/<name>`.
 *
 * Each takes scales as arguments and prints a line per scale, `<name> scale=N nanos=N cpu=N checksum=0xN ok`; its status is not
 * 0 where a checksum is wrong. The sources, options and memory functions are the guests'; only start and output differ.
 */
export async function buildNative(
  directory: string,
  variants: readonly GuestVariant[] = guestVariants,
  guests: readonly Guest[] = workloads,
): Promise<string[]> {
  return await withTemporaryDirectory(async (temporary) => {
    const tasks: (() => Promise<string>)[] = [];
    for (const variant of variants) {
      await mkdir(join(directory, variant), { recursive: true });
      const options = [...machineOptions[variant], ...commonOptions];
      const memory = join(temporary, `${variant}-memory.o`);
      await runTool('gcc', [...options, ...memoryOptions, '-c', 'runtime/memory.c', '-o', memory]);
      for (const guest of guests.filter((each) => each.checksum !== null && each.variants.includes(variant))) {
        tasks.push(async () => {
          const output = resolve(directory, variant, guest.name);
          const sources = [`workloads/${guest.file}`, 'runtime/native.c', memory];
          await runTool('gcc', [...options, ...identityOptions(guest, variant), '-no-pie', ...sources, '-o', output]);
          return output;
        });
      }
    }
    return await runAll(tasks);
  });
}

/** Whether clang and its linker can make wasm32 modules here; if not, why. */
export async function whyNoWasm(): Promise<string | null> {
  const [clang, linker] = await Promise.all([toolVersion('clang'), toolVersion('wasm-ld')]);
  if (clang === null) return 'there is no clang';
  if (linker === null) return 'there is no wasm-ld';
  const targets = await runTool('clang', ['--print-targets']);
  return /\bwasm32\b/.test(targets) ? null : 'this clang has no wasm32 target';
}

/**
 * Builds the C workloads as `<directory>/<name>.wasm`, which import nothing and export `workload` and `memory`.
 * Those in assembly have no such build.
 */
export async function buildWasm(directory: string, guests: readonly Guest[] = workloads): Promise<string[]> {
  await mkdir(directory, { recursive: true });
  const options = [
    ...['--target=wasm32', '-std=gnu11', '-O2', '-Wall', '-Wextra', '-Werror', '-Iruntime'],
    ...['-ffreestanding', '-fno-math-errno', '-nostdlib', '-Wl,--no-entry', '-Wl,--export=workload', '-Wl,--strip-all'],
    ...['-Wl,-z,stack-size=1048576'],
  ];
  return await withTemporaryDirectory(async (temporary) => {
    const memory = join(temporary, 'memory.o');
    await runTool('clang', [...options.slice(0, 9), '-fno-builtin', '-c', 'runtime/memory.c', '-o', memory]);
    const portable = guests.filter(({ checksum, file }) => checksum !== null && file.endsWith('.c'));
    return await runAll(
      portable.map((guest) => async () => {
        const output = resolve(directory, `${guest.name}.wasm`);
        await runTool('clang', [...options, `workloads/${guest.file}`, memory, '-o', output]);
        return output;
      }),
    );
  });
}

async function main(args: readonly string[]): Promise<number> {
  const [mode, directory] = args;
  if (mode === undefined) {
    const bytes: Record<string, number> = {};
    for (const [name, content] of await buildGuests(builtDirectory)) bytes[name] = content.length;
    const record: BuildRecord = { ...(await tools()), bytes };
    await writeFile(join(builtDirectory, 'BUILD.json'), `${JSON.stringify(record, null, 2)}\n`);
    const sizes = Object.values(bytes);
    console.log(`${sizes.length} guests, ${Math.max(...sizes)} bytes at most`);
    return 0;
  }
  if (mode === '--check' && args.length === 1) {
    const { differing, recordedTools } = await checkGuests();
    if (recordedTools !== null) console.log(`the guests were built by other tools: ${recordedTools}`);
    for (const name of differing) console.log(`${name} differs`);
    if (differing.length === 0) console.log('every guest is what its sources give');
    return differing.length > 0 && recordedTools === null ? 1 : 0;
  }
  if (mode === '--native' && directory !== undefined) {
    const variants = await nativeVariants();
    for (const variant of guestVariants) {
      if (!variants.includes(variant)) console.log(`skipping ${variant}: gcc cannot build and run it here`);
    }
    console.log(`${(await buildNative(directory, variants)).length} executables`);
    return 0;
  }
  if (mode === '--wasm' && directory !== undefined) {
    const reason = await whyNoWasm();
    if (reason === null) console.log(`${(await buildWasm(directory)).length} modules`);
    else console.log(`skipping the wasm builds: ${reason}`);
    return 0;
  }
  console.error('usage: build.ts [--check | --native DIR | --wasm DIR]');
  return 2;
}

if (import.meta.main) process.exitCode = await main(process.argv.slice(2));
