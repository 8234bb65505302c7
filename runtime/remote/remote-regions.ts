/**
 * Where a machine's remote devices lie in its ports and memory. Where the thread may block, an access of theirs is made
 * within the instruction, as if the device were here. Where it may not, it leaves the guest as an exit `pio` or `mmio`, and
 * {@link RemoteRegions.finish} answers it; `vm.run()` does so by itself, and an embedder that enters vCPUs does:
 *
 *     const exit = vcpu.enter();
 *     const answer = vm.remote.finish(exit);
 *     if (answer !== null) await answer; // enter again
 */
import type { StateElsewhere } from '../devices/device.ts';
import { ConfigurationError } from '../errors.ts';
import type { IoMap } from '../io/io-map.ts';
import { type IoHandler, PASSED } from '../io/io-parts.ts';
import { type Attachment, type IoRange, showRange } from '../io/io-range.ts';
import type { Exit } from '../vm/exits.ts';
import type { RemoteRegion, RemoteWrite } from './remote-device.ts';

interface Place {
  readonly range: IoRange;
  readonly region: RemoteRegion;
}

/** The regions of devices elsewhere that a VM has: `vm.remote`. */
export class RemoteRegions {
  readonly #io: IoMap;
  #places: Place[] = [];
  /** Called within an instruction after an access that this thread has waited for. */
  onWait: () => void = () => {};

  constructor(io: IoMap) {
    this.#io = io;
  }

  /**
   * Puts a region of a remote device at a range; its registers' offsets count from there.
   * @throws ConfigurationError `region-overlap`, `bad-region`; then nothing has changed
   */
  attach(range: IoRange, region: RemoteRegion): Attachment {
    const place: Place = { range, region };
    const attachment = this.#io.attachRemote(
      range,
      handlerOf(place, () => this.onWait()),
    );
    this.#places.push(place);
    const detach = () => {
      attachment.detach();
      this.#places = this.#places.filter((other) => other !== place);
    };
    return { ...attachment, detach, [Symbol.dispose]: detach };
  }

  /**
   * Queues the writes of a part of an attached range and sends them together, before anything else reaches a device: see
   * `IoMap.coalesce`.
   * @throws ConfigurationError `bad-region` if no remote device has all of the range, `region-overlap`
   */
  coalesce(range: IoRange): Attachment {
    const place = this.#places.find(
      ({ range: { space, address, length } }) =>
        space === range.space && range.address >= address && range.address + range.length <= address + length,
    );
    if (place === undefined)
      throw new ConfigurationError('bad-region', `${showRange('coalesced range', range)}: no device`);
    const { region } = place;
    return this.#io.coalesce(range, (batch) => {
      const writes: RemoteWrite[] = [];
      for (let i = 0; i < batch.length; i++)
        writes.push({
          offset: batch.address(i) - place.range.address,
          size: batch.size(i),
          value: batch.value(i),
          high: batch.high(i),
        });
      region.writeMany(writes);
    });
  }

  /** Answers an access that has left the guest; null if the exit is none of a remote device. The promise never rejects. */
  finish(exit: Exit): Promise<void> | null {
    if (exit.kind !== 'pio' && exit.kind !== 'mmio') return null;
    const address = exit.kind === 'pio' ? exit.port : exit.physical;
    const space = exit.kind === 'pio' ? 'port' : 'memory';
    const place = this.#places.find(
      ({ range }) => range.space === space && address >= range.address && address < range.address + range.length,
    );
    if (place === undefined) return null;
    const { region } = place;
    const offset = address - place.range.address;
    if (exit.kind === 'pio') return finishPio(exit, region, offset);
    return finishMmio(exit, region, offset);
  }

  /** Where the devices' states are; several regions of a device have one. */
  get elsewhere(): readonly StateElsewhere[] {
    return this.#places.flatMap(({ region: { elsewhere } }) => (elsewhere === undefined ? [] : [elsewhere]));
  }

  /** Takes what the devices have sent, without waiting: between two runs of the guest. */
  poll(): void {
    for (const { region } of this.#places) region.poll();
  }
}

function handlerOf({ range, region }: Place, waited: () => void): IoHandler {
  let high = 0;
  return {
    name: region.name,
    read(address, size) {
      if (!region.blocks) return PASSED;
      const value = region.read(address - range.address, size);
      waited();
      return value;
    },
    write(address, size, value) {
      if (region.lags && !region.blocks) return false;
      region.write(address - range.address, size, value);
      return true;
    },
    read64(address) {
      if (!region.blocks) return PASSED;
      const value = region.read64(address - range.address);
      waited();
      high = Number(value >> 32n);
      return Number(value & 0xffff_ffffn);
    },
    get high() {
      return high;
    },
    write64(address, low, top) {
      if (region.lags && !region.blocks) return false;
      region.write64(address - range.address, wide(low, top));
      return true;
    },
  };
}
const wide = (low: number, high: number): bigint => (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);

async function finishPio(exit: Extract<Exit, { kind: 'pio' }>, region: RemoteRegion, offset: number): Promise<void> {
  if (exit.write) await region.startWrite(offset, exit.size, exit.value);
  else exit.value = await region.startRead(offset, exit.size);
}

async function finishMmio(exit: Extract<Exit, { kind: 'mmio' }>, region: RemoteRegion, offset: number): Promise<void> {
  const { size, write, low, high } = exit;
  if (size !== 8) {
    if (write) await region.startWrite(offset, size, low);
    else exit.low = await region.startRead(offset, size);
  } else if (write) await region.startWrite64(offset, wide(low, high));
  else {
    const value = await region.startRead64(offset);
    exit.low = Number(value & 0xffff_ffffn);
    exit.high = Number(value >> 32n);
  }
}
