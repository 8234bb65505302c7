/** What `vcpu.enter()` was given, checked, with every limit in its place. */
import { ConfigurationError } from '../errors.ts';
import type { EnterOptions } from './exits.ts';

export interface EntryLimits {
  readonly instructions: number;
  readonly blocks: number;
  readonly deadline: number;
  readonly interruptWindow: boolean;
}

const unlimited: EntryLimits = {
  instructions: Number.POSITIVE_INFINITY,
  blocks: Number.POSITIVE_INFINITY,
  deadline: Number.POSITIVE_INFINITY,
  interruptWindow: false,
};

function count(name: string, value: unknown): number {
  if (value === undefined || value === Number.POSITIVE_INFINITY) return Number.POSITIVE_INFINITY;
  if (!Number.isSafeInteger(value) || (value as number) < 0)
    throw new ConfigurationError('bad-option', `${name} of ${String(value)}: not a number of them`);
  return value as number;
}

/** The limits of a run that only a number of instructions ends: one object, since the number is taken at once. */
const counted: { -readonly [Name in keyof EntryLimits]: EntryLimits[Name] } = { ...unlimited };

/** @throws ConfigurationError `bad-option` naming the value */
export function entryLimits(options: EnterOptions | number): EntryLimits {
  if (typeof options === 'number') {
    counted.instructions = count('maxInstructions', options);
    return counted;
  }
  const { maxInstructions, maxBlocks, deadline = Number.POSITIVE_INFINITY, interruptWindow = false } = options;
  if (typeof deadline !== 'number' || Number.isNaN(deadline))
    throw new ConfigurationError('bad-option', `deadline of ${String(deadline)}: not a time`);
  if (typeof interruptWindow !== 'boolean')
    throw new ConfigurationError('bad-option', `interruptWindow of ${String(interruptWindow)}: not a boolean`);
  return {
    instructions: count('maxInstructions', maxInstructions),
    blocks: count('maxBlocks', maxBlocks),
    deadline,
    interruptWindow,
  };
}
