/**
 * A device server's state, as machines ask for it and put it back: vfio-user's migration, by DEVICE_FEATURE (which states the
 * device can be in, and which it shall be in) and MIG_DATA_READ and MIG_DATA_WRITE. A state is taken as a whole when the
 * device is stopped for copying, and put into it as a whole when it has been resumed with one.
 */
import type { Device } from '../devices/device.ts';
import { SnapshotError } from '../errors.ts';
import { decodePlain, encodePlain, misfit, putPlain } from '../snapshot/plain-state.ts';
import * as wire from './messages.ts';

/** What of a server can be saved. */
export interface SavedServer {
  /** @throws what is wrong with it */
  save(): Uint8Array;
  /** Takes all of it or, if it throws, nothing. */
  load(bytes: Uint8Array): void;
}

/** Largest state that a machine may send. */
const mostBytes = 1 << 28;
const none = new Uint8Array(0);

/** The `state` of each device, by region, and the levels of the lines; null if some device does not say what its state is. */
export function savedDevices(
  regions: readonly { readonly device: Device }[],
  levels: Uint8Array,
  lineChanged: (line: number, high: boolean) => void,
): SavedServer | null {
  const devices = [...new Set(regions.map(({ device }) => device))];
  if (!devices.every(({ state }) => state !== undefined)) return null;
  const live = () => ({ devices: devices.map(({ name, state }) => ({ name, state })), levels });
  return {
    save: () => new TextEncoder().encode(encodePlain('devices', live())),
    load(bytes) {
      const saved = decodePlain('devices', new TextDecoder().decode(bytes)) as ReturnType<typeof live>;
      const wrong = misfit(live(), saved, 'devices');
      if (wrong !== null || saved.devices.some(({ name }, i) => name !== devices[i]!.name))
        throw new SnapshotError('bad-device-state', wrong ?? 'these are other devices');
      for (const [i, { state }] of saved.devices.entries()) putPlain(devices[i]!.state!, state!);
      for (const device of devices) device.restored?.();
      for (const [line, level] of saved.levels.entries()) if (levels[line] !== level) lineChanged(line, level !== 0);
    },
  };
}

export class ServedState {
  private readonly saved: SavedServer;
  private readonly isBusy: () => boolean;
  private state: number = wire.DeviceState.RUNNING;
  /** What is being read or written, and how far it has come. */
  private data: Uint8Array = none;
  private at = 0;

  /** @param isBusy something is under way that its state does not show: it cannot be stopped now */
  constructor(saved: SavedServer, isBusy: () => boolean) {
    this.saved = saved;
    this.isBusy = isBusy;
  }

  /** A machine has come or gone: what it had begun is over. */
  forget(): void {
    this.state = wire.DeviceState.RUNNING;
    this.data = none;
    this.at = 0;
  }
  /** DEVICE_FEATURE: a reply, or an error number. */
  feature({ flags, data }: wire.Feature): Uint8Array | number {
    const { Errno } = wire;
    const feature = flags & wire.FEATURE_MASK;
    const isSet = (flags & wire.FEATURE_SET) !== 0;
    if (feature === wire.FEATURE_MIGRATION) {
      if (isSet) return Errno.EINVAL;
      const reply = new Uint8Array(8);
      reply[0] = wire.MIGRATION_STOP_COPY;
      return wire.encodeFeature(flags, reply);
    }
    if (feature !== wire.FEATURE_DEVICE_STATE) return Errno.EOPNOTSUPP;
    if ((flags & wire.FEATURE_PROBE) !== 0) return wire.encodeFeature(flags, none);
    if (!isSet) return wire.encodeFeature(flags, wire.encodeDeviceState(this.state));
    if (data.length !== 8) return Errno.EINVAL;
    const failed = this.enter(wire.decodeDeviceState(data));
    return failed === 0 ? wire.encodeFeature(flags, wire.encodeDeviceState(this.state)) : failed;
  }
  private enter(next: number): number {
    const { DeviceState, Errno } = wire;
    if (next !== DeviceState.STOP && next !== DeviceState.RUNNING)
      if (next !== DeviceState.STOP_COPY && next !== DeviceState.RESUMING) return Errno.EINVAL;
    if (this.state === DeviceState.RUNNING && next !== DeviceState.RUNNING && this.isBusy()) return Errno.EBUSY;
    const [received, left] = [this.data.subarray(0, this.at), this.state];
    this.forget();
    if (left === DeviceState.RESUMING) this.saved.load(received);
    if (next === DeviceState.STOP_COPY) this.data = this.saved.save();
    this.state = next;
    return 0;
  }
  /** MIG_DATA_READ: the next bytes of the state, none when it is at its end. */
  read(size: number): Uint8Array | number {
    if (this.state !== wire.DeviceState.STOP_COPY) return wire.Errno.EINVAL;
    const part = this.data.subarray(this.at, this.at + size);
    this.at += part.length;
    return wire.encodeMigrationData(part);
  }
  /** MIG_DATA_WRITE. */
  write(part: Uint8Array): Uint8Array | number {
    if (this.state !== wire.DeviceState.RESUMING || this.at + part.length > mostBytes) return wire.Errno.EINVAL;
    if (this.at + part.length > this.data.length) {
      const larger = new Uint8Array(Math.max(2 * this.data.length, this.at + part.length));
      larger.set(this.data);
      this.data = larger;
    }
    this.data.set(part, this.at);
    this.at += part.length;
    return none;
  }
}
