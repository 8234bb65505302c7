/**
 * The command line's table of contents: finds the command, turns its errors into one line and its result into the
 * process's exit status. Each command is a file of its own, loaded only when it is asked for.
 */

import { Jit86Error } from '../errors.ts';
import type { Host } from '../hosts/host.ts';
import { nodeHost, packageVersion } from '../hosts/node.ts';
import { prepareMachine } from '../machines/machine-parts.ts';
import { UsageError } from './options.ts';
import { internalErrorStatus, type Output } from './output.ts';

export { nodeHost };

const help = `jit86: a full-system x86 emulator with a WebAssembly JIT

  jit86 run GUEST        run a Linux or multiboot kernel, ELF or boot sector
  jit86 bench [GUEST...] run guests interpreted and translated, and print their speed
  jit86 disasm GUEST     print blocks with their micro-ops and their WebAssembly
  jit86 diff GUEST       run a guest, or --random programs, interpreted and translated, and compare

  jit86 COMMAND --help   the options of a command
  jit86 --version
`;

/** Exit status for whatever is wrong with the command line, a file or a guest image. */
const usageStatus = 2;
type Command = (args: readonly string[], output: Output) => Promise<number>;

const commands: Readonly<Record<string, () => Promise<Command>>> = {
  run: async () => (await import('./run.ts')).run,
  bench: async () => (await import('./bench.ts')).bench,
  disasm: async () => (await import('./disasm.ts')).disasm,
  diff: async () => (await import('./diff.ts')).diff,
};

/** Runs a command line and answers the exit status; throws nothing. */
export async function execute(args: readonly string[], output: Output): Promise<number> {
  const [name, ...rest] = args;
  try {
    if (name === '--help' || name === '-h' || name === 'help') {
      output.out(help);
      return 0;
    }
    if (name === '--version') {
      output.out(`jit86 ${packageVersion()}\n`);
      return 0;
    }
    if (name === undefined) throw new UsageError('no command given (see jit86 --help)');
    const load = Object.hasOwn(commands, name) ? commands[name] : undefined;
    if (load === undefined)
      throw new UsageError(`unknown ${name.startsWith('-') ? 'option' : 'command'} ${name} (see jit86 --help)`);
    const command = await load();
    return await command(rest, output);
  } catch (error) {
    if (error instanceof UsageError || error instanceof Jit86Error) {
      output.error(`jit86: ${error.message}\n`);
      return usageStatus;
    }
    output.error(`${error instanceof Error ? error.stack : String(error)}\n`);
    return internalErrorStatus;
  }
}

/**
 * Runs a command line with the process's own output and answers its exit status, when the output is written.
 *
 * @param host what machines run on
 */
export async function perform(args: readonly string[], host: Host = nodeHost): Promise<number> {
  const used = new Set<NodeJS.WritableStream>();
  const write = (stream: NodeJS.WritableStream, text: string): void => {
    used.add(stream);
    stream.write(text);
  };
  const status = await execute(args, {
    out: (text) => write(process.stdout, text),
    error: (text) => write(process.stderr, text),
    createMachine: async (options) => {
      // The parts take shape on other threads while the machine's code is loaded.
      const prepared = prepareMachine(options, host);
      if (options.machine === 'pc') {
        const [parts, { createPcMachine }] = await Promise.all([prepared, import('../machines/pc-machine.ts')]);
        return createPcMachine(options, host, parts);
      }
      const [parts, { createMachine }] = await Promise.all([prepared, import('../machines/bare-machine.ts')]);
      return createMachine(options, host, parts);
    },
  });
  await Promise.all([...used].map(written));
  return status;
}

/** Waits until a stream has taken what was written to it. */
const written = (stream: NodeJS.WritableStream): Promise<void> =>
  new Promise((done) => void stream.write('', () => done()));

/** The entry of `main.ts`, from which the process does not come back. */
export async function main(args: readonly string[]): Promise<void> {
  // A reader that has seen enough (`jit86 … | head`) closes the pipe; that is its right, and no error of ours.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
    process.exit(0);
  });
  // A module that V8 compiles in the background does not count for Node: it would end while a command waits for nothing else.
  setInterval(() => {}, 2 ** 30);
  // Everything is where it belongs. To come to an end by itself would have V8 take apart what a run has put together.
  process.exit(await perform(args));
}
