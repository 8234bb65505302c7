/**
 * What the core module and the TypeScript around it must agree on, as one hash: the build writes it into `core.wasm`, and
 * whoever makes a VM compares. A core of other sources would find records, fields and cache entries where there are none,
 * and its guests would hang without a word.
 *
 * It covers tables, not code: a lowering that has changed makes another core, which goes on to fit.
 */
import { timeSources } from '../src/execute/budget-time.ts';
import { blockEntriesOffset, blockHeaderBytes, blockNext, blockPlace } from '../src/execute/encode.ts';
import { fusions } from '../src/execute/fusions.ts';
import { jumpIndexOf } from '../src/execute/jump-cache.ts';
import * as leaves from '../src/execute/leave.ts';
import { recordKinds } from '../src/execute/records.ts';
import * as flags from '../src/ir/flags.ts';
import { indexOf } from '../src/mmu/look-aside.ts';
import * as layout from '../src/state/layout.ts';
import { directPort } from '../src/system/direct-port.ts';
import { hashBytes, toHex } from './hash.ts';

/** The custom section of `core.wasm` that holds the hash, in hexadecimal digits. */
export const agreementSection = 'jit86.agreement';

/** Each of these low halves of addresses has a place of its own in the look-aside tables and in the jump cache. */
const addresses = [0x0000_1000, 0x1234_5678, 0x8765_4321, 0xffff_f000];

/** A module's constants in an order that no bundler changes. */
const constantsOf = (module: object): object =>
  Object.entries(module)
    .filter(([, value]) => typeof value !== 'function')
    .map(([name, value]) => [name, typeof value === 'bigint' ? `${value}n` : value] as const)
    .sort(([a], [b]) => (a < b ? -1 : 1));

function compute(): string {
  // Short, since cold code hashes it.
  const fields = Array.from(layout.layout.values(), ({ name, type, offset }) => `${name} ${type} ${offset}`);
  const kinds = recordKinds.map(
    ({ key, operands, result, immediates, bytes }) =>
      `${key} ${operands.join('')} ${result ?? ''} ${bytes} ${immediates.join('')}`,
  );
  const agreed = {
    layout: constantsOf({ ...layout, layout: fields }),
    leaves: constantsOf(leaves),
    flags: constantsOf(flags),
    kinds,
    fusions,
    blocks: { blockEntriesOffset, blockHeaderBytes, blockPlace, blockNext },
    places: addresses.map((low) => [indexOf(low), jumpIndexOf(low)]),
    timeSources,
    directPort,
  };
  return toHex(hashBytes(new TextEncoder().encode(JSON.stringify(agreed))));
}
let known: string | undefined;

/** The hash that a core must have to work with this code. */
export function agreement(): string {
  return (known ??= compute());
}

/** The hash that a core was built with; null: it has none. */
export function agreementOf(core: WebAssembly.Module): string | null {
  const [section] = WebAssembly.Module.customSections(core, agreementSection);
  return section === undefined ? null : new TextDecoder().decode(section);
}
