/**
 * Accesses of memory that is none, as a processor makes them: of how many bytes, and each of them once, whatever the
 * instruction does besides. Rows 2, 12 to 15 of the VM API.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AccessSize, Device } from '../../runtime/devices/device.ts';
import { EventCounter } from '../../runtime/io/event-counter.ts';
import { PASSED } from '../../runtime/io/io-parts.ts';
import { DeviceServer } from '../../runtime/remote/device-server.ts';
import { RemoteDevice } from '../../runtime/remote/remote-device.ts';
import { transportPair } from '../../runtime/remote/transport.ts';
import type { MmioExit } from '../../runtime/vm/exits.ts';
import type { Vm } from '../../runtime/vm/vm.ts';
import { assemble } from '../../src/bpf/assemble.ts';
import { Assembler, dword, qword, to } from '../engines/assembler.ts';
import { CR4_SSE, setControl } from '../engines/system-code.ts';
import { guest, origin, testEngines } from './vm-harness.ts';

/** Nobody is there, or a device. */
const FREE = 0xe000_0000;
const DEVICE = 0xd000_0000;
const HLT = 0xf4;
const hex = (n: number | bigint) => n.toString(16);
const asm = () => new Assembler(BigInt(origin));
const sse = setControl(4, CR4_SSE);
const mib = 1 << 20;

/** A device whose every read gives another value, and which notes what it is asked. */
class Counting implements Device {
  readonly name = 'counting';
  readonly log: string[] = [];
  private reads = 0;
  read(offset: number, size: AccessSize): number {
    this.log.push(`r${size} ${hex(offset)}`);
    return ++this.reads;
  }
  write(offset: number, size: AccessSize, value: number): void {
    this.log.push(`w${size} ${hex(offset)}=${hex(value)}`);
  }
}
/** The same with accesses of eight bytes. */
class Wide extends Counting {
  read64(offset: number): bigint {
    this.log.push(`r8 ${hex(offset)}`);
    return 0x8877_6655_4433_2211n;
  }
  write64(offset: number, value: bigint): void {
    this.log.push(`w8 ${hex(offset)}=${hex(value)}`);
  }
}

/** Runs to the HLT; what leaves the guest goes to `log`, and reads are answered. */
function run(vm: Vm, log: string[], answer: (exit: MmioExit) => void = () => {}): void {
  for (let exit = vm.vcpu(0).enter(1_000_000); exit.kind !== 'halt'; exit = vm.vcpu(0).enter(1_000_000)) {
    if (exit.kind === 'pio') {
      log.push(`${exit.write ? 'out' : 'in'}${exit.size} ${hex(exit.port)}${exit.write ? `=${hex(exit.value)}` : ''}`);
      if (!exit.write) exit.value = 0x5a;
      continue;
    }
    assert.equal(exit.kind, 'mmio');
    const { write, size, physical, low, high } = exit as MmioExit;
    const value = size === 8 ? (BigInt(high) << 32n) | BigInt(low) : low;
    log.push(`${write ? 'w' : 'r'}${size} ${hex(physical)}${write ? `=${hex(value)}` : ''}`);
    if (!write) answer(exit as MmioExit);
  }
}
const eightBytes = (exit: MmioExit) => {
  exit.low = 0x1111_0000 + (exit.physical & 0xffff);
  exit.high = 0x2222_0000 + (exit.physical & 0xffff);
};

testEngines('row 2: eight bytes are one access, sixteen are two of eight', (engine) => {
  const code = asm()
    .put(0xbb, dword(FREE), sse)
    .put(0x0f, 0x6f, 0x03, 0x0f, 0x7f, 0x43, 0x40, 0x0f, 0x77) // movq mm0, [ebx]; movq [ebx + 40h], mm0; emms
    .put(0xf3, 0x0f, 0x7e, 0x4b, 0x08, 0x66, 0x0f, 0xd6, 0x4b, 0x48) // movq xmm1, [ebx + 8]; movq [ebx + 48h], xmm1
    .put(0xf3, 0x0f, 0x6f, 0x53, 0x13, 0xf3, 0x0f, 0x7f, 0x53, 0x53) // movdqu xmm2, [ebx + 13h]; movdqu [ebx + 53h], xmm2
    .put(0xdd, 0x43, 0x20, 0xdd, 0x5b, 0x60) // fld qword [ebx + 20h]; fstp qword [ebx + 60h]
    .put(0xdb, 0x6b, 0x30, 0xdb, 0x7b, 0x70, HLT) // fld tbyte [ebx + 30h]; fstp tbyte [ebx + 70h]
    .finish();
  const log: string[] = [];
  run(guest(engine, code), log, eightBytes);
  assert.deepEqual(log, [
    'r8 e0000000',
    'w8 e0000040=2222000011110000',
    'r8 e0000008',
    'w8 e0000048=2222000811110008',
    'r8 e0000013',
    'r8 e000001b',
    'w8 e0000053=2222001311110013',
    'w8 e000005b=2222001b1111001b',
    'r8 e0000020',
    'w8 e0000060=2222002011110020',
    'r8 e0000030',
    'r2 e0000038',
    'w8 e0000070=2222003011110030',
    'w2 e0000078=38',
  ]);
});

testEngines('row 2: in 64-bit mode MOV, PUSH, XCHG and CMPXCHG reach eight bytes at once', (engine) => {
  const code = asm()
    .put(0x48, 0xbb, qword(BigInt(FREE))) // mov rbx, FREE
    .put(0x48, 0x8b, 0x03, 0x48, 0x89, 0x43, 0x08) // mov rax, [rbx]; mov [rbx + 8], rax
    .put(0x48, 0x87, 0x43, 0x10) // xchg rax, [rbx + 10h]
    .put(0xff, 0x73, 0x20, 0x59) // push qword [rbx + 20h]; pop rcx
    .put(0x48, 0xab, 0x48, 0xa5, HLT) // stosq; movsq
    .finish();
  const vm = guest(engine, code, { mode: 'long' });
  const state = vm.vcpu(0).fields;
  state.set64('rdi', BigInt(FREE + 0x100));
  state.set64('rsi', BigInt(FREE + 0x200));
  const log: string[] = [];
  run(vm, log, eightBytes);
  assert.deepEqual(log, [
    'r8 e0000000',
    'w8 e0000008=2222000011110000',
    'r8 e0000010',
    'w8 e0000010=2222000011110000',
    'r8 e0000020',
    'w8 e0000100=2222001011110010',
    'r8 e0000200',
    'w8 e0000108=2222020011110200',
  ]);
  assert.equal(state.get64('rcx'), 0x2222_0020_1111_0020n);
});

testEngines('row 2: an access that crosses a page is cut there, in aligned parts', (engine) => {
  const code = asm()
    .put(0xbb, dword(FREE + 0xffd), sse)
    .put(0xf3, 0x0f, 0x7e, 0x03, 0x66, 0x0f, 0xd6, 0x43, 0x01, HLT) // movq xmm0, [ebx]; movq [ebx + 1], xmm0
    .finish();
  const log: string[] = [];
  run(guest(engine, code), log, (exit) => {
    exit.low = 0x4433_2211;
  });
  assert.deepEqual(log, [
    ...['r1 e0000ffd', 'r2 e0000ffe', 'r4 e0001000', 'r1 e0001004'],
    ...['w2 e0000ffe=1111', 'w4 e0001000=33221122', 'w2 e0001004=1144'],
  ]);
});

testEngines('row 2: a device that knows eight bytes gets them at once, another one as two times four', (engine) => {
  const code = asm()
    .put(0xbb, dword(DEVICE), sse)
    .put(0xf3, 0x0f, 0x7e, 0x03, 0x66, 0x0f, 0xd6, 0x43, 0x08) // movq xmm0, [ebx]; movq [ebx + 8], xmm0
    .put(0xf3, 0x0f, 0x7e, 0x43, 0x1c) // movq xmm0, [ebx + 1ch]: the device ends in its middle
    .put(0x66, 0x0f, 0xd6, 0x43, 0x1e, HLT) // movq [ebx + 1eh], xmm0
    .finish();
  for (const device of [new Wide(), new Counting()]) {
    const vm = guest(engine, code);
    vm.io.attach({ space: 'memory', address: DEVICE, length: 0x20 }, device);
    const log: string[] = [];
    run(vm, log, (exit) => {
      exit.low = 0x99;
    });
    const wide = device instanceof Wide;
    assert.deepEqual(device.log, [
      ...(wide ? ['r8 0', 'w8 8=8877665544332211'] : ['r4 0', 'r4 4', 'w4 8=1', 'w4 c=2']),
      'r4 1c',
      ...['w1 1e', 'w1 1f'].map((place, i) => `${place}=${i === 0 ? (wide ? '1' : '3') : '0'}`),
    ]);
    assert.deepEqual(log, ['r4 d0000020', 'w1 d0000020=0', 'w1 d0000021=0', 'w4 d0000022=99']);
  }
});

testEngines('row 12, row 13: doorbells and queued writes of eight bytes', (engine) => {
  const store = [0x66, 0x0f, 0xd6, 0x43]; // movq [ebx + …], xmm0
  const code = asm()
    .put(0xbb, dword(DEVICE), sse, 0xf3, 0x0f, 0x7e, 0x05, dword(0x3000)) // movq xmm0, [3000h]
    .put(store, 0x00, store, 0x08, 0x89, 0x1b, store, 0x10, store, 0x18, HLT) // and mov [ebx], ebx
    .finish();
  const vm = guest(engine, code);
  const value = 0x8000_0001_ffff_fffen;
  vm.physical.write64(0x3000, value);
  const [exact, other, any] = [new EventCounter(), new EventCounter(), new EventCounter()];
  vm.io.event({ space: 'memory', address: DEVICE, length: 8, match: value }, exact);
  vm.io.event({ space: 'memory', address: DEVICE, length: 8, match: value & 0xffff_ffffn }, other);
  vm.io.event({ space: 'memory', address: DEVICE + 8, length: 0 }, any);
  assert.throws(() => vm.io.event({ space: 'port', address: 0x10, length: 8 }, any), { code: 'bad-region' });
  assert.throws(() => vm.io.event({ space: 'memory', address: DEVICE + 64, length: 8, match: 1n << 64n }, any), {
    code: 'bad-option',
  });
  const device = new Wide();
  vm.io.attach({ space: 'memory', address: DEVICE + 0x18, length: 8 }, device);
  vm.io.coalesce({ space: 'memory', address: DEVICE + 0x18, length: 8 });
  const queued: string[] = [];
  vm.io.coalesce({ space: 'memory', address: DEVICE + 0x10, length: 8 }, (writes) => {
    for (let i = 0; i < writes.length; i++)
      queued.push(`${writes.size(i)} ${hex(writes.address(i))} ${hex(writes.value(i))} ${hex(writes.high(i))}`);
  });
  const log: string[] = [];
  run(vm, log);
  assert.deepEqual([exact.take(), other.take(), any.take()], [1, 0, 1]);
  assert.deepEqual(log, ['w4 d0000000=d0000000']);
  assert.deepEqual(queued, ['8 d0000010 fffffffe 80000001']);
  assert.deepEqual(device.log, ['w8 0=80000001fffffffe']);
});

test('row 15: a program gets eight bytes as one access, and answers eight', async () => {
  for (const engine of ['interpreter', 'translation'] as const) {
    const code = asm()
      .put(0xbb, dword(DEVICE), sse)
      .put(0xf3, 0x0f, 0x7e, 0x03, 0x66, 0x0f, 0xd6, 0x43, 0x08) // movq xmm0, [ebx]; movq [ebx + 8], xmm0
      .put(0x66, 0x0f, 0xd6, 0x05, dword(0x3000), HLT) // movq [3000h], xmm0
      .finish();
    const vm = guest(engine, code);
    // Keeps size and value of the last write, and answers reads with address * 2^32 + size.
    const program = assemble(`
      r2 = *(u64 *)(r1 + 24)
      r3 = *(u32 *)(r1 + 32)
      r4 = *(u32 *)(r1 + 36)
      if r4 != 0 goto write
      r5 = *(u64 *)(r1 + 0)
      r5 <<= 32
      r5 |= r3
      *(u64 *)(r1 + 8) = r5
      r0 = 1
      exit
    write:
      r5 = *(u64 *)(r1 + 8)
      *(u64 *)(r2 + 0) = r5
      *(u64 *)(r2 + 8) = r3
      r0 = 1
      exit`);
    const { shared } = await vm.program(
      { space: 'memory', address: DEVICE, length: 16, access: 'read-write' },
      program,
      { shared: 16 },
    );
    const log: string[] = [];
    run(vm, log);
    assert.deepEqual(log, []);
    const answer = (BigInt(DEVICE) << 32n) | 8n;
    assert.equal(vm.physical.read64(0x3000), answer);
    const view = new DataView(shared.buffer, shared.byteOffset);
    assert.deepEqual([view.getBigUint64(0, true), view.getBigUint64(8, true)], [answer, 8n]);
    await vm.close();
  }
});

testEngines('row 14: a device elsewhere gets eight bytes in one message', async (engine) => {
  const code = asm()
    .put(0xbb, dword(DEVICE), sse)
    .put(0xf3, 0x0f, 0x7e, 0x03, 0x66, 0x0f, 0xd6, 0x43, 0x08) // movq xmm0, [ebx]; movq [ebx + 8], xmm0
    .put(0x66, 0x0f, 0xd6, 0x43, 0x10) // movq [ebx + 10h], xmm0: queued
    .put(0x66, 0x0f, 0xd6, 0x05, dword(0x3000), HLT) // movq [3000h], xmm0
    .finish();
  for (const far of [new Wide(), new Counting()]) {
    const [near, other] = transportPair();
    const server = new DeviceServer({ regions: () => [{ device: far, size: 64 }] });
    server.accept(other);
    const remote = await RemoteDevice.connect(near);
    const vm = guest(engine, code);
    vm.remote.attach({ space: 'memory', address: DEVICE, length: 64 }, remote);
    vm.remote.coalesce({ space: 'memory', address: DEVICE + 16, length: 8 });
    for await (const exit of vm.run()) if (exit.kind === 'halt') break;
    await new Promise((resolve) => setTimeout(resolve, 20));
    const wide = far instanceof Wide;
    const [low, high] = wide ? [0x4433_2211, 0x8877_6655] : [1, 2];
    assert.equal(vm.physical.read64(0x3000), (BigInt(high) << 32n) | BigInt(low));
    const parts = [8, 16].flatMap((at) => [`w4 ${hex(at)}=${hex(low)}`, `w4 ${hex(at + 4)}=${hex(high)}`]);
    const whole = [8, 16].map((at) => `w8 ${hex(at)}=8877665544332211`);
    assert.deepEqual(far.log, wide ? ['r8 0', ...whole] : ['r4 0', 'r4 4', ...parts]);
    remote.close();
    server.close();
    await vm.close();
  }
});

/** 32-bit guests whose instructions reach a device and nobody, in this order. ESI and EBX are at the device, EDI at nobody. */
const onceEach: readonly {
  readonly name: string;
  readonly code: readonly (number | readonly number[])[];
  readonly device: readonly string[];
  readonly left: readonly string[];
}[] = [
  {
    name: 'CMPS',
    code: [[0x87, 0xf7], 0xa7], // xchg esi, edi: the operand at edi is read first
    device: ['r4 0'],
    left: ['r4 e0000000'],
  },
  {
    name: 'REPE CMPS',
    code: [
      [0x87, 0xf7],
      [0xb9, ...dword(3)],
      [0xf3, 0xa7],
    ],
    device: ['r4 0', 'r4 4', 'r4 8'],
    left: ['r4 e0000000', 'r4 e0000004', 'r4 e0000008'],
  },
  {
    name: 'MOVS to a page of which the end is nobody’s',
    code: [[0xbf, ...dword(FREE - 2)], 0xa5],
    device: ['r4 0'],
    left: ['w2 dffffffe=1', 'w2 e0000000=0'],
  },
  {
    name: 'PUSH to a stack of which the end is nobody’s',
    code: [
      [0xbc, ...dword(FREE + 2)],
      [0xff, 0x33], // push [ebx]
    ],
    device: ['r4 0'],
    left: ['w2 dffffffe=1', 'w2 e0000000=0'],
  },
  {
    name: 'XCHG over the end of a device',
    code: [[0x87, 0x43, 0x3e]], // xchg eax, [ebx + 3eh]
    device: ['r1 3e', 'r1 3f', 'w1 3e=0', 'w1 3f=0'],
    left: ['r1 d0000040', 'r1 d0000041', 'w1 d0000040=0', 'w1 d0000041=0'],
  },
  {
    name: 'OUTS from a device',
    code: [
      [0xba, ...dword(0x80)],
      [0xb9, ...dword(2)],
      [0xf3, 0x6f], // rep outsd
    ],
    device: ['r4 0', 'r4 4'],
    left: ['out4 80=1', 'out4 80=2'],
  },
  {
    name: 'INS to a device',
    code: [
      [0x87, 0xf7],
      [0xba, ...dword(0x80)],
      [0xb9, ...dword(2)],
      [0xf3, 0x6d], // rep insd
    ],
    device: ['w4 0=5a', 'w4 4=5a'],
    left: ['in4 80', 'in4 80'],
  },
  {
    name: 'PUSHA over the end of a device',
    code: [
      [0xbc, ...dword(DEVICE + 0x50)],
      0x60, // pusha: the first four go to nobody, the last four to the device
    ],
    device: ['w4 3c=0', 'w4 38=0', 'w4 34=d0000000', 'w4 30=e0000000'],
    left: ['w4 d000004c=0', 'w4 d0000048=0', 'w4 d0000044=0', 'w4 d0000040=d0000000'],
  },
];

testEngines('row 2: an access of a device is made once, whatever else its instruction waits for', (engine) => {
  for (const { name, code, device: asked, left } of onceEach) {
    const program = asm().put(0xbb, dword(DEVICE), 0xbe, dword(DEVICE), 0xbf, dword(FREE));
    const vm = guest(engine, program.put(...code, HLT).finish());
    const device = new Counting();
    vm.io.attach({ space: 'memory', address: DEVICE, length: 0x40 }, device);
    const log: string[] = [];
    let answers = 0;
    run(vm, log, (exit) => {
      exit.low = ++answers;
    });
    if (name.startsWith('PUSHA')) {
      // Every word of PUSHA is an access of its own; which registers they hold is not what is looked at here.
      const places = (list: readonly string[]) => list.map((line) => line.split('=')[0]);
      assert.deepEqual([places(device.log), places(log)], [places(asked), places(left)], name);
    } else assert.deepEqual([device.log, log], [asked, left], name);
  }
});

testEngines('row 2: a snapshot waits until an instruction that has reached a device is done', (engine) => {
  const code = asm().put(0xbe, dword(FREE), 0xbf, dword(DEVICE), 0xa7, HLT).finish(); // cmpsd
  const vm = guest(engine, code);
  const device = new Counting();
  vm.io.attach({ space: 'memory', address: DEVICE, length: 0x40 }, device);
  const exit = vm.vcpu(0).enter();
  assert.equal(exit.kind, 'mmio');
  assert.throws(() => vm.snapshot(), { code: 'access-pending' });
  (exit as MmioExit).low = 1;
  assert.equal(vm.vcpu(0).enter().kind, 'halt');
  assert.deepEqual(device.log, ['r4 0']);
  vm.snapshot();
});

testEngines('row 2: an access is made once where the embedder watches what follows it', (engine) => {
  const code = asm().put(0xbe, dword(0x3000), 0xbf, dword(DEVICE), 0xa7, 0x90, HLT).finish(); // cmpsd
  const vm = guest(engine, code);
  const device = new Counting();
  vm.io.attach({ space: 'memory', address: DEVICE, length: 0x40 }, device);
  vm.vcpu(0).debug.set({ watchpoints: [{ address: 0x3000, length: 4, kind: 'access' }] });
  assert.equal(vm.vcpu(0).enter().kind, 'debug');
  assert.equal(vm.vcpu(0).enter().kind, 'halt');
  assert.deepEqual(device.log, ['r4 0']);
});

testEngines('row 6: an access is made once where a page cannot be had that follows it', (engine) => {
  const code = asm()
    .put(0xbe, dword(DEVICE), 0xbf, dword(2 * mib), 0xa5, HLT)
    .finish(); // movsd
  const vm = guest(engine, code, { memory: 4 * mib });
  const device = new Counting();
  vm.io.attach({ space: 'memory', address: DEVICE, length: 0x40 }, device);
  let fails = true;
  const fill = () => {
    if (fails) throw new Error('not now');
  };
  vm.memory.replace([
    { kind: 'ram', start: 0, length: 2 * mib, backing: 0 },
    { kind: 'lazy', start: 2 * mib, length: mib, backing: 2 * mib, fill },
  ]);
  assert.throws(() => vm.vcpu(0).enter(), /not now/);
  assert.throws(() => vm.vcpu(0).enter(), /not now/);
  fails = false;
  assert.equal(vm.vcpu(0).enter().kind, 'halt');
  assert.equal(vm.physical.read32(2 * mib), 1);
  assert.deepEqual(device.log, ['r4 0']);
});

testEngines('row 2: OUT over ports of several owners is done once, the instruction pointer with it', (engine) => {
  const code = asm()
    .put(0xba, dword(0x80), 0xb8, dword(0x4433_2211), 0xef, 0xed, 0x40, HLT) // out dx, eax; in eax, dx; inc eax
    .finish();
  const vm = guest(engine, code);
  const device = new Counting();
  vm.io.attach({ space: 'port', address: 0x81, length: 1 }, device);
  const log: string[] = [];
  run(vm, log);
  assert.deepEqual(device.log, ['w1 0=22', 'r1 0']);
  const reads = ['in1 80', 'in1 82', 'in1 83'];
  assert.deepEqual(log, ['out1 80=11', 'out1 82=33', 'out1 83=44', ...reads]);
  assert.equal(vm.vcpu(0).fields.get32('rax') >>> 0, 0x5a5a_015b);
});

testEngines('row 2: what a device accesses itself is no access of the instruction', (engine) => {
  const code = asm().put(0xbe, dword(DEVICE), 0xbf, dword(FREE), 0xa5, HLT).finish(); // movsd
  const vm = guest(engine, code);
  const inner = new Counting();
  vm.io.attach({ space: 'memory', address: DEVICE + 0x100, length: 4 }, inner);
  vm.io.attach(
    { space: 'memory', address: DEVICE, length: 4 },
    {
      name: 'outer',
      read: () => vm.io.memory.read(DEVICE + 0x100, 4) + vm.io.memory.read(FREE + 0x100, 1),
      write: () => {},
    },
  );
  const log: string[] = [];
  run(vm, log);
  assert.deepEqual([inner.log, log], [['r4 0'], ['w4 e0000000=100']]);
});

testEngines('row 15: a program is asked once for each access that it passes on', (engine) => {
  for (const [name, code] of [
    ['in', [0xe4, 0x10]],
    ['out', [0xe6, 0x10]],
    ['load', [0xa1, ...dword(FREE)]],
    ['store', [0xa3, ...dword(FREE)]],
  ] as const) {
    const vm = guest(engine, asm().put(0xb9, dword(10)).label('a').put(code, 0x49, 0x75, to('a', 1), HLT).finish());
    let asked = 0;
    const handler = { name: 'passes', read: () => ++asked * 0 + PASSED, write: () => ++asked < 0 };
    vm.io.attachProgram({ space: 'port', address: 0x10, length: 1 }, 'read-write', handler);
    vm.io.attachProgram({ space: 'memory', address: FREE, length: 4 }, 'read-write', handler);
    const log: string[] = [];
    run(vm, log);
    assert.deepEqual([name, log.length, asked], [name, 10, 10]);
  }
});

testEngines('row 15: a program answers once in an instruction whose other access leaves the guest', async (engine) => {
  const counting = `
    r2 = *(u64 *)(r1 + 24)
    r3 = *(u32 *)(r2 + 0)
    r3 += 1
    *(u32 *)(r2 + 0) = r3
    *(u64 *)(r1 + 8) = r3
    r0 = 1
    exit`;
  const rounds = 1000;
  for (const [esi, edi, code] of [
    [DEVICE, FREE, 0xa5], // movsd to nobody
    [FREE, DEVICE, 0xa7], // cmpsd, which reads at edi first
  ] as const) {
    const again = asm().put(0xb9, dword(rounds)).label('a').put(0xbe, dword(esi), 0xbf, dword(edi), code);
    const vm = guest(engine, again.put(0x49, 0x75, to('a', 1), HLT).finish());
    const range = { space: 'memory', address: DEVICE, length: 4, access: 'read' } as const;
    const { shared } = await vm.program(range, assemble(counting), { shared: 4 });
    const log: string[] = [];
    run(vm, log);
    assert.equal(log.length, rounds);
    assert.equal(new DataView(shared.buffer, shared.byteOffset).getUint32(0, true), rounds);
    if (code === 0xa5) assert.equal(log.at(-1), `w4 ${hex(FREE)}=${hex(rounds)}`, 'what it answered arrives');
    await vm.close();
  }
});
