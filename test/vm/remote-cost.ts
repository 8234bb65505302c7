/**
 * What an access of a device elsewhere costs: microseconds of a register read, and of a posted write in a burst that a read
 * ends, over each way to it. `node test/vm/remote-cost.ts` prints all of it; bench/costs.ts
 * has the reads of a guest beside the other costs.
 */
import { fileURLToPath } from 'node:url';
import { RemoteDevice } from '../../runtime/remote/remote-device.ts';
import { otherProcess, type Place, sameThread, workerThread } from './remote-places.ts';
import { reg } from './remote-test-device.ts';

interface RemoteCost {
  readonly way: string;
  /** Median, microseconds. */
  readonly read: number;
  /** 99th percentile, microseconds. */
  readonly slowRead: number;
  readonly write: number;
}

const ways: readonly (readonly [string, () => Promise<Place>])[] = [
  ['messages in one thread', sameThread],
  ['worker, shared memory', () => workerThread(true)],
  ['worker that lingers 0.2 ms', () => workerThread(true, 0.2)],
  ['worker, messages alone', () => workerThread(false)],
  ['other process, waiting', () => otherProcess(true)],
  ['other process, not waiting', () => otherProcess(false)],
];

/** @param reads register reads for each way */
async function remoteCosts(reads = 2000): Promise<RemoteCost[]> {
  const costs: RemoteCost[] = [];
  for (const [way, open] of ways) {
    const place = await open();
    const device = await RemoteDevice.connect(await place.connect());
    const once = async () => {
      const value = device.startRead(reg.id, 4);
      if (typeof value !== 'number') await value;
    };
    for (let i = 0; i < reads / 4; i++) await once();
    const times: number[] = [];
    for (let i = 0; i < reads; i++) {
      const started = performance.now();
      await once();
      times.push((performance.now() - started) * 1000);
    }
    times.sort((a, b) => a - b);
    const bursts: number[] = [];
    for (let burst = 0; burst < 20; burst++) {
      const started = performance.now();
      for (let i = 0; i < 200; i++) device.write(reg.sum, 4, i);
      await once();
      bursts.push(((performance.now() - started) * 1000) / 200);
    }
    bursts.sort((a, b) => a - b);
    costs.push({
      way,
      read: times[Math.floor(reads / 2)]!,
      slowRead: times[Math.floor(reads * 0.99)]!,
      write: bursts[10]!,
    });
    device.close();
    await place.close();
  }
  return costs;
}

if (process.argv[1] === fileURLToPath(import.meta.url))
  for (const { way, read, slowRead, write } of await remoteCosts()) {
    const figures = [read, slowRead, write].map((micros) => micros.toFixed(1).padStart(8)).join(' ');
    process.stdout.write(
      `${way.padEnd(30)} read ${figures.replace(/(\S+)\s+(\S+)\s+(\S+)/, '$1 us (99 %: $2), write $3 us')}\n`,
    );
  }
