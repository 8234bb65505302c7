/**
 * Ranges of what a guest can reach that is no RAM: the 64 Ki ports and guest-physical memory. Everything that is attached
 * to the I/O map says where with one of these.
 */
import { mustBeObject, shown } from '../arguments.ts';
import { ConfigurationError } from '../errors.ts';

/** `port`: IN and OUT; `memory`: guest-physical addresses that are neither RAM nor ROM. */
export type IoSpaceName = 'port' | 'memory';

/** A range of ports or of guest-physical addresses. */
export interface IoRange {
  readonly space: IoSpaceName;
  /** The first port or guest-physical address. */
  readonly address: number;
  /** Bytes, at least 1. */
  readonly length: number;
}

/** Something that was attached, and how it is taken away again. */
export interface Attachment extends Disposable {
  /** Takes it away; doing so again does nothing. */
  detach(): void;
}

/** How many ports or addresses a space has. */
export const spaceSize: Readonly<Record<IoSpaceName, number>> = { port: 0x1_0000, memory: 2 ** 52 };

/** `name at 0x3f8-0x3ff (ports)`. */
export function showRange(name: string, { space, address, length }: IoRange): string {
  const last = address + Math.max(length, 1) - 1;
  return `${name} at 0x${address.toString(16)}-0x${last.toString(16)} (${space === 'port' ? 'ports' : 'memory'})`;
}

/**
 * @param least fewest bytes
 * @throws ConfigurationError `bad-region` if there is no such range
 */
export function checkRange(name: string, range: IoRange, least = 1): void {
  mustBeObject(`${name}: range`, range);
  const { space, address, length } = range;
  const limit = Object.hasOwn(spaceSize, space) ? spaceSize[space] : 0;
  if (limit === 0)
    throw new ConfigurationError(
      'bad-region',
      `${name}: there is no space ${String(space)}; there are port and memory`,
    );
  const fits =
    Number.isSafeInteger(address) &&
    Number.isSafeInteger(length) &&
    address >= 0 &&
    length >= least &&
    address + Math.max(length, 1) <= limit;
  if (!fits)
    throw new ConfigurationError(
      'bad-region',
      `${name}: no such region: address ${shown(address)}, length ${shown(length)}`,
    );
}

export function attachment(detach: () => void): Attachment {
  let attached = true;
  const once = () => {
    if (!attached) return;
    attached = false;
    detach();
  };
  return { detach: once, [Symbol.dispose]: once };
}
