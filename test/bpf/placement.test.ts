/** What an embedder states and places: contradictions are refused, memory may grow, contexts and maps are as declared. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { translateBpf } from '../../jit/bpf-translate.ts';
import { cHeader } from '../../src/bpf/c-header.ts';
import { DeviceProgram, deviceEnvironment } from '../../src/bpf/device-program.ts';
import type { BpfEnvironment, BpfMap } from '../../src/bpf/environment.ts';
import { BpfError } from '../../src/bpf/errors.ts';
import { BpfInterpreter } from '../../src/bpf/interpreter.ts';
import { Arena, PlacedContext, PlacedMaps, placeRegions } from '../../src/bpf/placement.ts';
import { verify } from '../../src/bpf/verifier.ts';
import { engines, Place, result, setInputs, sourceOf, testEnvironment, testMaps } from './harness.ts';

const refused = (call: () => unknown, code: string, reason: RegExp): void => {
  assert.throws(call, (error) => {
    assert.ok(error instanceof BpfError, String(error));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, reason);
    return true;
  });
};

test('an environment that contradicts itself is refused', () => {
  const attempt =
    (change: Partial<BpfEnvironment>, maps: readonly BpfMap[] = []) =>
    () =>
      verify(sourceOf('r0 = 0\nexit', maps), { ...testEnvironment, ...change });
  const bad = (change: Partial<BpfEnvironment>, reason: RegExp) => refused(attempt(change), 'bad-environment', reason);
  const field = { name: 'f', offset: 0, size: 8, read: true, write: true } as const;
  const context = (...fields: BpfEnvironment['context']['fields']) => ({ context: { name: 'c', size: 16, fields } });
  attempt(context(field))();
  bad(context({ ...field, offset: 16 }), /field f lies outside of c/);
  bad(context({ ...field, offset: 4 }), /not aligned to its 8 bytes/);
  bad(context(field, { ...field, name: 'g', size: 4 }), /field g overlaps another/);
  bad(context({ ...field, pointsTo: 'nowhere' }), /no region nowhere for f/);
  bad(context({ ...field, size: 4, pointsTo: 'state' }), /pointer in 4 bytes/);
  bad(
    { regions: { ...testEnvironment.regions, big: { size: 2 ** 29, read: true, write: true } } },
    /region big has 536870912/,
  );
  const helper = { name: 'h', result: { kind: 'none' }, by: 'number' } as const;
  const helpers = (...list: BpfEnvironment['helpers'][number]['arguments'][number][]) => ({
    helpers: { 1: { ...helper, arguments: list } },
  });
  bad(helpers(...Array.from({ length: 6 }, () => ({ kind: 'number' }) as const)), /more than 5/);
  bad(helpers({ kind: 'memory', access: 'read' }), /memory without a size/);
  bad(helpers({ kind: 'size', min: 0, max: 1 }), /size without memory/);
  bad(
    { helpers: { 1: { ...helper, arguments: [], result: { kind: 'region', region: 'x', nullable: false } } } },
    /region x that is not there/,
  );
  const map = testMaps[0]!;
  refused(attempt({}, [{ ...map, valueSize: 0 }]), 'bad-environment', /4 values of 0 bytes/);
  refused(attempt({}, [{ ...map, contents: new Uint8Array(65) }]), 'bad-environment', /begins with more/);
});

test('an arena gives out aligned zeroed memory, and no more than it has', () => {
  const memory = { buffer: new ArrayBuffer(1024) };
  new Uint8Array(memory.buffer).fill(0xff);
  const arena = new Arena(memory, 20, 512);
  const one = arena.take(5, 'one');
  const two = arena.take(100, 'two');
  assert.deepEqual(
    [one, two],
    [
      { address: 32, size: 5 },
      { address: 48, size: 100 },
    ],
  );
  assert.ok(new Uint8Array(memory.buffer, 48, 100).every((byte) => byte === 0));
  refused(() => arena.take(400, 'region state'), 'bad-placement', /region state needs 400 bytes and 3\d\d are left/);
  refused(() => new Arena(memory, 0, 512), 'bad-placement', /from 0/);
  refused(() => new Arena(memory, 64, 2048), 'bad-placement', /1024 bytes/);
});

test('what a program uses must be there', () => {
  const program = verify(sourceOf('call 5\nr1 = map 0 ll\nexit'), testEnvironment);
  const place = new Place(program);
  const { linkage } = place;
  const attempt = (change: object) => () => new BpfInterpreter(program, { ...linkage, ...change });
  attempt({})();
  refused(attempt({ calls: {} }), 'bad-placement', /no function for helper time/);
  refused(attempt({ regions: {} }), 'bad-placement', /region state has no place/);
  refused(
    attempt({ regions: { ...linkage.regions, state: { address: 64, size: 8 } } }),
    'bad-placement',
    /8 bytes instead of 64/,
  );
  refused(attempt({ maps: { ...linkage.maps, maps: [] } }), 'bad-placement', /map 0, table, has no place/);
  refused(() => place.context.set('nothing', 1), 'bad-placement', /no field nothing/);
  refused(() => place.maps.value('table', 4), 'bad-placement', /no value 4 of a map table/);
  const arena = new Arena(place.memory, 4096, 8192);
  refused(
    () => new PlacedContext(testEnvironment.context, {}, arena),
    'bad-placement',
    /region state of field state has no place/,
  );
});

test('memory may grow between calls and during one', () => {
  const environment = deviceEnvironment({ stateBytes: 16 });
  const program = verify(
    sourceOf(
      'r6 = r1\ncall 5\nr2 = *(u64 *)(r6 + 24)\nr1 = *(u64 *)(r6 + 8)\n*(u64 *)(r2 + 0) = r1\nr1 += 1\n*(u64 *)(r6 + 8) = r1\nr0 = 1\nexit',
      [],
    ),
    environment,
  );
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 64 });
  const arena = new Arena(memory, 64, 65536);
  const maps = new PlacedMaps([], arena);
  const regions = placeRegions(environment, arena);
  const context = new PlacedContext(environment.context, regions, arena);
  let grow = 0;
  const time = () => {
    if (grow > 0) memory.grow(grow);
    return 7;
  };
  const device = new DeviceProgram(
    new BpfInterpreter(program, { memory, maps, regions, calls: { time } }),
    context,
    () => 5,
  );
  for (const pages of [0, 1, 0, 2]) {
    grow = pages;
    memory.grow(1);
    assert.equal(device.write(0, 8, 2 ** 40 + 3), true);
    assert.equal(new DataView(memory.buffer).getBigUint64(regions.state!.address, true), BigInt(2 ** 40 + 3));
    assert.equal(context.get('value'), 2 ** 40 + 4);
    assert.equal(context.get('time'), 5);
  }
});

test('a context keeps fields of each size', () => {
  const place = new Place(verify(sourceOf('r0 = 0\nexit'), testEnvironment));
  for (const [name, value] of [
    ['a', 2 ** 53 - 1],
    ['b', 2 ** 32],
    ['c', 0xffff_ffff],
  ] as const) {
    place.context.set(name, value);
    assert.equal(place.context.get(name), value);
  }
});

test('maps begin as declared and can be made so again', () => {
  const program = verify(sourceOf('r1 = map 0 value + 0 ll\n*(u64 *)(r1 + 8) = 7\nr0 = 0\nexit'), testEnvironment);
  for (const { place, program: engine } of engines(program)) {
    engine.run(place.context);
    assert.equal(place.maps.value('table', 0)[8], 7);
    place.maps.reset();
    assert.equal(place.maps.value('table', 0)[8], 0);
    assert.deepEqual([...place.maps.value('constants', 0)], [1, 2, 3, 4, 5, 6, 7, 0x88]);
  }
});

test('two contexts serve two calls, one inside the other', () => {
  const program = verify(
    sourceOf(
      'r6 = r1\nr1 = *(u64 *)(r6 + 0)\n*(u64 *)(r10 - 8) = r1\nr1 = 0\ncall 7\nr1 = *(u64 *)(r10 - 8)\nr0 += r1\nexit',
    ),
    testEnvironment,
  );
  let inner: (() => number) | null = null;
  for (const { name, place, program: engine } of engines(program, { index: () => inner?.() ?? 0 })) {
    const other = new PlacedContext(
      testEnvironment.context,
      place.linkage.regions,
      new Arena(place.memory, 65536, 131072),
    );
    setInputs(place, { a: 5n });
    other.set('a', 3);
    inner = () => {
      inner = null;
      return engine.runSmall(other);
    };
    assert.equal(engine.run(place.context), 8n, name);
  }
});

test('regions that a helper gives are checked in either engine', () => {
  const program = verify(sourceOf('call 9\n*(u64 *)(r0 + 0) = 1\nr0 = 1\nexit'), testEnvironment);
  for (const { name, place, program: engine } of engines(program, { port: () => false }))
    assert.throws(() => engine.run(place.context), name);
  assert.equal(result('r1 = 3\ncall 8\nif r0 == 0 goto +3\n*(u8 *)(r0 + 31) = 9\nr0 = 1\nexit\nr0 = 0\nexit'), 1n);
});

test('the C header names each field and helper', () => {
  const header = cHeader(
    deviceEnvironment({ stateBytes: 8, events: 2, regions: { queue: { size: 64, read: true, write: false } } }),
  );
  for (const line of [
    'unsigned long long address;',
    'unsigned int size;',
    'void *state;',
    'void *queue;',
    '(*const signal)(unsigned long long) = (void *)257',
  ])
    assert.ok(header.includes(line), line);
  assert.ok(!header.includes('set_line'));
});

test('what a translation is made from can be sent to another thread', () => {
  const program = verify(sourceOf('r1 = map 0 ll\ncall 5\nexit'), testEnvironment);
  const { maps, linkage } = new Place(program);
  const limits = { initial: 2, maximum: 16, shared: true };
  const target = { limits, maps: { descriptors: maps.descriptors, values: maps.values }, regions: linkage.regions };
  const sent = structuredClone({ program, target });
  assert.deepEqual(translateBpf(sent.program, sent.target), translateBpf(program, { ...target, maps }));
});
