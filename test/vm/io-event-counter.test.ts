/** Event counters: what adding, taking and waiting give, on one thread and between two. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { EventCounter } from '../../runtime/io/event-counter.ts';

test('row 12: a counter gives all events at once, a semaphore one by one', () => {
  const counter = new EventCounter({ initial: 3 });
  counter.add();
  counter.add(5);
  assert.equal(counter.value, 9);
  assert.deepEqual([counter.take(), counter.take(), counter.value], [9, 0, 0]);
  const semaphore = new EventCounter({ semaphore: true, initial: 2 });
  assert.deepEqual([semaphore.take(), semaphore.take(), semaphore.take()], [1, 1, 0]);
});

test('row 12: a count stays at its end, and what cannot be added is refused', () => {
  const counter = new EventCounter({ initial: 0xffff_fff0 });
  counter.add(0xff);
  assert.equal(counter.value, 0xffff_ffff);
  for (const events of [0, -1, 0.5, Number.NaN, 2 ** 32, '1' as unknown as number])
    assert.throws(() => counter.add(events), { name: 'ConfigurationError', code: 'bad-option' });
  assert.equal(counter.value, 0xffff_ffff);
  for (const initial of [-1, 1.5, 2 ** 32]) assert.throws(() => new EventCounter({ initial }), { code: 'bad-option' });
  assert.throws(() => new EventCounter({ buffer: new SharedArrayBuffer(3) }), { code: 'bad-option' });
});

test('row 12: who waits gets the events, and an aborted wait takes none', async () => {
  const counter = new EventCounter();
  const heard: number[] = [];
  const stop = counter.onAdd(() => heard.push(counter.value));
  const next = counter.next();
  counter.add(2);
  assert.equal(await next, 2);
  assert.deepEqual(heard, [2]);
  stop();
  counter.add(3);
  assert.deepEqual(heard, [2]);
  assert.equal(await counter.next(), 3);
  const abort = new AbortController();
  const given = counter.next({ signal: abort.signal });
  abort.abort(new Error('enough'));
  await assert.rejects(given, /enough/);
  await assert.rejects(counter.next({ signal: abort.signal }), /enough/);
  counter.add(7);
  assert.equal(counter.take(), 7, 'the waiter that gave up has taken nothing');
  assert.equal(counter.wait(1), 0, 'nothing comes');
  const plain = new EventCounter({ buffer: new ArrayBuffer(4) });
  assert.throws(() => plain.wait(1), { code: 'unsupported-host' });
  const soon = plain.next();
  plain.add(4);
  assert.equal(await soon, 4);
});

test('row 12: events as they come, until the signal ends them', async () => {
  const counter = new EventCounter();
  const abort = new AbortController();
  const got: number[] = [];
  for (const events of [1, 2, 3]) setTimeout(() => counter.add(events), events * 5);
  for await (const events of counter.events({ signal: abort.signal })) {
    got.push(events);
    if (got.reduce((a, b) => a + b) === 6) abort.abort();
  }
  assert.equal(
    got.reduce((a, b) => a + b),
    6,
  );
});

test('row 12: a thread that blocks and one that does not both hear of events of another', async () => {
  const there = new EventCounter();
  const back = new EventCounter({ semaphore: true });
  const source = `
    import { parentPort, workerData } from 'node:worker_threads';
    const { EventCounter } = await import(workerData.file);
    const there = new EventCounter({ buffer: workerData.there });
    const back = new EventCounter({ buffer: workerData.back });
    let sum = 0;
    while (sum < 1000) {
      const got = there.wait(20000);
      if (got === 0) break;
      sum += got;
    }
    back.add(sum);
    parentPort.postMessage('done');
  `;
  const file = new URL('../../runtime/io/event-counter.ts', import.meta.url).href;
  const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(source)}`), {
    workerData: { file, there: there.buffer, back: back.buffer },
  });
  const ended = new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
  for (let i = 0; i < 1000; i++) there.add();
  const first = await back.next({ signal: AbortSignal.timeout(20_000) });
  await ended;
  assert.equal(first + back.value, 1000);
  await worker.terminate();
});
