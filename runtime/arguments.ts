/** What calls check of their arguments before they look into them. */
import { ConfigurationError } from './errors.ts';

/** A name in a message, in quotes if it is one. */
export const quoted = (value: unknown): string => (typeof value === 'string' ? JSON.stringify(value) : shown(value));

/** A value in a message, whatever it is. */
export function shown(value: unknown): string {
  return typeof value === 'object' && value !== null ? (Array.isArray(value) ? 'a list' : 'an object') : String(value);
}

/** @throws ConfigurationError `bad-option` if it is no object that could have fields */
export function mustBeObject(what: string, value: unknown): void {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new ConfigurationError('bad-option', `${what} ${shown(value)}: not an object`);
}

/** @throws ConfigurationError `bad-option` if it is no list */
export function mustBeList(what: string, value: unknown): void {
  if (!Array.isArray(value)) throw new ConfigurationError('bad-option', `${what} ${shown(value)}: not a list`);
}
