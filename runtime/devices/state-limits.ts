/**
 * What the fields of a device's state can be. A snapshot may come from anywhere: what no device of that kind could have come
 * to is refused before any of it is taken, so that nothing has to be proof against a timer of -5 counts.
 */

/** A field: from the least to the greatest value, or which of the numbers that are none it may be besides. */
export type FieldLimit =
  | 'boolean'
  | { readonly least: number; readonly most: number; readonly whole: boolean; readonly or?: number | null }
  | { readonly each: FieldLimit; readonly count: number | 'any' };

/** For each field of `state`, or of each object if it is a list of them. */
export type StateLimits = Readonly<Record<string, FieldLimit>>;

/** 36 years: see VmTime. */
const longestTime = 2 ** 60;

/** A whole number from 0, or `least`, on. */
export const upTo = (most: number, least = 0): FieldLimit => ({ least, most, whole: true });
export const byte: FieldLimit = upTo(0xff);
/** Nanoseconds of the clock. */
export const time: FieldLimit = { least: 0, most: longestTime, whole: false };
/** Or Infinity: it never comes. */
export const timeOrNever: FieldLimit = { ...time, or: Number.POSITIVE_INFINITY };
/** Or NaN: there is none. */
export const orNone = (limit: FieldLimit): FieldLimit =>
  typeof limit === 'object' && 'least' in limit ? { ...limit, or: Number.NaN } : limit;
/** Or null. */
export const orNull = (limit: FieldLimit): FieldLimit =>
  typeof limit === 'object' && 'least' in limit ? { ...limit, or: null } : limit;
/** A list of so many, or of any number. */
export const list = (each: FieldLimit, count: number | 'any'): FieldLimit => ({ each, count });
/** Milliseconds since 1970 that are a date, with some years to go. */
export const date: FieldLimit = { least: -8e15, most: 8e15, whole: false };

function wrongField(limit: FieldLimit, value: unknown, path: string): string | null {
  if (limit === 'boolean') return typeof value === 'boolean' ? null : `${path} is ${String(value)}`;
  if ('each' in limit) {
    if (!Array.isArray(value)) return `${path} is no list`;
    if (limit.count !== 'any' && value.length !== limit.count) return `${path} has ${value.length} entries`;
    for (let i = 0; i < value.length; i++) {
      const wrong = wrongField(limit.each, value[i], `${path}[${i}]`);
      if (wrong !== null) return wrong;
    }
    return null;
  }
  const { least, most, whole, or } = limit;
  if (or !== undefined && Object.is(value, or)) return null;
  if (typeof value === 'number' && value >= least && value <= most && (!whole || Number.isInteger(value))) return null;
  return `${path} cannot be ${String(value)}`;
}

/** @param state of the right shape; @returns what cannot be, or null */
export function beyondLimits(limits: StateLimits, state: object, path: string): string | null {
  if (Array.isArray(state)) {
    for (const [i, item] of state.entries()) {
      if (typeof item !== 'object' || item === null) return `${path}[${i}] is ${String(item)}`;
      const wrong = beyondLimits(limits, item as object, `${path}[${i}]`);
      if (wrong !== null) return wrong;
    }
    return null;
  }
  for (const [name, limit] of Object.entries(limits)) {
    const wrong = wrongField(limit, (state as Record<string, unknown>)[name], `${path}.${name}`);
    if (wrong !== null) return wrong;
  }
  return null;
}
