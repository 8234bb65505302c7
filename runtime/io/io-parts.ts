/**
 * What can be attached to a space of the I/O map (io-space.ts), in layers: programs, doorbells, queues of posted writes,
 * devices elsewhere and devices; and a stretch of addresses for which all of them are the same.
 */
import type { DirectAccess } from '../../src/mmu/direct-access.ts';
import { type AccessSize, allOnes, type Device } from '../devices/device.ts';
import type { EventCounter } from './event-counter.ts';
import type { IoSpaceName } from './io-range.ts';
import type { WritesReceiver } from './posted-writes.ts';

/** What {@link IoHandler.read} answers if the access is not for it. */
export const PASSED = -1;

/**
 * Something that answers accesses of a range, or lets them go on to the next layer: a program, a device elsewhere. One without
 * `read64` or `write64` gets an access of eight bytes as two of four, the low half first.
 */
export interface IoHandler {
  /** Stands in error messages: whom a range overlaps. */
  readonly name: string;
  /** For translated code, which asks a program without anybody between them. */
  readonly direct?: DirectAccess | null;
  /** @param address a port or guest-physical address; @returns the value, unsigned, or {@link PASSED} */
  read(address: number, size: AccessSize): number;
  /** @returns whether it took the write */
  write(address: number, size: AccessSize, value: number): boolean;
  /** Eight bytes. @returns bits 0-31, unsigned, with the others in `high`, or {@link PASSED} */
  read64?(address: number): number;
  /** Bits 32-63 of what `read64` has answered, unsigned. */
  readonly high?: number;
  write64?(address: number, low: number, high: number): boolean;
}

/** What is left when nobody inside the machine claims an access; for eight bytes as {@link IoHandler}. */
export interface Unclaimed {
  /** @returns unsigned, of `size` bytes */
  read(space: IoSpaceName, address: number, size: AccessSize): number;
  /** @param value unsigned, of `size` bytes */
  write(space: IoSpaceName, address: number, size: AccessSize, value: number): void;
  read64?(space: IoSpaceName, address: number): number;
  readonly high?: number;
  write64?(space: IoSpaceName, address: number, low: number, high: number): void;
}

/** Reads give all ones, writes are lost: a bus without anybody. */
export const nobody: Unclaimed = { read: (_space, _address, size) => allOnes(size), write: () => {} };

/** Who answers first: from the top to the bottom. */
export type IoLayer = 'program' | 'event' | 'coalesced' | 'remote' | 'device';

export interface Placed {
  readonly name: string;
  readonly start: number;
  /** Behind the last. */
  readonly end: number;
}
export interface PlacedProgram extends Placed {
  readonly layer: 'program';
  readonly handler: IoHandler;
  readonly reads: boolean;
  readonly writes: boolean;
}
export interface PlacedEvent extends Placed {
  readonly layer: 'event';
  /** Bytes of the write; 0 = any. */
  readonly length: number;
  /** The value; -1 = any. Of eight bytes, the low half. */
  readonly match: number;
  readonly matchHigh: number;
  readonly counter: EventCounter;
}
export interface PlacedCoalesced extends Placed {
  readonly layer: 'coalesced';
  /** null: the devices beneath. */
  readonly receiver: WritesReceiver | null;
}
export interface PlacedRemote extends Placed {
  readonly layer: 'remote';
  readonly handler: IoHandler;
}
export interface PlacedDevice extends Placed {
  readonly layer: 'device';
  readonly device: Device;
}
export type PlacedPart = PlacedProgram | PlacedEvent | PlacedCoalesced | PlacedRemote | PlacedDevice;

/** A stretch of addresses for which the layers are the same. */
export interface Segment {
  readonly start: number;
  readonly end: number;
  program: PlacedProgram | null;
  events: PlacedEvent[] | null;
  coalesced: PlacedCoalesced | null;
  remote: PlacedRemote | null;
  device: PlacedDevice | null;
}

/** The part is one of the segment's layers. */
export function put(segment: Segment, part: PlacedPart): void {
  switch (part.layer) {
    case 'program':
      segment.program = part;
      break;
    case 'event':
      segment.events = [...(segment.events ?? []), part];
      break;
    case 'coalesced':
      segment.coalesced = part;
      break;
    case 'remote':
      segment.remote = part;
      break;
    case 'device':
      segment.device = part;
      break;
    default:
      part satisfies never;
  }
}

/** One write could be meant for both. */
export function collide(a: PlacedEvent, b: PlacedEvent): boolean {
  if (a.start !== b.start) return false;
  if (a.length !== 0 && b.length !== 0 && a.length !== b.length) return false;
  return a.match < 0 || b.match < 0 || (a.match === b.match && a.matchHigh === b.matchHigh);
}
