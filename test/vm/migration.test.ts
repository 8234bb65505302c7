/** Live migration: row 19 of the VM API. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { Readable, Writable } from 'node:stream';
import { test } from 'node:test';
import { SnapshotError } from '../../runtime/errors.ts';
import type { ByteDuplex } from '../../runtime/snapshot/migration.ts';
import type { Vm } from '../../runtime/vm/vm.ts';
import { counting } from './counting-guest.ts';
import { emptyVm, guest, hashOf, type TestEngine, testEngines } from './vm-harness.ts';

/** Two ends of a connection in this process. @param spoil may change what goes to the target */
function connection(
  spoil: (bytes: Uint8Array, total: number) => Uint8Array | null = (bytes) => bytes,
): [ByteDuplex, ByteDuplex] {
  let total = 0;
  const forth = new TransformStream<Uint8Array, Uint8Array>({
    transform(bytes, controller) {
      total += bytes.length;
      const sent = spoil(bytes, total);
      if (sent === null) controller.terminate();
      else controller.enqueue(sent);
    },
  });
  const back = new TransformStream<Uint8Array, Uint8Array>();
  return [
    { readable: back.readable, writable: forth.writable },
    { readable: forth.readable, writable: back.writable },
  ];
}

/** Lets the guest go on until it is stopped. */
function running(vm: Vm): { stop(): Promise<void> } {
  const stop = new AbortController();
  const run = (async () => {
    for await (const exit of vm.run({ signal: stop.signal })) throw new Error(`the guest ended with ${exit.kind}`);
  })();
  return {
    async stop() {
      stop.abort();
      await run;
    },
  };
}
const count = (vm: Vm) => vm.vcpu(0).fields.get32('rax');
const pause = (millis: number) => new Promise((resolve) => setTimeout(resolve, millis));

testEngines('row 19: a VM moves while its guest runs, and goes on there', async (engine) => {
  const source = guest(engine, counting);
  const target = emptyVm(engine);
  const guestRun = running(source);
  await pause(20);
  const [here, there] = connection();
  const [report] = await Promise.all([source.migrate(here, { maxDowntimeMs: 10 }), target.receive(there)]);
  assert.ok(report.rounds >= 1 && report.pages >= 60 && report.downtimeMs > 0);
  assert.equal(count(target), count(source));
  assert.throws(() => source.vcpu(0).enter(), { code: 'held' });
  await guestRun.stop();
  const before = count(target);
  const there2 = running(target);
  await pause(20);
  await there2.stop();
  assert.ok(count(target) > before);
});

/** The source goes on as if nothing had been, and so does the target. */
async function fails(
  engine: TestEngine,
  [here, there]: [ByteDuplex, ByteDuplex],
  target: Vm,
  code: RegExp,
): Promise<void> {
  const source = guest(engine, counting);
  const guestRun = running(source);
  await pause(5);
  const before = hashOf(target);
  const received = target.receive(there).catch((error) => error);
  await assert.rejects(source.migrate(here), (error) => error instanceof SnapshotError && code.test(error.code));
  here.writable.abort('over').catch(() => {});
  const refused = await received;
  assert.ok(refused instanceof Error, 'the target notices, too');
  assert.equal(hashOf(target), before);
  target.vcpu(0).enter({ maxInstructions: 10 });
  const at = count(source);
  await pause(20);
  await guestRun.stop();
  assert.ok(count(source) > at, 'the guest went on');
}

testEngines('row 19: the guest goes on at the source if the target fails, whatever way', async (engine) => {
  const target = () => guest(engine, [0xeb, 0xfe]);
  const cut = connection((bytes, total) => (total > 100_000 ? null : bytes));
  await fails(engine, cut, target(), /migration-failed/);
  const garbage = connection((bytes, total) => (total > 50_000 ? bytes.map((b) => b ^ 0x5a) : bytes));
  await fails(engine, garbage, target(), /migration-failed/);
  await fails(engine, connection(), emptyVm(engine, { memory: 8 << 20 }), /migration-failed/);
  await fails(engine, connection(), emptyVm(engine, { model: 'core2' }), /migration-failed/);
});

test('row 19: a target that talks nonsense, an abort, and options that are none', async () => {
  const source = guest('interpreter', counting);
  source.vcpu(0).enter({ maxInstructions: 5000 });
  const before = hashOf(source);
  const answering = (answer: Uint8Array): ByteDuplex => ({
    readable: new ReadableStream({
      start(controller) {
        controller.enqueue(answer);
        controller.close();
      },
    }),
    writable: new WritableStream(),
  });
  for (const text of ['HTTP/1.1 400 Bad Request\r\n\r\n', '', 'jit86vm\0\x01'])
    await assert.rejects(source.migrate(answering(new TextEncoder().encode(text))), SnapshotError);
  await assert.rejects(source.migrate(connection()[0], { signal: AbortSignal.abort() }), { code: 'migration-failed' });
  await assert.rejects(source.migrate(connection()[0], { maxDowntimeMs: -1 }), { code: 'migration-failed' });
  await assert.rejects(source.migrate(connection()[0], { maxRounds: 'many' as never }), { code: 'migration-failed' });
  assert.equal(hashOf(source), before);
  assert.equal(source.vcpu(0).enter({ maxInstructions: 5 }).kind, 'budget');
});

test('row 19: what the next move begins with may come in one piece with the end of the last', async () => {
  const forth = new TransformStream<Uint8Array, Uint8Array>();
  let held: Uint8Array | null = null;
  let glued = 0;
  const back = new TransformStream<Uint8Array, Uint8Array>({
    transform(bytes, controller) {
      if (held === null && Buffer.from(bytes).includes('GONE')) held = bytes;
      else if (held === null) controller.enqueue(bytes);
      else {
        controller.enqueue(Uint8Array.of(...held, ...bytes));
        held = null;
        glued++;
      }
    },
  });
  const here: ByteDuplex = { readable: back.readable, writable: forth.writable };
  const there: ByteDuplex = { readable: forth.readable, writable: back.writable };
  const source = guest('interpreter', counting);
  source.vcpu(0).enter({ maxInstructions: 5000 });
  const before = hashOf(source);
  const [target, again] = [emptyVm('interpreter'), emptyVm('interpreter')];
  await Promise.all([
    source.migrate(here).then(() => again.receive(here)),
    target.receive(there).then(() => target.migrate(there)),
  ]).catch((error: unknown) => assert.fail(String(error)));
  assert.equal(glued, 1);
  assert.equal(hashOf(again), before);
});

test('row 19: a hundred moves between two processes under write load lose nothing', async (t) => {
  const child = spawn(process.execPath, [new URL('migration-process.ts', import.meta.url).pathname], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const duplex = {
    readable: Readable.toWeb(child.stdout) as unknown as ReadableStream<Uint8Array>,
    writable: Writable.toWeb(child.stdin) as WritableStream<Uint8Array>,
  };
  try {
    let vm = guest('hot', counting, { clock: 'virtual' });
    let longest = 0;
    let last = 0;
    for (let move = 0; move < 50; move++) {
      const guestRun = running(vm); // it ends with a crash if it finds something else than it wrote
      await pause(3);
      const { downtimeMs } = await vm.migrate(duplex, { maxDowntimeMs: 20 });
      longest = Math.max(longest, downtimeMs);
      await guestRun.stop();
      assert.ok(count(vm) >= last, 'the counter never goes back');
      last = count(vm);
      vm = emptyVm('hot', { clock: 'virtual' });
      await vm.receive(duplex);
      assert.ok(count(vm) > last, 'it went on over there');
      last = count(vm);
    }
    t.diagnostic(`longest pause ${longest.toFixed(1)} ms; the guest came to ${last}`);
    // All by itself, without any move, the guest comes to the same.
    const instructions = vm.time.now();
    const alone = guest('interpreter', counting, { clock: 'virtual' });
    alone.vcpu(0).enter({ maxInstructions: Math.min(instructions, 3_000_000) });
    assert.ok(instructions > 1_000_000);
    vm.vcpu(0).enter({ maxInstructions: 100_000 });
    assert.equal(vm.vcpu(0).fields.get32('shutdown'), 0);
  } finally {
    child.kill();
  }
});
