/**
 * Arguments of a command, checked strictly: whatever is wrong ends in one line that names it, and exit status 2.
 * A command describes its options in one table, from which its help is written too.
 */
import { parseArgs } from 'node:util';

/** The user has asked for something that cannot be; the message is one line. */
export class UsageError extends Error {}

export interface OptionSpec {
  /** What stands for the value in the help; an option without it is a flag. */
  readonly value?: string;
  /** May be given more than once. */
  readonly multiple?: true;
  readonly help: string;
}

export interface CommandSpec {
  readonly name: string;
  /** What follows the name in the help's first line: `GUEST`, `[GUEST...]`. */
  readonly operands: string;
  readonly minOperands: number;
  readonly maxOperands: number;
  readonly summary: string;
  readonly options: Readonly<Record<string, OptionSpec>>;
}

/** What was on the command line, by the names of the table. */
export class ParsedArguments {
  readonly operands: readonly string[];
  readonly #flags: ReadonlySet<string>;
  readonly #values: ReadonlyMap<string, readonly string[]>;

  constructor(operands: readonly string[], flags: ReadonlySet<string>, values: ReadonlyMap<string, readonly string[]>) {
    this.operands = operands;
    this.#flags = flags;
    this.#values = values;
  }

  flag(name: string): boolean {
    return this.#flags.has(name);
  }

  /** The value as it was given; undefined if the option was not. */
  text(name: string): string | undefined {
    return this.#values.get(name)?.[0];
  }

  /** All values of an option that may be repeated. */
  texts(name: string): readonly string[] {
    return this.#values.get(name) ?? [];
  }

  /** One of a few words. */
  choice<T extends string>(name: string, choices: readonly T[], fallback: T): T {
    const text = this.text(name);
    if (text === undefined) return fallback;
    const found = choices.find((choice) => choice === text);
    if (found === undefined) throw new UsageError(`--${name} ${text}: it must be one of ${choices.join(', ')}`);
    return found;
  }

  /** A whole number in decimal or, after 0x, in hexadecimal. */
  integer(name: string, least: number, most = Number.MAX_SAFE_INTEGER): number | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    const value = /^(?:\d+|0[xX][0-9a-fA-F]+)$/.test(text) ? Number(text) : Number.NaN;
    if (!Number.isSafeInteger(value)) throw new UsageError(`--${name} ${text}: not a whole number`);
    if (value < least) throw new UsageError(`--${name} ${text}: the least is ${least}`);
    if (value > most) throw new UsageError(`--${name} ${text}: the most is ${most}`);
    return value;
  }

  /** A number of bytes with an optional K, M or G. */
  size(name: string, least: number, fallback: number): number {
    const text = this.text(name);
    if (text === undefined) return fallback;
    const match = /^(\d+)([KMG]?)$/i.exec(text);
    if (match === null) throw new UsageError(`--${name} ${text}: not a size such as 256M`);
    const unit = { '': 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30 }[match[2]!.toLowerCase()]!;
    const value = Number(match[1]) * unit;
    if (!Number.isSafeInteger(value) || value % 4096 !== 0) {
      throw new UsageError(`--${name} ${text}: not a multiple of 4096 bytes`);
    }
    if (value < least) throw new UsageError(`--${name} ${text}: the least is ${least / 2 ** 20}M`);
    return value;
  }

  /** A time in seconds, greater than zero. */
  seconds(name: string): number | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    const value = /^\d+(?:\.\d+)?$/.test(text) ? Number(text) : Number.NaN;
    // Timers of the host hold 31 bits of milliseconds.
    if (!(value > 0 && value <= 2_000_000)) throw new UsageError(`--${name} ${text}: not a time in seconds`);
    return value;
  }
}

/**
 * Takes the arguments of a command apart.
 *
 * @throws UsageError for an option that the table does not have, a missing or superfluous value, an option given twice,
 * too few or too many operands
 */
export function parseCommand(spec: CommandSpec, args: readonly string[]): ParsedArguments {
  const { tokens } = parseArgs({
    args: [...args],
    options: Object.fromEntries(
      Object.entries(spec.options).map(([name, option]) => [
        name,
        { type: option.value === undefined ? ('boolean' as const) : ('string' as const), multiple: true },
      ]),
    ),
    allowPositionals: true,
    strict: false, // its messages span sentences; the checks below make one line each
    tokens: true,
  });
  const operands: string[] = [];
  const flags = new Set<string>();
  const values = new Map<string, string[]>();
  for (const token of tokens) {
    if (token.kind === 'positional') operands.push(token.value);
    if (token.kind !== 'option') continue;
    const option = Object.hasOwn(spec.options, token.name) ? spec.options[token.name] : undefined;
    if (option === undefined || !token.rawName.startsWith('--')) {
      throw new UsageError(`unknown option ${token.rawName} (see jit86 ${spec.name} --help)`);
    }
    if (option.value === undefined) {
      if (token.value !== undefined) throw new UsageError(`${token.rawName}=${token.value}: the option takes no value`);
      if (flags.has(token.name)) throw new UsageError(`${token.rawName} is given twice`);
      flags.add(token.name);
      continue;
    }
    if (token.value === undefined || (!token.inlineValue && /^-\D/.test(token.value))) {
      throw new UsageError(`${token.rawName} needs a value: ${token.rawName} ${option.value}`);
    }
    const list = values.get(token.name);
    if (list === undefined) values.set(token.name, [token.value]);
    else if (option.multiple) list.push(token.value);
    else throw new UsageError(`${token.rawName} is given twice: ${list[0]} and ${token.value}`);
  }
  // Whoever asks for help need not know the operands.
  if (!flags.has('help')) {
    if (operands.length < spec.minOperands)
      throw new UsageError(`jit86 ${spec.name} needs a ${spec.operands.split(' ')[0]}`);
    if (operands.length > spec.maxOperands) throw new UsageError(`unexpected argument ${operands[spec.maxOperands]}`);
  }
  return new ParsedArguments(operands, flags, values);
}

/** The help of a command, from its table. */
export function commandHelp(spec: CommandSpec): string {
  const rows = Object.entries(spec.options).map(([name, option]) => ({
    left: `--${name}${option.value === undefined ? '' : ` ${option.value}`}`,
    help: option.help,
  }));
  const width = Math.max(...rows.map(({ left }) => left.length));
  const lines = rows.map(({ left, help }) => `  ${left.padEnd(width)}  ${help}`);
  return `jit86 ${spec.name} ${spec.operands} [options]\n\n${spec.summary}\n\n${lines.join('\n')}\n`;
}
