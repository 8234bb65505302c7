/** What helpers do that need nothing of the embedder, over linear memory; the translation has its own of the same kind. */
import type { BpfIntrinsic } from './environment.ts';
import { descriptor, type LinearMemory } from './placement.ts';

/** Linux's error numbers, as map_update_elem gives them. */
export const mapErrors = { exists: -17, tooBig: -7, invalid: -22 } as const;
/** Flags of map_update_elem: any, only new ones, only old ones. */
export const updateFlags = { any: 0, absent: 1, present: 2 } as const;

export const allOnes = (1n << 64n) - 1n;

/** a * b / c with all bits in between; all ones if that needs more than 64 bits, or c is 0. */
export function muldiv64(a: bigint, b: bigint, c: bigint): bigint {
  const result = c === 0n ? allOnes : (a * b) / c;
  return result > allOnes ? allOnes : result;
}

export function runIntrinsic(name: BpfIntrinsic, memory: LinearMemory, values: readonly bigint[]): bigint {
  const [a, b, c, d] = values as [bigint, bigint, bigint, bigint];
  switch (name) {
    case 'muldiv64':
      return muldiv64(a, b, c);
    case 'map-lookup':
      return BigInt(find(memory, Number(a), Number(b)));
    case 'map-update':
      return BigInt.asUintN(64, BigInt(update(memory, Number(a), Number(b), Number(c), d)));
    default:
      return name satisfies never;
  }
}

/** Address of the value, or 0. */
function find(memory: LinearMemory, map: number, key: number): number {
  const view = new DataView(memory.buffer);
  const index = view.getUint32(key, true);
  if (index >= view.getUint32(map + descriptor.entries, true)) return 0;
  return view.getUint32(map + descriptor.values, true) + index * view.getUint32(map + descriptor.stride, true);
}

function update(memory: LinearMemory, map: number, key: number, value: number, flags: bigint): number {
  if (flags > BigInt(updateFlags.present)) return mapErrors.invalid;
  const to = find(memory, map, key);
  if (to === 0) return mapErrors.tooBig;
  if (flags === BigInt(updateFlags.absent)) return mapErrors.exists;
  const size = new DataView(memory.buffer).getUint32(map + descriptor.valueSize, true);
  new Uint8Array(memory.buffer).copyWithin(to, value, value + size);
  return 0;
}
