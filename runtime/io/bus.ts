/**
 * Where devices live: the 64 Ki ports and the guest-physical addresses that are not RAM. The only road from an
 * instruction to a device. Overlap is an error when a device is attached, so a lookup has one answer.
 */
import { type AccessSize, allOnes, type Device } from '../devices/device.ts';
import { ConfigurationError } from '../errors.ts';

interface Region {
  readonly base: number;
  readonly length: number;
  readonly device: Device;
}

const portCount = 0x1_0000;

function show(region: Region): string {
  const last = region.base + region.length - 1;
  return `${region.device.name} at 0x${region.base.toString(16)}-0x${last.toString(16)}`;
}

function checked(base: number, length: number, device: Device, limit: number): Region {
  const region = { base, length, device };
  if (!Number.isSafeInteger(base) || !Number.isSafeInteger(length) || base < 0 || length < 1 || base + length > limit) {
    throw new ConfigurationError('bad-region', `${device.name}: no such region: base ${base}, length ${length}`);
  }
  return region;
}

/** The I/O ports, one table entry each. */
export class PortBus {
  /** For each port one more than its region's number; 0 where nobody is. */
  readonly #owner = new Uint16Array(portCount);
  readonly #regions: (Region | undefined)[] = [];

  /** @throws ConfigurationError `region-overlap` naming both devices, `bad-region` if it does not fit 64 Ki ports */
  attach(base: number, length: number, device: Device): void {
    const region = checked(base, length, device, portCount);
    for (let port = base; port < base + length; port++) {
      const other = this.#regions[this.#owner[port]! - 1];
      if (other) throw new ConfigurationError('region-overlap', `${show(region)} overlaps ${show(other)} (ports)`);
    }
    const free = this.#regions.indexOf(undefined);
    const index = free < 0 ? this.#regions.length : free;
    this.#regions[index] = region;
    this.#owner.fill(index + 1, base, base + length);
  }

  /** Takes every region of the device away; the ports read all ones again. */
  detach(device: Device): void {
    this.#regions.forEach((region, index) => {
      if (region?.device !== device) return;
      this.#owner.fill(0, region.base, region.base + region.length);
      this.#regions[index] = undefined;
    });
  }

  /** Whether a device answers at this port. */
  claims(port: number): boolean {
    return this.#owner[port & 0xffff] !== 0;
  }

  /** IN. A port that nobody claims reads all ones; an access that leaves a region is made byte by byte. */
  read(port: number, size: AccessSize): number {
    const region = this.#regions[this.#owner[port]! - 1];
    if (region !== undefined && port + size <= region.base + region.length) {
      return region.device.read(port - region.base, size);
    }
    if (size === 1) return 0xff;
    let value = 0;
    for (let index = 0; index < size; index++) value += this.read((port + index) & 0xffff, 1) * 2 ** (index * 8);
    return value;
  }

  /** OUT. A write that nobody claims is lost. */
  write(port: number, size: AccessSize, value: number): void {
    const region = this.#regions[this.#owner[port]! - 1];
    if (region !== undefined && port + size <= region.base + region.length) {
      region.device.write(port - region.base, size, value);
    } else if (size > 1) {
      for (let index = 0; index < size; index++) {
        this.write((port + index) & 0xffff, 1, (value >>> (index * 8)) & 0xff);
      }
    }
  }
}

/** Memory-mapped regions, sorted by address; a lookup tries the last hit, then bisects. */
export class MmioBus {
  readonly #regions: Region[] = [];
  #last: Region | undefined;

  /** @throws ConfigurationError `region-overlap` naming both devices, `bad-region` beyond 52 bits */
  attach(base: number, length: number, device: Device): void {
    const region = checked(base, length, device, 2 ** 52);
    const index = this.#after(base);
    for (const other of [this.#regions[index - 1], this.#regions[index]]) {
      if (other !== undefined && base < other.base + other.length && other.base < base + length) {
        throw new ConfigurationError('region-overlap', `${show(region)} overlaps ${show(other)} (memory)`);
      }
    }
    this.#regions.splice(index, 0, region);
    this.#last = undefined;
  }

  /** Takes every region of the device away. */
  detach(device: Device): void {
    for (let index = this.#regions.length - 1; index >= 0; index--) {
      if (this.#regions[index]!.device === device) this.#regions.splice(index, 1);
    }
    this.#last = undefined;
  }

  /** Whether a device answers at this guest-physical address. */
  claims(physical: number): boolean {
    return this.#find(physical) !== undefined;
  }

  /** A load of up to four bytes; all ones where nobody is. Wider loads use {@link readBytes}. */
  read(physical: number, size: AccessSize): number {
    const region = this.#find(physical);
    if (region !== undefined && physical + size <= region.base + region.length) {
      return region.device.read(physical - region.base, size);
    }
    if (size === 1) return allOnes(size);
    let value = 0;
    for (let index = 0; index < size; index++) value += this.read(physical + index, 1) * 2 ** (index * 8);
    return value;
  }

  /** A store of up to four bytes, lost where nobody is. Wider stores use {@link writeBytes}. */
  write(physical: number, size: AccessSize, value: number): void {
    const region = this.#find(physical);
    if (region !== undefined && physical + size <= region.base + region.length) {
      region.device.write(physical - region.base, size, value);
    } else if (size > 1) {
      for (let index = 0; index < size; index++) this.write(physical + index, 1, (value >>> (index * 8)) & 0xff);
    }
  }

  /** A load of any width (8, 16, a piece that straddles a page), in naturally aligned parts of at most four bytes. */
  readBytes(physical: number, into: Uint8Array): void {
    for (let done = 0; done < into.length; ) {
      const size = partSize(physical + done, into.length - done);
      const value = this.read(physical + done, size);
      for (let index = 0; index < size; index++) into[done + index] = (value >>> (index * 8)) & 0xff;
      done += size;
    }
  }

  /** The storing half of {@link readBytes}. */
  writeBytes(physical: number, from: Uint8Array): void {
    for (let done = 0; done < from.length; ) {
      const size = partSize(physical + done, from.length - done);
      let value = 0;
      for (let index = 0; index < size; index++) value += from[done + index]! * 2 ** (index * 8);
      this.write(physical + done, size, value);
      done += size;
    }
  }

  #find(physical: number): Region | undefined {
    const last = this.#last;
    if (last !== undefined && physical >= last.base && physical < last.base + last.length) return last;
    const region = this.#regions[this.#after(physical) - 1];
    if (region === undefined || physical >= region.base + region.length) return undefined;
    this.#last = region;
    return region;
  }

  /** The number of regions that start at or below `physical`. */
  #after(physical: number): number {
    let low = 0;
    let high = this.#regions.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#regions[middle]!.base <= physical) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

function partSize(address: number, left: number): AccessSize {
  if (address % 4 === 0 && left >= 4) return 4;
  if (address % 2 === 0 && left >= 2) return 2;
  return 1;
}
