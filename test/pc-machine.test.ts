/** The PC as a whole: time by instructions, interrupts at exact places, several processors, the ways a run ends. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nodeHost } from '../runtime/hosts/node.ts';
import { loadGuest } from '../runtime/loaders/load.ts';
import type { ClockKind, Engine, Machine, RunEnd } from '../runtime/machines/machine.ts';
import { createPcMachine } from '../runtime/machines/pc-machine.ts';
import { Assembler, dword, to } from './engines/assembler.ts';
import { lidt, out, putIdt, store } from './engines/system-code.ts';

const codeAt = 0x10_0000;
const idtAt = 0x2000;
const apic = (register: number) => 0xfee0_0000 + register;
/** AL to the debug console. */
const show = [0xe6, 0xe9];
/** `mov dx, 604h; mov ax, S5; out dx, ax` */
const powerOff = [0x66, 0xba, 0x04, 0x06, 0x66, 0xb8, 0x00, 0x34, 0x66, 0xef];

interface Guest {
  readonly code: Assembler;
  /** Interrupt vectors and the labels of their handlers. */
  readonly vectors?: Readonly<Record<number, string>>;
  readonly more?: readonly (readonly [address: number, bytes: Uint8Array])[];
}

async function start(
  guest: Guest,
  engine: Engine,
  cpus = 1,
  clock: ClockKind = 'virtual',
  testDevice = false,
): Promise<{ machine: Machine; output: number[]; end(slice?: number): Promise<RunEnd> }> {
  const output: number[] = [];
  const machine = await createPcMachine(
    {
      memory: 4 << 20,
      cpus,
      clock,
      testDevice,
      engine,
      x87: 'exact',
      cache: null,
      serial: (byte) => void output.push(byte),
      debugcon: (byte) => void output.push(byte),
    },
    nodeHost,
  );
  const { bytes } = machine.ram;
  const { state } = loadGuest(guest.code.finish(), machine.ram, {
    name: 'guest',
    commandLine: '',
    modules: [],
    flat: { address: codeAt, mode: 'protected' },
  });
  const handlers = Object.entries(guest.vectors ?? {}).map(([vector, label]) => [vector, guest.code.addressOf(label)]);
  putIdt(bytes, idtAt, Object.fromEntries(handlers));
  for (const [address, content] of guest.more ?? []) bytes.set(content, address);
  machine.start(state);
  const limit = 20_000_000;
  return {
    machine,
    output,
    async end(slice = limit) {
      for (let done = slice; ; done += slice) {
        const end = await machine.run({ maxInstructions: done });
        if (end.reason !== 'instructions' || done >= limit) {
          await machine.close();
          return end;
        }
        assert.equal(machine.instructions(), done, 'a run stops after exactly so many instructions');
      }
    },
  };
}

const loadIdt = lidt(idtAt - 8);
const counter = dword(0x3000);

/**
 * The APIC's timer interrupts a loop, then a HLT; the handler shows the time-stamp counter, the end the loop's sum.
 * @param more instructions of the loop
 */
const ticking = (more: readonly number[] = []): Guest => ({
  vectors: { 48: 'tick' },
  code: new Assembler(BigInt(codeAt))
    .put(loadIdt)
    .put(store(apic(0xf0), 0x1ff))
    .put(store(apic(0x3e0), 0xb))
    .put(store(apic(0x320), 0x2_0030))
    .put(store(apic(0x380), 10_007))
    .put(0xfb) // sti
    .label('loop')
    .put(0x46, 0x01, 0xf7, more) // inc esi; add edi, esi
    .put(0x83, 0x3d, counter, 40) // cmp dword [counter], 40
    .put(0x72, to('loop', 1))
    .label('sleep')
    .put(0xf4) // hlt
    .put(0x83, 0x3d, counter, 45)
    .put(0x72, to('sleep', 1))
    .put(0x89, 0xf8) // mov eax, edi
    .put(show, 0xc1, 0xe8, 8, show, 0xc1, 0xe8, 8, show, 0xc1, 0xe8, 8, show)
    .put(powerOff)
    .put(0xf4)
    .label('tick')
    .put(0x50, 0x52) // push eax; push edx
    .put(0x0f, 0x31, show, 0xc1, 0xe8, 8, show, 0xc1, 0xe8, 8, show) // rdtsc
    .put(0xff, 0x05, counter) // inc dword [counter]
    .put(store(apic(0xb0), 0))
    .put(0x5a, 0x58, 0xcf), // pop edx; pop eax; iret
});

/** The time of each tick, the same in every engine and slicing. */
async function tickTimes(guest: () => Guest): Promise<number[]> {
  const runs: number[][] = [];
  for (const [engine, slice] of [
    ['interpreter', undefined],
    ['interpreter', 997],
    ['jit', undefined],
    ['jit', 4999],
    ['auto', undefined],
  ] as const) {
    const { output, end } = await start(guest(), engine);
    assert.deepEqual(await end(slice), { reason: 'power-off' }, `${engine} ${slice}`);
    runs.push(output);
  }
  for (const run of runs) assert.deepEqual(run, runs[0]);
  const [first] = runs;
  assert.equal(first!.length, 45 * 3 + 4);
  return Array.from({ length: 45 }, (_, i) => first![i * 3]! | (first![i * 3 + 1]! << 8) | (first![i * 3 + 2]! << 16));
}

test('timer interrupts come at the same instructions in every engine and slicing', async () => {
  const times = await tickTimes(ticking);
  for (const [i, time] of times.entries()) {
    const late = time - times[0]! - i * 10_007;
    assert.ok(Math.abs(late) <= 8, `tick ${i} is ${late} instructions off`);
  }
});

test('a guest asks the firmware configuration how many processors there are', async () => {
  const code = new Assembler(BigInt(codeAt))
    .put(0xba, dword(0x510), 0x66, 0xb8, 5, 0, 0x66, 0xef) // mov edx, 510h; mov ax, 5; out dx, ax
    .put(0x42, 0xec, show, 0xec, show, powerOff); // inc edx; in al, dx, twice
  for (const engine of ['interpreter', 'jit'] as const) {
    const { output, end } = await start({ code }, engine, 3);
    assert.deepEqual(await end(), { reason: 'power-off' });
    assert.deepEqual(output, [3, 0]);
  }
});

test('test programs drive lines, a register and memory of a device', async () => {
  const code = new Assembler(BigInt(codeAt))
    .put(0x0f, 0x01, 0x1d, dword(idtAt - 8), store(apic(0xf0), 0x1ff)) // lidt; the local APIC on
    .put(0xb0, 0xff, 0xe6, 0x21, 0xe6, 0xa1) // the 8259s masked
    .put(store(0xfec0_0000, 0x10 + 14 * 2), store(0xfec0_0010, 0x77), 0xfb) // pin 14: vector 77H; sti
    .put(0xba, dword(0x200e), 0xb0, 1, 0xee, 0xb0, 0, 0xee, 0x90) // the line high, low
    .put(0x66, 0xb8, 0x88, 0x99, 0x66, 0xe7, 0xe0, 0xe4, 0xe1, show) // mov ax, 9988h; out e0h, ax; in al, e1h
    .put(store(0xff00_0ffe, 0x4433_2211), 0xa0, dword(0xff00_1001), show) // across two pages
    .put(powerOff)
    .label('line')
    .put(0x50, 0xb0, 0x69, show, store(apic(0xb0), 0), 0x58, 0xcf); // 'i', end of interrupt
  for (const engine of ['interpreter', 'jit'] as const) {
    const guest = { code, vectors: { 119: 'line' } };
    const { output, end } = await start(guest, engine, 1, 'virtual', true);
    assert.deepEqual(await end(), { reason: 'power-off' });
    assert.deepEqual(output, [0x69, 0x99, 0x44]);
  }
});

test('accesses to ports take virtual time, and alarms within it ring after the instruction', async () => {
  const single = [0xe4, 0x61, 0xe6, 0x80]; // in al, 61h; out 80h, al
  const repeated = [0xba, ...dword(0x80), 0xb9, ...dword(5), 0xf3, 0x6e]; // mov edx, 80h; mov ecx, 5; rep outsb
  for (const [more, most] of [
    [single, 800],
    [repeated, 5 * 800],
  ] as const) {
    const times = await tickTimes(() => ticking(more));
    let latest = 0;
    for (const [i, time] of times.entries()) {
      const late = time - times[44]! - (i - 44) * 10_007; // the last one has ended a HLT
      assert.ok(late >= -8 && late <= most, `tick ${i} is ${late} ns off`);
      latest = Math.max(latest, late);
    }
    assert.ok(latest > most / 4, `at most ${latest} ns late: the loop is at ports nearly all the time`);
  }
});

test('an interrupt ends TPAUSE, when its time has come', async () => {
  // xor ecx, ecx; mov eax, -1; mov edx, 7FFFFFFFH; tpause ecx
  const waiting = [0x31, 0xc9, 0xb8, ...dword(-1), 0xba, ...dword(0x7fff_ffff), 0x66, 0x0f, 0xae, 0xf1];
  const times = await tickTimes(() => ticking(waiting));
  for (const [i, time] of times.entries()) {
    const late = time - times[0]! - i * 10_007;
    assert.ok(Math.abs(late) <= 8, `tick ${i} is ${late} ns off`);
  }
});

/** The second processor counts while the first waits for two milliseconds. */
test('a loop that gives up a lock for two of its eight instructions does not keep others from it for ever', async () => {
  const [LOCK, TAKEN] = [0x600, 0x604];
  const other = Uint8Array.of(
    ...[0x31, 0xc0, 0x8e, 0xd8], // xor ax, ax; mov ds, ax
    ...[0xf3, 0x90, 0xf0, 0x0f, 0xba, 0x2e, LOCK & 0xff, LOCK >> 8, 0, 0x72, 0xf5], // pause; lock bts word [LOCK], 0; jc
    ...[0xc7, 0x06, TAKEN & 0xff, TAKEN >> 8, 1, 0, 0xc7, 0x06, LOCK & 0xff, LOCK >> 8, 0, 0], // mov word [TAKEN], 1; mov word [LOCK], 0
    ...[0xf4, 0xeb, 0xfd], // hlt
  );
  for (let phase = 0; phase < 8; phase++) {
    const code = new Assembler(BigInt(codeAt))
      .put(store(LOCK, 1), store(apic(0xf0), 0x1ff), store(apic(0x300), 0xc_4500), store(apic(0x300), 0xc_4608))
      .put(Array<number>(phase).fill(0x90))
      .label('loop')
      .put(0x80, 0x3d, dword(TAKEN), 1, 0x74, to('done', 1), 0x89, 0xc0, store(LOCK, 0)) // cmp; je; mov eax, eax
      .label('spin')
      .put(0xf3, 0x90, 0xf0, 0x0f, 0xba, 0x2d, dword(LOCK), 0, 0x72, to('spin', 1), 0xeb, to('loop', 1))
      .label('done')
      .put(powerOff);
    const { end } = await start({ code, more: [[0x8000, other]] }, 'interpreter', 2);
    assert.deepEqual(await end(), { reason: 'power-off' }, `phase ${phase}`);
  }
});

test('who waits in TPAUSE leaves others their turns', async () => {
  const starting = new Assembler(0x8000n)
    .put(0x31, 0xc0, 0x8e, 0xd8)
    .label('count')
    .put(0x66, 0xff, 0x06, 0x00, 0x70) // inc dword [7000h]
    .put(0xeb, to('count', 1));
  const guest: Guest = {
    more: [[0x8000, starting.finish()]],
    code: new Assembler(BigInt(codeAt))
      .put(store(apic(0x300), 0xc_4500), store(apic(0x300), 0xc_4608))
      .put(0x0f, 0x31, 0x89, 0xc6, 0x81, 0xc6, dword(2_000_000), 0x31, 0xc9) // rdtsc; lea esi, [eax + 2000000]; xor ecx, ecx
      .label('wait')
      .put(0x89, 0xf0, 0x31, 0xd2, 0x66, 0x0f, 0xae, 0xf1) // mov eax, esi; xor edx, edx; tpause ecx
      .put(0x0f, 0x31, 0x39, 0xf0, 0x72, to('wait', 1)) // rdtsc; cmp eax, esi; jb wait
      .put(0x29, 0xf0, show, 0xc1, 0xe8, 8, show) // how late
      .put(0xa1, dword(0x7000), show, 0xc1, 0xe8, 8, show, 0xc1, 0xe8, 8, show)
      .put(powerOff, 0xf4),
  };
  const runs = new Set<string>();
  for (const [engine, slice] of [
    ['interpreter', undefined],
    ['interpreter', 997],
    ['jit', undefined],
    ['auto', 4999],
  ] as const) {
    const { output, end } = await start(guest, engine, 2);
    assert.deepEqual(await end(slice), { reason: 'power-off' });
    runs.add(output.join());
    const late = output[0]! | (output[1]! << 8);
    const counted = output[2]! | (output[3]! << 8) | (output[4]! << 16);
    assert.ok(late < 40_000, `${late} ns late`);
    assert.ok(counted > 1000, `the other has counted to ${counted}`);
  }
  assert.equal(runs.size, 1);
});

/** Counts how often port 61H is read until counter 2 of the interval timer has run down, in 30 ms. */
const polling = (): Guest => ({
  code: new Assembler(BigInt(codeAt))
    .put(0xb0, 0x01, 0xe6, 0x61) // gate of counter 2
    .put(0xb0, 0xb0, 0xe6, 0x43, 0xb0, 0xdc, 0xe6, 0x42, 0xb0, 0x8b, 0xe6, 0x42) // mode 0, 35804 clocks
    .put(0x31, 0xdb, 0x0f, 0x31, 0x89, 0xc6) // xor ebx, ebx; rdtsc; mov esi, eax
    .label('poll')
    .put(0x43, 0xe4, 0x61, 0xe6, 0x80) // inc ebx; in al, 61h; out 80h, al
    .put(0xa8, 0x20, 0x74, to('poll', 1)) // test al, 20h; jz poll
    .put(0x0f, 0x31, 0x29, 0xf0, 0x89, 0xc6, 0x89, 0xd8) // rdtsc; sub eax, esi; mov esi, eax; mov eax, ebx
    .put(show, 0xc1, 0xe8, 8, show, 0xc1, 0xe8, 8, show)
    .put(0x89, 0xf0, show, 0xc1, 0xe8, 8, show, 0xc1, 0xe8, 8, show, 0xc1, 0xe8, 8, show)
    .put(powerOff, 0xf4),
});

test('polling the interval timer takes the time that it says, in as many accesses as on a bus', async () => {
  for (const engine of ['interpreter', 'jit'] as const) {
    const { output, end } = await start(polling(), engine);
    assert.deepEqual(await end(), { reason: 'power-off' });
    const polls = output[0]! | (output[1]! << 8) | (output[2]! << 16);
    const nanos = output[3]! | (output[4]! << 8) | (output[5]! << 16) | (output[6]! << 24);
    assert.ok(Math.abs(nanos - 30_006_000) < 10_000, `${engine}: ${nanos} ns`);
    assert.equal(Math.round((nanos / polls) * 100) / 100, 2 * 750 + 5, `${engine}: ${polls} polls in ${nanos} ns`);
  }
});

/** The first processor starts the others, and all add to one word under LOCK. */
const together = (others: number): Guest => {
  const starting = new Assembler(0x8000n)
    .put(0x31, 0xc0, 0x8e, 0xd8) // xor ax, ax; mov ds, ax
    .put(0xf0, 0xff, 0x06, 0x00, 0x70) // lock inc word [7000h]
    .label('spin')
    .put(0x83, 0x3e, 0x02, 0x70, 1) // cmp word [7002h], 1
    .put(0x75, to('spin', 1))
    .put(0xb9, 0xe8, 0x03) // mov cx, 1000
    .label('add')
    .put(0xf0, 0x83, 0x06, 0x04, 0x70, 1) // lock add word [7004h], 1
    .put(0xe2, to('add', 1)) // loop
    .put(0xf0, 0xff, 0x06, 0x06, 0x70)
    .put(0xf4);
  return {
    more: [[0x8000, starting.finish()]],
    code: new Assembler(BigInt(codeAt))
      .put(store(apic(0x300), 0xc_4500)) // INIT to all others
      .put(store(apic(0x300), 0xc_4608)) // start-up at 8000H
      .label('wait')
      .put(0x66, 0x83, 0x3d, dword(0x7000), others)
      .put(0x75, to('wait', 1))
      .put(store(0x7002, 1))
      .put(0xb9, dword(1000))
      .label('add')
      .put(0x66, 0xf0, 0x83, 0x05, dword(0x7004), 1)
      .put(0xe2, to('add', 1))
      .label('last')
      .put(0x66, 0x83, 0x3d, dword(0x7006), others)
      .put(0x75, to('last', 1))
      .put(0xa1, dword(0x7004), show, 0xc1, 0xe8, 8, show)
      .put(powerOff)
      .put(0xf4),
  };
};

test('start-up messages wake processors, and LOCK holds between them', async () => {
  for (const engine of ['interpreter', 'jit'] as const) {
    for (const cpus of [2, 5]) {
      const { output, end, machine } = await start(together(cpus - 1), engine, cpus);
      assert.deepEqual(await end(), { reason: 'power-off' });
      assert.equal(output[0]! | (output[1]! << 8), 1000 * cpus);
      assert.ok(machine.instructions() > 2000 * cpus);
    }
  }
});

/** One processor changes code that the other runs: an INC becomes a DEC. */
test('code that another processor writes is executed as it is then', async () => {
  const starting = new Assembler(0x8000n)
    .put(0x31, 0xc0, 0x8e, 0xd8)
    .label('spin')
    .put(0x66, 0x81, 0x3e, 0x00, 0x70, dword(5000)) // cmp dword [7000h], 5000
    .put(0x72, to('spin', 1))
    .put(0xb8, 0x00, 0x90, 0x8e, 0xd8) // mov ds, 9000h
    .put(0xc6, 0x06, 0x00, 0x00, 0x4b) // mov byte [0], dec ebx
    .put(0xf4);
  const guest: Guest = {
    more: [
      [0x8000, starting.finish()],
      [0x9_0000, Uint8Array.of(0x43, 0xc3)], // inc ebx; ret
    ],
    code: new Assembler(BigInt(codeAt))
      .put(store(apic(0x300), 0xc_4500), store(apic(0x300), 0xc_4608))
      .put(0xb9, dword(0x9_0000)) // mov ecx, 90000h
      .label('loop')
      .put(0xff, 0xd1) // call ecx
      .put(0xff, 0x05, dword(0x7000))
      .put(0x85, 0xdb) // test ebx, ebx
      .put(0x75, to('loop', 1))
      .put(powerOff)
      .put(0xf4),
  };
  for (const engine of ['interpreter', 'jit'] as const) {
    const { end } = await start(guest, engine, 2);
    assert.deepEqual(await end(), { reason: 'power-off' }, engine);
  }
});

test('the interval timer interrupts through the 8259s', async () => {
  const guest: Guest = {
    vectors: { 32: 'tick' },
    code: new Assembler(BigInt(codeAt))
      .put(loadIdt)
      .put(out(0x20, 0x11), out(0x21, 0x20), out(0x21, 4), out(0x21, 1), out(0x21, 0xfe))
      .put(out(0x43, 0x34), out(0x40, 0x00), out(0x40, 0x10))
      .put(0xfb)
      .label('sleep')
      .put(0xf4, 0x83, 0x3d, counter, 3, 0x72, to('sleep', 1))
      .put(powerOff, 0xf4)
      .label('tick')
      .put(0xb0, 0x2e, show, 0xff, 0x05, counter, out(0x20, 0x20), 0xcf),
  };
  const { output, end, machine } = await start(guest, 'interpreter');
  assert.deepEqual(await end(), { reason: 'power-off' });
  assert.equal(String.fromCharCode(...output), '...');
  assert.ok(machine.instructions() < 200, 'HLT goes on to the next interrupt');
});

test("with the host's clock a HLT sleeps until the timer rings", async () => {
  const guest: Guest = {
    vectors: { 48: 'tick' },
    code: new Assembler(BigInt(codeAt))
      .put(loadIdt)
      .put(store(apic(0xf0), 0x1ff), store(apic(0x3e0), 0xb), store(apic(0x320), 0x30))
      .put(store(apic(0x380), 50_000_000)) // 50 ms
      .put(0xfb, 0xf4)
      .put(powerOff, 0xf4)
      .label('tick')
      .put(store(apic(0xb0), 0), 0xcf),
  };
  const { end, machine } = await start(guest, 'interpreter', 1, 'host');
  const started = nodeHost.monotonicNanos();
  assert.deepEqual(await end(), { reason: 'power-off' });
  assert.ok(nodeHost.monotonicNanos() - started >= 49e6);
  assert.ok(machine.instructions() < 50);
});

test('a run ends with a reset, a halt for ever, the exit port, a triple fault', async () => {
  const ends: readonly [RunEnd['reason'], readonly number[]][] = [
    ['reset', [0x66, 0xba, 0xf9, 0x0c, 0xb0, 0x06, 0xee, 0xf4]],
    ['reset', [0xb0, 0xfe, 0xe6, 0x64, 0xf4]],
    ['halt', [0xfa, 0xf4]],
    ['exit', [0x66, 0xba, 0xf4, 0x00, 0xb0, 0x03, 0xee, 0xf4]],
    ['shutdown', [0x0f, 0x0b]],
  ];
  for (const [reason, bytes] of ends) {
    const { end } = await start({ code: new Assembler(BigInt(codeAt)).put(bytes) }, 'interpreter');
    assert.equal((await end()).reason, reason, bytes.join(' '));
  }
});

test('more memory than lies below the devices is refused by name', async () => {
  await assert.rejects(
    createPcMachine(
      {
        memory: 0xff00_0000,
        cpus: 1,
        engine: 'interpreter',
        x87: 'exact',
        cache: null,
        serial: () => {},
        debugcon: () => {},
      },
      nodeHost,
    ),
    /memory of 4278190080 bytes: a PC has at most/,
  );
});
