/**
 * The state of a device that is somewhere else, as the machine's snapshots want it: the client's side of vfio-user's
 * migration. Where this thread may wait for the device, its state is fetched and put back within `vm.snapshot()` and
 * `vm.restore()`; where it may not, `vm.save()` and `vm.load()` do so around them.
 */

import type { StateElsewhere } from '../devices/device.ts';
import { RemoteError, SnapshotError } from '../errors.ts';
import { joined } from '../joined.ts';
import * as wire from './messages.ts';

/** The device's connection. */
export interface StatePeer {
  readonly name: string;
  readonly blocks: boolean;
  readonly timeoutMillis: number;
  /** Bytes of one message's data. */
  readonly transferBytes: number;
  /** @throws RemoteError */
  request(command: number, payload: Uint8Array): Promise<Uint8Array>;
  requestBlocking(command: number, payload: Uint8Array): Uint8Array;
}

interface Question {
  readonly command: number;
  readonly payload: Uint8Array;
}
/** Questions to the device and their answers; what it refuses is thrown into it. */
type Talk<Result> = Generator<Question, Result, Uint8Array>;

function* setState(state: number): Talk<void> {
  const flags = wire.FEATURE_SET | wire.FEATURE_DEVICE_STATE;
  const payload = wire.encodeFeature(flags, wire.encodeDeviceState(state));
  yield { command: wire.Command.DEVICE_FEATURE, payload };
}

function* saving(transferBytes: number): Talk<Uint8Array> {
  const probe = wire.encodeFeature(wire.FEATURE_GET | wire.FEATURE_MIGRATION, new Uint8Array(8));
  const { data } = wire.decodeFeature(yield { command: wire.Command.DEVICE_FEATURE, payload: probe });
  if (data.length !== 8 || (data[0]! & wire.MIGRATION_STOP_COPY) === 0)
    throw new RemoteError('peer-refused', 'it cannot be stopped and copied', wire.Errno.EOPNOTSUPP);
  yield* setState(wire.DeviceState.STOP_COPY);
  const parts: Uint8Array[] = [];
  for (;;) {
    const answer = yield {
      command: wire.Command.MIG_DATA_READ,
      payload: wire.encodeMigrationData(new Uint8Array(0), transferBytes),
    };
    const part = wire.decodeMigrationData(answer);
    if (part.length === 0) break;
    parts.push(part);
  }
  yield* setState(wire.DeviceState.RUNNING);
  return joined(parts);
}

function* loading(bytes: Uint8Array, transferBytes: number): Talk<void> {
  yield* setState(wire.DeviceState.RESUMING);
  for (let at = 0; at < bytes.length; at += transferBytes)
    yield {
      command: wire.Command.MIG_DATA_WRITE,
      payload: wire.encodeMigrationData(bytes.subarray(at, at + transferBytes)),
    };
  yield* setState(wire.DeviceState.RUNNING);
}

const isBusy = (error: unknown): boolean => error instanceof RemoteError && error.errno === wire.Errno.EBUSY;
/** Milliseconds until a device that is busy is asked again. */
const pauseMillis = 2;

export class RemoteState implements StateElsewhere {
  private readonly peer: StatePeer;
  private fetched: Uint8Array | null = null;
  private isSent = false;

  constructor(peer: StatePeer) {
    this.peer = peer;
  }
  get name(): string {
    return this.peer.name;
  }

  take(): Uint8Array {
    if (this.fetched !== null) return this.fetched;
    this.mustBlock('vm.save()');
    return this.wait(() => saving(this.peer.transferBytes), 'remote-state');
  }
  put(bytes: Uint8Array): void {
    if (this.isSent) return;
    this.mustBlock('vm.load()');
    this.wait(() => loading(bytes, this.peer.transferBytes), 'bad-device-state');
  }
  async obtain(): Promise<Uint8Array> {
    this.fetched = await this.ask(() => saving(this.peer.transferBytes), 'remote-state');
    return this.fetched;
  }
  async send(bytes: Uint8Array): Promise<void> {
    await this.ask(() => loading(bytes, this.peer.transferBytes), 'bad-device-state');
    this.isSent = true;
  }
  forget(): void {
    this.fetched = null;
    this.isSent = false;
  }

  private mustBlock(instead: string): void {
    if (this.peer.blocks) return;
    const why = `device ${this.name} is elsewhere, and this thread may not wait for it: ${instead} does`;
    throw new SnapshotError('remote-state', why);
  }
  private wait<Result>(talk: () => Talk<Result>, code: 'remote-state' | 'bad-device-state'): Result {
    const until = performance.now() + this.peer.timeoutMillis;
    for (;;)
      try {
        const steps = talk();
        let step = steps.next();
        while (step.done !== true) step = steps.next(this.peer.requestBlocking(step.value.command, step.value.payload));
        return step.value;
      } catch (error) {
        if (!isBusy(error) || performance.now() > until) throw this.failure(error, code);
        for (const end = performance.now() + pauseMillis; performance.now() < end; ); // the device has its own thread
      }
  }
  private async ask<Result>(talk: () => Talk<Result>, code: 'remote-state' | 'bad-device-state'): Promise<Result> {
    const until = performance.now() + this.peer.timeoutMillis;
    for (;;)
      try {
        const steps = talk();
        let step = steps.next();
        while (step.done !== true) step = steps.next(await this.peer.request(step.value.command, step.value.payload));
        return step.value;
      } catch (error) {
        if (!isBusy(error) || performance.now() > until) throw this.failure(error, code);
        await new Promise((resolve) => setTimeout(resolve, pauseMillis));
      }
  }
  private failure(error: unknown, code: 'remote-state' | 'bad-device-state'): unknown {
    if (!(error instanceof RemoteError)) return error;
    const refused = error.code === 'peer-refused' && error.errno !== wire.Errno.EOPNOTSUPP;
    const what = error.errno === wire.Errno.EOPNOTSUPP ? 'it has no state that can be had' : error.message;
    return new SnapshotError(refused ? code : 'remote-state', `device ${this.name}: ${what}`);
  }
}
