/**
 * The options that describe a machine, shared by the commands that make one.
 */
import { defaultCacheDirectory, ensureDirectory } from '../hosts/node.ts';
import type { FlatBinaryOptions } from '../loaders/flat-binary.ts';
import type { InitialMode } from '../loaders/initial-state.ts';
import { cpuModelNames, engines, type MachineOptions, x87Modes } from '../machines/machine.ts';
import { type OptionSpec, type ParsedArguments, UsageError } from './options.ts';

export const machineOptions = {
  memory: { value: 'SIZE', help: 'RAM, with K, M or G (256M)' },
  cpus: { value: 'N', help: 'processors; those after the first wait for a start-up message (1)' },
  cpu: { value: 'MODEL', help: `processor: ${cpuModelNames.join(', ')} (max)` },
  x87: { value: 'exact|fast', help: 'x87 arithmetic: 80 bits, or plain doubles (exact)' },
  cache: { value: 'DIR', help: 'folder of the translation cache ($XDG_CACHE_HOME/jit86 or ~/.cache/jit86)' },
  'no-cache': { help: 'keep no translations' },
} as const satisfies Record<string, OptionSpec>;

export const engineOption = {
  engine: { value: 'auto|interpreter|jit', help: 'how to execute (auto)' },
} as const satisfies Record<string, OptionSpec>;

export const imageOptions = {
  append: { value: 'STRING', help: 'command line of a kernel' },
  initrd: {
    value: 'FILE',
    multiple: true,
    help: 'initial RAM disk, or module of a multiboot kernel as "FILE ARGS"; repeatable',
  },
  flat: { value: 'ADDRESS', help: 'load the file as it is at this address, and enter it there' },
  mode: { value: 'real|protected|long', help: 'the mode in which a --flat file is entered (real)' },
  help: { help: 'print this' },
} as const satisfies Record<string, OptionSpec>;

const mebibyte = 2 ** 20;

/** Everything about the machine but its engine and where its output goes. */
export function readMachineOptions(
  args: ParsedArguments,
  defaultMemory = 256 * mebibyte,
): Pick<MachineOptions, 'memory' | 'cpus' | 'cpu' | 'x87' | 'cache'> {
  const cache = args.text('cache');
  if (cache !== undefined && args.flag('no-cache')) {
    throw new UsageError(`--cache ${cache} and --no-cache exclude each other`);
  }
  if (cache === '') throw new UsageError('--cache: the folder has no name');
  if (cache !== undefined) {
    try {
      ensureDirectory(cache);
    } catch (error) {
      throw new UsageError(`--cache ${cache}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  return {
    memory: args.size('memory', mebibyte, defaultMemory),
    cpus: args.integer('cpus', 1, 255) ?? 1,
    cpu: args.choice('cpu', cpuModelNames, 'max'),
    x87: args.choice('x87', x87Modes, 'exact'),
    cache: args.flag('no-cache') ? null : (cache ?? defaultCacheDirectory()),
  };
}

export function readEngine(args: ParsedArguments): MachineOptions['engine'] {
  return args.choice('engine', engines, 'auto');
}

/** `--flat` and `--mode`, if the file is to be taken as it is. */
export function readFlatOptions(args: ParsedArguments): { flat?: FlatBinaryOptions } {
  const address = args.integer('flat', 0);
  const mode = args.choice<InitialMode>('mode', ['real', 'protected', 'long'], 'real');
  if (address !== undefined) return { flat: { address, mode } };
  if (args.text('mode') !== undefined) throw new UsageError(`--mode ${mode} is for a file loaded with --flat`);
  return {};
}
