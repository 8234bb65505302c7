/**
 * Files named on the command line, with errors that name them.
 */
import { Jit86Error } from '../errors.ts';
import { readFileIfExists } from '../hosts/node.ts';
import { type LoadedGuest, type LoadOptions, loadGuest } from '../loaders/load.ts';
import type { BootModule } from '../loaders/multiboot.ts';
import type { Machine } from '../machines/machine.ts';
import { UsageError } from './options.ts';

/** @throws UsageError naming the file if it is not there or cannot be read */
export function readNamedFile(path: string): Uint8Array {
  let bytes: Uint8Array | undefined;
  try {
    bytes = readFileIfExists(path);
  } catch (error) {
    throw new UsageError(`${path}: ${error instanceof Error ? error.message : String(error)}`);
  }
  if (bytes === undefined) throw new UsageError(`${path}: no such file`);
  return bytes;
}

/**
 * A module from `--initrd`: `FILE`, or `FILE ARGUMENTS` as one word of the shell. The guest finds the word as it stands;
 * a file whose name has a space wins over the reading as arguments.
 */
export function readModule(word: string): BootModule {
  const space = word.indexOf(' ');
  if (space < 0) return { bytes: readNamedFile(word), string: word };
  const whole = readFileIfExists(word);
  return { bytes: whole ?? readNamedFile(word.slice(0, space)), string: word };
}

/** Loads a file into a machine and puts the processor where the loader says; a refusal names the file. */
export function startGuest(machine: Machine, path: string, file: Uint8Array, options: LoadOptions): LoadedGuest {
  try {
    const guest = loadGuest(file, machine.ram, options);
    machine.start(guest.state);
    return guest;
  } catch (error) {
    if (error instanceof Jit86Error) throw new UsageError(`${path}: ${error.message}`);
    throw error;
  }
}
