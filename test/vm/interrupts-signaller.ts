/** Adds events to a counter from a thread of its own, one at a time. */
import { workerData } from 'node:worker_threads';
import { EventCounter } from '../../runtime/io/event-counter.ts';

const { buffer, events, pauseMillis } = workerData as {
  buffer: SharedArrayBuffer;
  events: number;
  pauseMillis: number;
};
const counter = new EventCounter({ buffer });
const pause = new Int32Array(new SharedArrayBuffer(4));
for (let i = 0; i < events; i++) {
  counter.add(1);
  if (pauseMillis > 0) Atomics.wait(pause, 0, 0, pauseMillis);
}
