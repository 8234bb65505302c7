/** C programs, compiled by clang's BPF target, loaded from their objects unchanged, verified, and run in both engines. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TranslatedBpfProgram } from '../../jit/bpf-program.ts';
import { translateBpf } from '../../jit/bpf-translate.ts';
import { VirtualClock } from '../../runtime/devices/clock.ts';
import { unconnectedLine } from '../../runtime/devices/irq-line.ts';
import { Pit8254 } from '../../runtime/devices/pit-8254.ts';
import { loadBpfObject } from '../../runtime/loaders/bpf-object.ts';
import { cHeader } from '../../src/bpf/c-header.ts';
import { type DeviceCalls, DeviceProgram, deviceEnvironment } from '../../src/bpf/device-program.ts';
import type { BpfEnvironment } from '../../src/bpf/environment.ts';
import { BpfInterpreter } from '../../src/bpf/interpreter.ts';
import { Arena, PlacedContext, PlacedMaps, placeRegions } from '../../src/bpf/placement.ts';
import { verify } from '../../src/bpf/verifier.ts';
import { compile, withoutClang } from './clang.ts';
import { Random } from './random.ts';

const skip = withoutClang;
const processors = ['v1', 'v2', 'v3'] as const;

/** A device with its program attached: what an embedder does. */
function attach(
  object: Uint8Array,
  environment: BpfEnvironment,
  calls: DeviceCalls,
  engine: 'interpreter' | 'translation',
  name?: string,
) {
  const { programs, maps } = loadBpfObject(object);
  const source = name === undefined ? programs[0]! : programs.find((program) => program.name === name)!;
  const program = verify(source, environment);
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1 });
  const arena = new Arena(memory, 64, 65536);
  const placed = new PlacedMaps(maps, arena);
  const regions = placeRegions(environment, arena);
  const context = new PlacedContext(environment.context, regions, arena);
  const linkage = { memory, maps: placed, regions, calls: { ...calls } };
  const limits = { initial: 1, maximum: 1, shared: false };
  const runnable =
    engine === 'interpreter'
      ? new BpfInterpreter(program, linkage)
      : new TranslatedBpfProgram(
          program,
          linkage,
          new WebAssembly.Module(translateBpf(program, { limits, maps: placed, regions }) as BufferSource),
        );
  const state = new DataView(memory.buffer, regions.state!.address, regions.state!.size);
  return { device: new DeviceProgram(runnable, context, calls.time), state, maps: placed, program, source };
}

const engineNames = ['interpreter', 'translation'] as const;

test('a PIT counter read, from the state memory and the time, gives what the device gives', { skip }, () => {
  const environment = deviceEnvironment({ stateBytes: 32 });
  for (const cpu of processors) {
    const object = compile('pit.c', cHeader(environment), `-mcpu=${cpu}`);
    for (const engine of engineNames) {
      const random = new Random(8254);
      const clock = new VirtualClock();
      const pit = new Pit8254(clock, unconnectedLine);
      const { device, state } = attach(object, environment, { time: () => clock.now() }, engine);
      const counter = (pit.state as { [key: string]: number }[])[0]!;
      const show = (): void => {
        const counting =
          !Number.isNaN(counter.start) && counter.reload! > 0 && counter.latchedStatus! < 0 && !counter.bcd;
        state.setBigUint64(0, BigInt(counting ? Math.ceil(counter.start!) : 0), true);
        for (const [at, value] of [
          [8, counter.reload!],
          [12, counter.mode!],
          [16, counter.access!],
          [20, Number(counter.readHigh)],
          [24, counter.latched!],
          [28, Number(counting)],
        ] as const)
          state.setInt32(at, value, true);
      };
      let [answered, now] = [0, 0];
      for (let round = 0; round < 600; round++) {
        now += random.below(random.below(3) === 0 ? 10_000_000 : 5000);
        clock.advanceTo(now);
        switch (random.below(12)) {
          case 0: {
            const access = 1 + random.below(3);
            pit.write(3, 1, (access << 4) | (random.pick([0, 2, 3, 4]) << 1));
            for (let byte = 0; byte < (access === 3 ? 2 : 1); byte++) pit.write(0, 1, random.below(256));
            break;
          }
          case 1:
            pit.write(3, 1, 0);
            break;
          default: {
            show();
            assert.equal(device.write(0x40, 1, 5), false, 'writes are passed on');
            assert.equal(device.read(0x41, 1), null, 'other registers are passed on');
            const value = device.read(0x40, 1);
            if (value === null) {
              assert.equal(state.getInt32(28, true), 0);
              pit.read(0, 1);
              break;
            }
            answered++;
            assert.equal(value, pit.read(0, 1), `${cpu} ${engine}, round ${round}: mode ${counter.mode}`);
            const after = [state.getInt32(20, true), state.getInt32(24, true)];
            assert.deepEqual(after, [Number(counter.readHigh), counter.latched]);
          }
        }
      }
      assert.ok(answered > 300, `${answered} reads were answered`);
    }
  }
});

test('a virtio doorbell clears the flag, then signals its event', { skip }, () => {
  const environment = deviceEnvironment({ stateBytes: 48, events: 8, lines: 2 });
  {
    // Atomic operations of 32 bits came with v3.
    const object = compile('doorbell.c', cHeader(environment), '-mcpu=v3');
    for (const engine of engineNames) {
      const log: string[] = [];
      let state: DataView | null = null;
      const calls: DeviceCalls = {
        time: () => 0,
        signal: (event) => log.push(`event ${event}, flag ${state!.getUint32(4 + event * 4, true)}`),
        set_line: (line, level) => log.push(`line ${line} ${level}`),
      };
      const bell = attach(object, environment, calls, engine, 'doorbell');
      state = bell.state;
      state.setUint32(0, 3, true);
      state.setUint32(4 + 2 * 4, 1, true);
      assert.equal(bell.device.write(0x50, 2, 2), true);
      assert.equal(bell.device.write(0x50, 2, 3), false, 'no such queue: passed on');
      assert.equal(bell.device.read(0x50, 2), null);
      assert.equal(bell.device.write(0x54, 2, 0), false);
      assert.deepEqual(log.splice(0), ['event 2, flag 0']);
      for (const queue of [1, 6]) state.setUint32(4 + queue * 4, 1, true);
      assert.equal(bell.device.write(0x50, 4, 0xffff), true);
      assert.deepEqual(log.splice(0), ['event 1, flag 0', 'event 6, flag 0', 'line 1 1']);
      assert.equal(state.getBigUint64(40, true), 3n);
      const status = attach(object, environment, calls, engine, 'status');
      status.state.setBigUint64(40, 300n, true);
      assert.equal(status.device.read(0, 4), 300);
      assert.equal(status.device.read(0, 1), 300 % 256);
      assert.deepEqual(log, ['line 1 0', 'line 1 0']);
    }
  }
});

test('global data, maps, local calls, switches and loops', { skip }, () => {
  const environment = deviceEnvironment({ stateBytes: 8 });
  const results = processors.map((cpu) => {
    const object = compile('statistics.c', cHeader(environment), `-mcpu=${cpu}`, '-g');
    const [one, two] = engineNames.map((engine) => attach(object, environment, { time: () => 0 }, engine));
    const names = one!.source.maps.map(({ name, write, maxEntries, valueSize }) => [
      name,
      write,
      maxEntries,
      valueSize,
    ]);
    const wanted = [
      ['accesses', true, 16, 16],
      ['sizes', true, 9, 4],
      ['.bss', true, 1, 8],
      ['.data', true, 1, 4],
      ['.rodata.cst32', false, 1, 32],
    ];
    assert.deepEqual([...names].sort(), wanted.sort());
    const random = new Random(7);
    const values: (number | null)[] = [];
    for (let i = 0; i < 300; i++) {
      const [address, size, value] = [random.below(64), random.pick([1, 2, 4, 8] as const), random.next()];
      const write = random.below(2) === 0;
      const got = [one!, two!].map(({ device }) =>
        write ? Number(device.write(address, size, value)) : device.read(address, size),
      );
      assert.equal(got[1], got[0], `${cpu}: address ${address}, size ${size}`);
      values.push(got[0]!);
    }
    const states = [one!, two!].map(({ maps }) =>
      wanted.map(([name]) => Buffer.from(maps.value(name as string, 0)).toString('hex')),
    );
    assert.deepEqual(states[1], states[0]);
    const total = one!.maps.value('.bss', 0).some((byte) => byte !== 0);
    assert.ok(total, 'the writes were summed up');
    const reads = Array.from({ length: 16 }, (_, n) => new DataView(one!.maps.value('accesses', n).slice().buffer));
    const count = reads.reduce((sum, view) => sum + view.getBigUint64(0, true) + view.getBigUint64(8, true), 0n);
    assert.equal(count, 300n);
    one!.maps.reset();
    assert.deepEqual([...one!.maps.value('.data', 0)], [0xc5, 0x9d, 0x1c, 0x81]);
    return values;
  });
  assert.deepEqual(results[1], results[0]);
  assert.deepEqual(results[2], results[0]);
});

test('maps declared the old way', { skip }, () => {
  const object = compile('legacy.c', '');
  const { programs, maps } = loadBpfObject(object);
  assert.deepEqual(
    maps.map(({ name, write, maxEntries }) => [name, write, maxEntries]),
    [
      ['first', true, 3],
      ['second', false, 3],
    ],
  );
  const any = { ...deviceEnvironment({ stateBytes: 8 }), result: { min: 0n, max: (1n << 64n) - 1n } };
  assert.equal(programs[0]!.section, 'device/legacy');
  verify(programs[0]!, any);
  const written = compile(
    `${'struct m { unsigned a, b, c, d, e; };\n'}__attribute__((section("maps"), used)) struct m first = {2, 4, 8, 3, 0x80};
    static void *(*const lookup)(void *, const void *) = (void *)1;
    unsigned long long f(void *c) { unsigned k = 0; unsigned long long *p = lookup(&first, &k); if (p) *p = 1; return 0; }\n`,
    '',
  );
  const readOnly = loadBpfObject(written).programs[0]!;
  assert.equal(readOnly.name, 'f');
  assert.throws(() => verify(readOnly, any), { code: 'access-denied' });
});

test('an object that loops, or reaches too far, is refused with instruction and reason', { skip }, () => {
  const environment = deviceEnvironment({ stateBytes: 32 });
  const header = cHeader(environment);
  const refused = (body: string, code: string, reason: RegExp) => {
    const object = compile(
      `#include "device.h"\nPROGRAM("x") unsigned long long x(struct device_access *a) {\n${body}\n}\n`,
      header,
    );
    assert.throws(
      () => verify(loadBpfObject(object).programs[0]!, environment),
      (error: { code: string; instruction: number; message: string }) => {
        assert.equal(error.code, code, error.message);
        assert.equal(typeof error.instruction, 'number');
        assert.match(error.message, reason);
        return true;
      },
    );
  };
  refused('volatile unsigned *p = a->state; while (*p) {} return 1;', 'endless-loop', /comes back here/);
  refused(
    'volatile unsigned *p = a->state; for (unsigned long long i = 0; i < a->value; i++) *p; return 1;',
    'too-complex',
    /loop/,
  );
  refused(
    'unsigned char *p = a->state; a->value = p[a->address]; return 1;',
    'pointer-arithmetic',
    /may lead more than/,
  );
  refused(
    'unsigned char *p = a->state; a->value = p[a->address & 63]; return 1;',
    'out-of-bounds',
    /from 0 to 64, but region state has 32 bytes/,
  );
  refused('return a->value;', 'result-range', /r0 must be 0 to 1 at the end, but is any number/);
  refused(
    '*(volatile unsigned long long *)&a->time = 5; return 1;',
    'access-denied',
    /field time of device_access must not be written/,
  );
  refused('void (*f)(int) = (void *)4711; f(3); return 1;', 'unknown-helper', /no helper 4711/);
  refused('*(volatile void **)a->state = a; return 1;', 'pointer-leak', /would be stored in region state/);
});
