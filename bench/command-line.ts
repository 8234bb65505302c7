/**
 * How the benchmarks begin: what their command lines choose, and the line that says what is wrong with them.
 */
import { UsageError } from '../runtime/cli/options.ts';

/**
 * The items that a list of names with commas between them chooses, in the order of `all`; all of them without a list.
 * @throws UsageError that names what is no item's name
 */
export function picked<Item>(
  option: string,
  text: string | undefined,
  all: readonly Item[],
  name: (item: Item) => string,
): readonly Item[] {
  if (text === undefined) return all;
  const wanted = text.split(',');
  const unknown = wanted.find((word) => !all.some((item) => name(item) === word));
  if (unknown !== undefined) throw new UsageError(`--${option} ${unknown}: not one of ${all.map(name).join(', ')}`);
  return all.filter((item) => wanted.includes(name(item)));
}

/** A whole number from 1 on. @throws UsageError that names what is none */
export function counted(option: string, text: string, most = 9999): number {
  const count = /^\d{1,15}$/.test(text) ? Number(text) : 0;
  if (count < 1 || count > most) throw new UsageError(`--${option} ${text}: not a number from 1 to ${most}`);
  return count;
}

/** Runs a benchmark, whose answer is the process's exit status; 2 where the command line is wrong. */
export async function begin(name: string, main: (args: readonly string[]) => Promise<number>): Promise<void> {
  try {
    process.exitCode = await main(process.argv.slice(2));
  } catch (error) {
    const isUsage = error instanceof UsageError || /^ERR_PARSE_ARGS/.test((error as NodeJS.ErrnoException).code ?? '');
    if (!isUsage) throw error;
    console.error(`${name}: ${(error as Error).message}`);
    process.exitCode = 2;
  }
}
