/**
 * The one place where an access that is no RAM finds who answers it: ports and guest-physical addresses, in layers. From
 * the top: a program next to the processor; an event counter, for writes that are only a doorbell; a range whose writes
 * are queued; a device in another thread or process; a device of the machine. What nobody claims is the embedder's.
 *
 * A device that is not alone in an access (one that begins in its region and leaves it) gets its bytes one at a time, of
 * eight bytes the halves if it is alone in those. Whoever does not know accesses of eight bytes gets two of four.
 */
import type { AccessLog } from '../../src/mmu/access-log.ts';
import { mustBeObject, shown } from '../arguments.ts';
import type { Device } from '../devices/device.ts';
import { ConfigurationError } from '../errors.ts';
import { EventCounter } from './event-counter.ts';
import { type IoHandler, nobody, type PlacedPart, type Unclaimed } from './io-parts.ts';
import { type Attachment, attachment, checkRange, type IoRange, type IoSpaceName } from './io-range.ts';
import { IoSpace } from './io-space.ts';
import { PostedWrites, type WritesReceiver } from './posted-writes.ts';

/** A doorbell: writes of one width, or one value, at one address. */
export interface DoorbellRange {
  /** Ports, or memory. */
  readonly space: IoSpaceName;
  /** The port or guest-physical address. */
  readonly address: number;
  /** Bytes of the write: 1, 2, 4 or, in memory, 8; 0 = of any width. */
  readonly length: number;
  /** Only writes of this value; unsigned. Left out: any. Takes a `length`. */
  readonly match?: number | bigint;
}

/** Which accesses a program gets. */
export type ProgramAccess = 'read' | 'write' | 'read-write';

const postedCapacity = 1024;

/** -1: it is none. */
function wholeNumber(value: number | bigint): bigint {
  if (typeof value === 'bigint') return value;
  return Number.isSafeInteger(value) ? BigInt(value) : -1n;
}
const halvesOf = (value: bigint) => ({ match: Number(value & 0xffff_ffffn), matchHigh: Number(value >> 32n) });

/** What answers the accesses of a VM that are not to memory: `vm.io`. */
export class IoMap {
  /** Give them to the processors as they are. */
  readonly ports: IoSpace;
  readonly memory: IoSpace;
  readonly #posted = new PostedWrites(postedCapacity);

  /** @param unclaimed gets what nobody inside claims; left out, reads give all ones and writes are lost */
  constructor(unclaimed: Unclaimed = nobody) {
    this.ports = new IoSpace('port', unclaimed, this.#posted);
    this.memory = new IoSpace('memory', unclaimed, this.#posted);
  }

  /** @throws ConfigurationError `bad-region` for a name that is none */
  space(name: IoSpaceName): IoSpace {
    if (name === 'port') return this.ports;
    if (name === 'memory') return this.memory;
    throw new ConfigurationError('bad-region', `there is no space ${String(name)}; there are port and memory`);
  }

  /**
   * Puts a device at a range; its registers' offsets count from there. A device may have several regions.
   * @throws ConfigurationError `region-overlap` naming both devices, `bad-region`; then nothing has changed
   */
  attach(range: IoRange, device: Device): Attachment {
    mustBeObject('device', device);
    for (const part of ['read', 'write'] as const)
      if (typeof device[part] !== 'function')
        throw new ConfigurationError('bad-option', `device ${shown(device.name)} has no ${part}`);
    return this.#add(range, device.name, (place) => ({ ...place, layer: 'device', device }));
  }
  /** Takes every region of the device away; what the guest wrote to it before is delivered first. */
  detach(device: Device): void {
    this.drain();
    this.ports.removeDevice(device);
    this.memory.removeDevice(device);
  }
  /** The devices that are attached, each once, in that order. */
  get devices(): Device[] {
    return [...new Set([...this.ports.devices(), ...this.memory.devices()])];
  }
  /** Whether a device answers at this address. */
  claims(space: IoSpaceName, address: number): boolean {
    return this.space(space).claims(address);
  }

  /**
   * Puts a device of another thread or process over a range: it gets accesses with their addresses before the machine's own
   * devices and may let them go on.
   * @throws ConfigurationError as {@link attach}
   */
  attachRemote(range: IoRange, handler: IoHandler): Attachment {
    return this.#add(range, handler.name, (place) => ({ ...place, layer: 'remote', handler }));
  }

  /**
   * Puts a program over a range, before everything else. It gets the accesses that lie in the range as a whole.
   * @throws ConfigurationError as {@link attach}
   */
  attachProgram(range: IoRange, access: ProgramAccess, handler: IoHandler): Attachment {
    if (access !== 'read' && access !== 'write' && access !== 'read-write')
      throw new ConfigurationError('bad-option', `${handler.name}: no such access: ${String(access)}`);
    const which = { reads: access !== 'write', writes: access !== 'read' };
    return this.#add(range, handler.name, (place) => ({ ...place, ...which, layer: 'program', handler }));
  }

  /**
   * Makes writes at an address count, and do nothing else: the guest does not wait. KVM_IOEVENTFD.
   * @throws ConfigurationError `bad-region`, `bad-option`; `region-overlap` if a write could count twice
   */
  event(range: DoorbellRange, counter: EventCounter): Attachment {
    mustBeObject('event: range', range);
    const { space, address, length, match } = range;
    checkRange('event', { space, address, length }, 0);
    if (![0, 1, 2, 4].includes(length) && !(length === 8 && space === 'memory'))
      throw new ConfigurationError('bad-region', `event at 0x${address.toString(16)}: writes have no ${length} bytes`);
    if (!(counter instanceof EventCounter))
      throw new ConfigurationError('bad-option', `event at 0x${address.toString(16)}: no event counter`);
    const value = match === undefined ? -1n : wholeNumber(match);
    if (match !== undefined && (length === 0 || value < 0n || value >= 1n << BigInt(length * 8)))
      throw new ConfigurationError(
        'bad-option',
        `event at 0x${address.toString(16)}: a write of ${length} bytes cannot be ${match}`,
      );
    const place = { space, address, length: Math.max(length, 1) };
    const matches = value < 0n ? { match: -1, matchHigh: 0 } : halvesOf(value);
    return this.#add(place, 'event', (at) => ({ ...at, layer: 'event', length, ...matches, counter }));
  }

  /**
   * Queues the writes of a range that nobody waits for. They are delivered in the order in which the guest made them before
   * anything else reaches a device or the embedder, when the queue is full, and when the guest is left.
   * @param receiver gets them in batches; left out, the devices at the range do, one by one
   * @throws ConfigurationError as {@link attach}; `bad-option` if nobody would take the writes
   */
  coalesce(range: IoRange, receiver: WritesReceiver | null = null): Attachment {
    checkRange('coalesced range', range);
    if (receiver !== null && typeof receiver !== 'function')
      throw new ConfigurationError('bad-option', 'the receiver of coalesced writes is no function');
    const { address, length } = range;
    if (receiver === null && !this.space(range.space).claimsAll(address, address + length))
      throw new ConfigurationError(
        'bad-option',
        `coalesced range at 0x${address.toString(16)}: without a receiver it takes devices, and not all of it has one`,
      );
    return this.#add(range, 'coalesced range', (place) => ({ ...place, layer: 'coalesced', receiver }));
  }
  /** The accesses of the instruction that is being executed now; a VM sets it when a processor is entered. */
  set log(log: AccessLog) {
    this.ports.log = log;
    this.memory.log = log;
  }
  /** Delivers the writes that are queued. To be called whenever the guest is left. */
  drain(): void {
    this.#posted.drain();
  }
  /** How often queued writes were delivered. */
  get drains(): number {
    return this.#posted.drains;
  }

  #add(
    { space: name, address, length }: IoRange,
    what: string,
    make: (place: { name: string; start: number; end: number }) => PlacedPart,
  ): Attachment {
    checkRange(what, { space: name, address, length });
    const space = this.space(name);
    const part = make({ name: what, start: address, end: address + length });
    this.drain();
    space.add(part);
    return attachment(() => {
      this.drain();
      space.remove(part);
    });
  }
}
