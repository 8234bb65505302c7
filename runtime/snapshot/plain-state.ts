/**
 * Plain state as text and back: what devices, interrupts and clocks keep, which JSON alone does not carry (numbers that are
 * none, typed arrays), and its way into an object that lives on.
 */
import { SnapshotError } from '../errors.ts';

const typedArrays = { Uint8Array, Uint16Array, Uint32Array, Int32Array, Float64Array } as const;
type TypedName = keyof typeof typedArrays;
type Typed = InstanceType<(typeof typedArrays)[TypedName]>;

const typedName = (value: unknown): TypedName | null => {
  const name = Object.prototype.toString.call(value).slice(8, -1);
  return Object.hasOwn(typedArrays, name) ? (name as TypedName) : null;
};

/** @throws SnapshotError `bad-device-state` for what is not plain: a function, a symbol */
export function encodePlain(what: string, value: unknown): string {
  return JSON.stringify(value, (_key, item: unknown) => {
    if (typeof item === 'number' && !Number.isFinite(item)) return { $number: String(item) };
    if (typeof item === 'bigint') return { $bigint: item.toString(16) };
    if (typeof item === 'function' || typeof item === 'symbol')
      throw new SnapshotError('bad-device-state', `${what}: its state holds a ${typeof item}`);
    const name = typedName(item);
    return name === null ? item : { $typed: name, values: Array.from(item as Typed) };
  });
}

/** @throws SnapshotError `bad-chunk` if it is no text of {@link encodePlain} */
export function decodePlain(what: string, text: string): unknown {
  try {
    return JSON.parse(text, (_key, item: unknown) => {
      if (typeof item !== 'object' || item === null) return item;
      if ('$number' in item) return Number(item.$number);
      if ('$bigint' in item) return BigInt(`0x${String(item.$bigint)}`);
      if ('$typed' in item && 'values' in item)
        return typedArrays[item.$typed as TypedName].from(item.values as number[]);
      return item;
    });
  } catch (error) {
    throw new SnapshotError('bad-chunk', `${what}: ${(error as Error).message}`);
  }
}

/**
 * Why state cannot take the place of other state, or null: it must have the same fields, of the same kinds. Lists may have
 * other lengths.
 */
export function misfit(live: unknown, saved: unknown, path: string): string | null {
  if (typeof live !== 'object' || live === null || typeof saved !== 'object' || saved === null)
    return typeof live === typeof saved || live === null || saved === null ? null : `${path} is a ${typeof saved}`;
  const [a, b] = [typedName(live), typedName(saved)];
  if (a !== b) return `${path} is a ${b ?? 'plain object'}`;
  if (a !== null) return (live as Typed).length === (saved as Typed).length ? null : `${path} has another length`;
  if (Array.isArray(live) !== Array.isArray(saved)) return `${path} is ${Array.isArray(saved) ? 'a' : 'no'} list`;
  if (Array.isArray(live)) {
    for (const [i, item] of (saved as unknown[]).entries()) {
      const found = i < live.length ? misfit(live[i], item, `${path}[${i}]`) : null;
      if (found !== null) return found;
    }
    return null;
  }
  for (const key of new Set([...Object.keys(live), ...Object.keys(saved)])) {
    if (!(key in saved)) return `${path}.${key} is missing`;
    if (!(key in live)) return `${path}.${key} is unknown`;
    const found = misfit(
      (live as Record<string, unknown>)[key],
      (saved as Record<string, unknown>)[key],
      `${path}.${key}`,
    );
    if (found !== null) return found;
  }
  return null;
}

/** Puts saved state into an object that lives on, field by field; {@link misfit} has found nothing. */
export function putPlain(live: object, saved: object): void {
  if (typedName(live) !== null) return (live as Typed).set(saved as Uint8Array);
  if (Array.isArray(live)) live.length = Math.min(live.length, (saved as unknown[]).length);
  for (const [key, item] of Object.entries(saved)) {
    const old = (live as Record<string, unknown>)[key];
    const lives = typeof old === 'object' && old !== null && typeof item === 'object' && item !== null;
    if (lives) putPlain(old, item as object);
    else (live as Record<string, unknown>)[key] = item;
  }
}
