/**
 * The address space of processors in system-management mode: row 8 of the VM API. A small firmware sets SMM up as SeaBIOS
 * does on a PC with an 82441FX: it copies a first handler to 38000H, where SMBASE is after reset, has it move SMBASE to A0000H
 * by way of the save area, opens SMRAM, copies the handler proper to A8000H, closes SMRAM and locks it. From then on A0000H is
 * video memory for everybody but the handler.
 */
import assert from 'node:assert/strict';
import { ConfigurationError } from '../../runtime/errors.ts';
import type { GuestRegion } from '../../runtime/vm/guest-memory.ts';
import type { Vm } from '../../runtime/vm/vm.ts';
import { Assembler, at, dword, to } from '../engines/assembler.ts';
import { guest, hashOf, origin, type TestEngine, testEngines } from './vm-harness.ts';

const HLT = 0xf4;
const LEGACY = 0xa_0000;
const legacyBytes = 0x2_0000;
/** Where the memory under the video memory lies in the VM's RAM: in the place that it would have had. */
const SMRAM = LEGACY;
const SCREEN = 0x20_0000;
const memoryBytes = 4 << 20;
/** What the guest leaves for the test. */
const RESULTS = 0x9000;

/** An 82441FX's SMRAM register and the ports of the power management's APM, behind ports 0CF8H, 0CFEH, 0B2H and 0B3H. */
class Chipset {
  vm: Vm | null = null;
  register = 0x02;
  status = 0;
  commands = 0;
  /** What everybody sees at A0000H while SMRAM is not open: video memory as a device, or as memory. */
  readonly screen: GuestRegion | null;

  constructor(screen: GuestRegion | null) {
    this.screen = screen;
  }
  read(port: number): number {
    return port === 0xb3 ? this.status : port === 0xcfe ? this.register : 0xff;
  }
  write(port: number, value: number): void {
    if (port === 0xb3) this.status = value;
    if (port === 0xb2) {
      this.commands++;
      this.vm!.vcpu(0).smi();
    }
    if (port !== 0xcfe || (this.register & 0x10) !== 0) return; // D_LCK
    this.register = (value & 0x10) !== 0 ? value & ~0x40 : value;
    this.map();
  }
  map(): void {
    const open = (this.register & 0x40) !== 0;
    const on = (this.register & 0x08) !== 0;
    const smram: GuestRegion = { kind: 'ram', start: LEGACY, length: legacyBytes, backing: SMRAM };
    const { memory } = this.vm!;
    const shown = open ? [smram] : this.screen === null ? [] : [this.screen];
    memory.replace([
      { kind: 'ram', start: 0, length: LEGACY, backing: 0 },
      ...shown,
      { kind: 'ram', start: 0x10_0000, length: memoryBytes - 0x10_0000, backing: 0x10_0000 },
    ]);
    memory.replace(on ? [smram] : [], { space: 'smm' });
  }
}

/** With 32-bit addresses and operands in the 16-bit code of a handler. */
const wide = (...bytes: number[]) => [0x67, 0x66, ...bytes];
const first = [
  ...wide(0x81, 0x3d, ...dword(0x3_fefc), ...dword(0x2_0064)), // cmp dword [3fefch], 20064h: the area's revision
  ...[0x75, 0x0c], // jne: SMBASE stays
  ...wide(0xc7, 0x05, ...dword(0x3_ff00), ...dword(LEGACY)), // mov dword [3ff00h], a0000h
  ...[0xb0, 0x01, 0xe6, 0xb3], // mov al, 1; out b3h, al
  ...[0x0f, 0xaa], // rsm
];
const proper = [
  ...wide(0xff, 0x05, ...dword(LEGACY + 0x10)), // inc dword [a0010h]: how often
  ...wide(0xa1, ...dword(LEGACY)), // mov eax, [a0000h]
  ...wide(0x01, 0x05, ...dword(RESULTS)), // add [RESULTS], eax
  ...wide(0xa1, ...dword(LEGACY + 0x10)), // mov eax, [a0010h]
  ...wide(0xa3, ...dword(LEGACY + 0xfff8)), // mov [save area: RAX], eax
  ...[0x0f, 0xaa], // rsm
];
const SECRET = 0x0101_0001;
const COLOUR = 0x0000_0703;

/** The firmware; then `rounds` times: reads video memory into a sum in EBX, commands an SMI, and sums its answer in EDX. */
const firmware = (rounds: number) =>
  new Assembler(BigInt(origin))
    .put(0xfc, 0xbc, dword(0x8000)) // cld; mov esp, 8000h
    .put(0xbe, at('first'), 0xbf, dword(0x3_8000), 0xb9, dword(first.length), 0xf3, 0xa4) // rep movsb
    .put(0xb0, 0x00, 0xe6, 0xb3, 0xe6, 0xb2) // mov al, 0; out b3h, al; out b2h, al
    .label('wait')
    .put(0xe4, 0xb3, 0x3c, 0x01, 0x75, to('wait', 1)) // in al, b3h; cmp al, 1; jne wait
    .put(0xba, dword(0xcfe), 0xb0, 0x4a, 0xee) // mov edx, 0cfeh; mov al, 4ah; out dx, al: opened
    .put(0xbe, at('proper'), 0xbf, dword(LEGACY + 0x8000), 0xb9, dword(proper.length), 0xf3, 0xa4)
    .put(0xc7, 0x05, dword(LEGACY), dword(SECRET), 0xc7, 0x05, dword(LEGACY + 0x10), dword(0))
    .put(0xb0, 0x0a, 0xee, 0xb0, 0x1a, 0xee) // closed; locked
    .put(0xb0, 0x5a, 0xee) // and not opened again
    .put(0xc7, 0x05, dword(LEGACY), dword(COLOUR)) // mov dword [a0000h], COLOUR
    .put(0x31, 0xdb, 0x31, 0xd2, 0xb9, dword(rounds)) // xor ebx, ebx; xor edx, edx; mov ecx, rounds
    .label('top')
    .put(0x03, 0x1d, dword(LEGACY)) // add ebx, [a0000h]
    .put(0x31, 0xc0, 0xe6, 0xb2) // xor eax, eax; out b2h, al
    .put(0x01, 0xc2) // add edx, eax
    .put(0x49, 0x75, to('top', 1)) // dec ecx; jnz top
    .put(HLT)
    .label('first')
    .put(first)
    .label('proper')
    .put(proper)
    .finish();

function machine(engine: TestEngine, code: Uint8Array, screen: GuestRegion | null) {
  const chipset = new Chipset(screen);
  const vm = guest(engine, code, {
    memory: memoryBytes,
    ports: { read: (port) => chipset.read(port), write: (port, _size, value) => chipset.write(port, value) },
  });
  chipset.vm = vm;
  chipset.map();
  const video = new Uint8Array(legacyBytes);
  const view = new DataView(video.buffer);
  let reads = 0;
  if (screen === null)
    vm.io.attach(
      { space: 'memory', address: LEGACY, length: legacyBytes },
      {
        name: 'video memory',
        read(offset, size) {
          reads++;
          return size === 4 ? view.getUint32(offset, true) : size === 2 ? view.getUint16(offset, true) : video[offset]!;
        },
        write(offset, size, value) {
          for (let i = 0; i < size; i++) video[offset + i] = value >>> (i * 8);
        },
      },
    );
  return { vm, chipset, video, reads: () => reads };
}
const register = (vm: Vm, name: string) => vm.vcpu(0).fields.get32(name) >>> 0;
const word = (vm: Vm, address: number, space: 'normal' | 'smm' = 'normal') =>
  new DataView(vm.memory.read(address, 4, { space }).buffer).getUint32(0, true);

testEngines('row 8: 0xA0000 is video memory outside SMM and SMRAM inside, set up as SeaBIOS does', (engine) => {
  const rounds = 500;
  const { vm, chipset, video, reads } = machine(engine, firmware(rounds), null);
  assert.equal(vm.vcpu(0).enter().kind, 'halt');
  assert.equal(register(vm, 'smbase'), LEGACY);
  assert.equal(chipset.commands, rounds + 1);
  assert.equal(chipset.register, 0x1a, 'closed, locked, on');
  assert.equal(register(vm, 'rbx'), rounds * COLOUR, 'outside: video memory');
  assert.equal(reads(), rounds);
  assert.equal(register(vm, 'rdx'), (rounds * (rounds + 1)) / 2, "what the handler wrote into its save area's RAX");
  assert.equal(word(vm, RESULTS), (rounds * SECRET) % 2 ** 32, 'inside: SMRAM');
  assert.equal(word(vm, LEGACY + 0x10, 'smm'), rounds);
  assert.deepEqual([...video.subarray(0, 4)], dword(COLOUR));
  assert.ok(
    video.subarray(4).every((byte) => byte === 0),
    'nothing of SMRAM was seen by the device',
  );
  // The embedder's accesses follow the maps, too.
  assert.throws(() => vm.memory.read(LEGACY, 4), { code: 'unbacked' });
  assert.equal(word(vm, LEGACY, 'smm'), SECRET);
  assert.equal(word(vm, RESULTS, 'smm'), word(vm, RESULTS), 'elsewhere there is one memory');
  vm.memory.write(LEGACY, Uint8Array.from(dword(1)), { space: 'smm' });
  vm.vcpu(0).fields.set32('halted', 0);
  vm.vcpu(0).smi();
  vm.vcpu(0).enter({ maxInstructions: 6 });
  assert.equal(word(vm, RESULTS), (rounds * SECRET + 1) % 2 ** 32);
});

testEngines(
  'row 8: SMIs at any time, over memory of others at the same place, with code at the same address',
  (engine) => {
    // Where the handler is in SMRAM, the others' memory has a function that adds 3 to EBX; both run again and again.
    const screen: GuestRegion = { kind: 'ram', start: LEGACY, length: legacyBytes, backing: SCREEN };
    const FUNCTION = LEGACY + 0x8000;
    const code = new Assembler(BigInt(origin))
      .put(0xbc, dword(0x8000), 0x31, 0xdb, 0x31, 0xc9) // mov esp, 8000h; xor ebx, ebx; xor ecx, ecx
      .label('top')
      .put(0xb8, dword(FUNCTION), 0xff, 0xd0) // mov eax, FUNCTION; call eax
      .put(0x41, 0xeb, to('top', 1)) // inc ecx; jmp top
      .finish();
    const { vm, chipset } = machine(engine, code, screen);
    // Through the open door: the handler. It leaves EAX alone.
    chipset.write(0xcfe, 0x4a);
    const handler = [
      ...wide(0xff, 0x05, ...dword(LEGACY + 0x10)), // inc dword [a0010h]
      ...wide(0xb9, ...dword(50)).slice(1), // mov ecx, 50
      ...wide(0x01, 0x0d, ...dword(LEGACY + 0x20)), // add [a0020h], ecx
      ...[0x66, 0x49, 0x75, 0xf4], // dec ecx; jnz to the add
      ...[0x0f, 0xaa],
    ];
    vm.memory.write(FUNCTION, Uint8Array.from(handler));
    vm.memory.write(LEGACY + 0x10, new Uint8Array(32));
    chipset.write(0xcfe, 0x1a);
    vm.memory.write(FUNCTION, Uint8Array.of(0x83, 0xc3, 0x03, 0xc3)); // add ebx, 3; ret
    const { fields, cpu } = vm.vcpu(0);
    fields.set32('smbase', LEGACY);
    cpu.stateReplaced();
    const logged = { space: 'smm', start: LEGACY, length: legacyBytes } as const;
    vm.dirty.start(logged);
    vm.dirty.start();
    const into = new Uint32Array(64);
    const pages = (space: 'normal' | 'smm') => [...into.subarray(0, vm.dirty.collect({ space, into }).count)];
    pages('normal');
    let smis = 0;
    for (let slice = 1; slice <= 400; slice++) {
      vm.vcpu(0).enter({ maxInstructions: 3 + ((slice * 7919) % 150) });
      if (fields.get32('smm') !== 0 || slice % 2 === 0) continue;
      assert.deepEqual(
        pages('normal').filter((page) => page >= LEGACY / 4096 && page < 0x100),
        [],
        'nothing of SMRAM',
      );
      pages('smm');
      vm.vcpu(0).smi();
      smis++;
      while (fields.get32('smm') === 0) vm.vcpu(0).enter({ maxInstructions: 1 });
      while (fields.get32('smm') !== 0) vm.vcpu(0).enter({ maxInstructions: 29 });
      assert.deepEqual(pages('smm'), [LEGACY / 4096, LEGACY / 4096 + 15], "the handler's data and the save area");
      // The others' memory at the same place has its own log.
      vm.memory.write(LEGACY + 5 * 4096, Uint8Array.of(slice));
      assert.deepEqual(pages('smm'), []);
      assert.ok(pages('normal').includes(LEGACY / 4096 + 5));
    }
    assert.ok(smis > 100);
    assert.equal(word(vm, LEGACY + 0x10, 'smm'), smis);
    assert.equal(word(vm, LEGACY + 0x20, 'smm'), smis * ((50 * 51) / 2));
    assert.equal(word(vm, LEGACY + 0x10), 0);
    // To the loop's head, where both counts agree.
    const head = BigInt(origin) + 9n;
    while (fields.get64('rip') !== head) vm.vcpu(0).enter({ maxInstructions: 1 });
    assert.equal(register(vm, 'rbx'), register(vm, 'rcx') * 3);
    assert.ok(register(vm, 'rcx') > 1000);
  },
);

testEngines('row 8: memory that both spaces show is one memory, and dirty in both logs', (engine) => {
  const { vm, chipset } = machine(engine, Uint8Array.of(HLT), null);
  chipset.write(0xcfe, 0x4a);
  for (const space of ['normal', 'smm'] as const) vm.dirty.start({ space });
  const into = new Uint32Array(8);
  const pages = (space: 'normal' | 'smm') => [...into.subarray(0, vm.dirty.collect({ space, into }).count)];
  vm.memory.write(LEGACY + 4096, Uint8Array.of(1));
  assert.deepEqual([pages('normal'), pages('smm')], [[0xa1], [0xa1]]);
  vm.memory.write(LEGACY + 4096, Uint8Array.of(2), { space: 'smm' });
  assert.deepEqual(pages('smm'), [0xa1]);
  vm.memory.write(LEGACY + 4096, Uint8Array.of(3));
  assert.deepEqual([pages('normal'), pages('smm')], [[0xa1], [0xa1]]);
  assert.deepEqual([...vm.memory.read(LEGACY + 4096, 1, { space: 'smm' })], [3]);
  // Closed, the normal space's page goes with its last state; SMRAM's stays.
  vm.memory.write(LEGACY, Uint8Array.of(4));
  const normal = vm.memory.regions().filter(({ start }) => start !== LEGACY);
  const { count, pages: removed, backing } = vm.memory.replace(normal);
  assert.deepEqual([count, [...removed], [...backing]], [1, [0xa0], [SMRAM]]);
  assert.deepEqual([pages('normal'), pages('smm')], [[], [0xa0]]);
});

testEngines('row 8: a map of SMRAM that cannot be changes nothing', (engine) => {
  const { vm } = machine(engine, firmware(20), null);
  assert.equal(vm.vcpu(0).enter().kind, 'halt');
  vm.dirty.start({ space: 'smm' });
  vm.memory.write(LEGACY, Uint8Array.of(1), { space: 'smm' });
  const [hash, regions] = [hashOf(vm), vm.memory.regions({ space: 'smm' })];
  const ram = (start: number, length: number, backing = SMRAM): GuestRegion => ({
    kind: 'ram',
    start,
    length,
    backing,
  });
  for (const [code, list] of [
    ['region-overlap', [...regions, ram(LEGACY + legacyBytes - 4096, 4096)]],
    ['bad-region', [ram(LEGACY, legacyBytes, memoryBytes - 4096)]],
    ['bad-region', [ram(LEGACY + 1, 4096)]],
  ] as const) {
    assert.throws(
      () => vm.memory.replace(list, { space: 'smm' }),
      (error: unknown) => error instanceof ConfigurationError && error.code === code,
    );
    assert.deepEqual([hashOf(vm), vm.memory.regions({ space: 'smm' })], [hash, regions]);
  }
  assert.equal(vm.dirty.count({ space: 'smm' }), 1);
  const removed = vm.memory.replace([], { space: 'smm' });
  assert.deepEqual([removed.count, removed.pages[0], removed.backing[0]], [1, 0xa0, SMRAM]);
});
