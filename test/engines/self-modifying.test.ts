/**
 * Code that changes while it runs, in the interpreter and in translations, whole and in slices: what was written is what is
 * executed next, and what was not overwritten is not translated again.
 */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Guest, type GuestKind } from '../../runtime/lockstep/guest.ts';
import { Lockstep } from '../../runtime/lockstep/lockstep.ts';
import { guestKinds } from '../../runtime/lockstep/program-fuzzer.ts';
import type { Item } from '../../runtime/lockstep/program-items.ts';
import { Assembler, at, dword, to } from './assembler.ts';
import { vmModules } from './modules.ts';

const CODE = 0x20000000;
const DATA = 0x30001000;
const kind: GuestKind = { mode: '32', cpl: 0, paging: '32-bit', code: BigInt(CODE), data: BigInt(DATA) };
const HLT = 0xf4;

/** Ways to run: who translates, and instructions to each entry of the vCPU. */
const ways = [
  ['never', [1_000_000, 7]],
  ['first', [1_000_000]],
  ['hot', [1_000_000, 1, 64]],
] as const;

/** Runs a program to its HLT in both engines, whole and in slices, and looks at each result. */
function everyWay(build: (guest: Guest) => Assembler, check: (guest: Guest, way: string) => void): void {
  for (const [translate, slices] of ways) {
    const guest = new Guest(kind, translate, vmModules());
    for (const slice of slices) {
      guest.reset();
      const program = build(guest);
      guest.write('code', 0, program.finish());
      guest.vcpu.fields.set64('rip', program.origin);
      guest.vcpu.fields.set64('rsp', BigInt(DATA + 0x3800));
      let instructions = 0;
      while (!guest.run(slice)) assert.ok((instructions += slice) < 3_000_000, 'the guest does not end');
      const way = `translated ${translate}, slices of ${slice}`;
      assert.ok(rip(guest) >= CODE, `${way}: ended at ${rip(guest).toString(16)}`);
      check(guest, way);
    }
  }
}
const rip = (guest: Guest): number => Number(guest.vcpu.fields.get64('rip'));
const register = (guest: Guest, name: string): number => Number(BigInt.asUintN(32, guest.vcpu.fields.get64(name)));
const program = (): Assembler => new Assembler(BigInt(CODE));
const expect = (name: string, value: number) => (guest: Guest, way: string) =>
  assert.equal(register(guest, name), value, way);

test('a store into the next instruction of the same block is executed as written', () => {
  everyWay(
    () =>
      program()
        .put(0xb9, dword(200)) // mov ecx, 200
        .put(0x31, 0xdb) // xor ebx, ebx
        .label('loop')
        .put(0x88, 0x0d, at('next', 1)) // mov [next + 1], cl
        .label('next')
        .put(0xb0, 0x11) // mov al, 0x11
        .put(0x0f, 0xb6, 0xc0) // movzx eax, al
        .put(0x01, 0xc3) // add ebx, eax
        .put(0x49) // dec ecx
        .put(0x0f, 0x85, to('loop'))
        .put(HLT),
    expect('rbx', (200 * 201) / 2),
  );
});

test('an addition to the next instructions leaves its flags to them', () => {
  everyWay(
    () =>
      program()
        .put(0xbe, dword(50)) // mov esi, 50
        .put(0x31, 0xdb) // xor ebx, ebx
        .label('loop')
        .put(0xc7, 0x05, at('later', 1), dword(5)) // mov dword [later + 1], 5
        .put(0xb9, dword(0xffff_ffff)) // mov ecx, -1
        .put(0x31, 0xc0) // xor eax, eax
        .put(0xeb, to('changes', 1))
        .label('changes')
        .put(0x01, 0x0d, at('later', 1)) // add [later + 1], ecx: carries
        .put(0x83, 0xd3, 0) // adc ebx, 0
        .label('later')
        .put(0xb8, dword(5)) // mov eax, 5
        .put(0x01, 0xc3) // add ebx, eax
        .put(0x4e) // dec esi
        .put(0x0f, 0x85, to('loop'))
        .put(HLT),
    expect('rbx', 50 * (1 + 4)),
  );
});

test('a push over the next instruction is executed as pushed', () => {
  everyWay(
    () =>
      program()
        .put(0xb9, dword(50)) // mov ecx, 50
        .put(0x31, 0xdb) // xor ebx, ebx
        .label('loop')
        .put(0xbc, at('next', 5)) // mov esp, next + 5
        .put(0x51) // push ecx
        .label('next')
        .put(0xb8, dword(0x1234)) // mov eax, 0x1234
        .put(0x01, 0xc3) // add ebx, eax
        .put(0x49) // dec ecx
        .put(0x0f, 0x85, to('loop'))
        .put(HLT),
    expect('rbx', (50 * 51) / 2),
  );
});

test('a function that was called often is patched and called again', () => {
  everyWay(
    () =>
      program()
        .put(0x31, 0xdb) // xor ebx, ebx
        .put(0xbe, dword(3)) // mov esi, 3
        .label('outer')
        .put(0xb9, dword(300)) // mov ecx, 300
        .label('loop')
        .put(0xe8, to('function'))
        .put(0x01, 0xc3) // add ebx, eax
        .put(0x49) // dec ecx
        .put(0x0f, 0x85, to('loop'))
        .put(0x80, 0x05, at('function', 1), 10) // add byte [function + 1], 10
        .put(0x4e) // dec esi
        .put(0x0f, 0x85, to('outer'))
        .put(HLT)
        .pad(0x800)
        .label('function')
        .put(0xb8, dword(1)) // mov eax, 1
        .put(0xc3),
    expect('rbx', 300 * (1 + 11 + 21)),
  );
});

test('a function that patches its caller returns into the new code', () => {
  everyWay(
    () =>
      program()
        .put(0x31, 0xdb) // xor ebx, ebx
        .put(0xb9, dword(300)) // mov ecx, 300
        .label('loop')
        .put(0xe8, to('function'))
        .label('patched')
        .put(0xb8, dword(0)) // mov eax, 0
        .put(0x01, 0xc3) // add ebx, eax
        .put(0x49) // dec ecx
        .put(0x0f, 0x85, to('loop'))
        .put(HLT)
        .pad(0x1100) // on another page
        .label('function')
        .put(0xf7, 0xc1, dword(63)) // test ecx, 63: store every 64th time
        .put(0x75, 6) // jnz over the store
        .put(0x89, 0x0d, at('patched', 1)) // mov [patched + 1], ecx
        .put(0xc3),
    // From 300 to 257 nothing is added; from 256 on, 64 times each multiple of 64.
    expect('rbx', 64 * (256 + 192 + 128 + 64)),
  );
});

test('a counter on the page of the code that counts costs no translation', () => {
  everyWay(
    () =>
      program()
        .put(0xb9, dword(2000)) // mov ecx, 2000
        .label('loop')
        .put(0xff, 0x05, at('counter')) // inc dword [counter]
        .put(0x49) // dec ecx
        .put(0x0f, 0x85, to('loop'))
        .put(0xa1, at('counter')) // mov eax, [counter]
        .put(HLT)
        .label('counter')
        .put(dword(0)),
    (guest, way) => {
      assert.equal(register(guest, 'rax'), 2000, way);
      const statistics = guest.vm.translators[0]?.statistics;
      assert.equal(statistics?.invalidated ?? 0, 0, way);
    },
  );
});

test('code that is written and called in a loop is executed as written', () => {
  everyWay(
    () =>
      program()
        .put(0x31, 0xdb) // xor ebx, ebx
        .put(0xb9, dword(300)) // mov ecx, 300
        .put(0xbf, dword(DATA + 0x100)) // mov edi, DATA + 0x100
        .label('loop')
        .put(0xc6, 0x07, 0xb8) // mov byte [edi], 0xb8: mov eax,
        .put(0x89, 0x4f, 1) // mov [edi + 1], ecx
        .put(0xc6, 0x47, 5, 0xc3) // mov byte [edi + 5], 0xc3: ret
        .put(0xff, 0xd7) // call edi
        .put(0x01, 0xc3) // add ebx, eax
        .put(0x49) // dec ecx
        .put(0x0f, 0x85, to('loop'))
        .put(HLT),
    expect('rbx', (300 * 301) / 2),
  );
});

/** Two functions on physical pages of their own, at the same linear address by turns. */
function remapped(change: (guest: Guest, assembler: Assembler) => Assembler) {
  return (guest: Guest): Assembler => {
    guest.write('code', 0x2000, Uint8Array.of(0xb8, 1, 0, 0, 0, 0xc3)); // mov eax, 1; ret
    guest.write('code', 0x3000, Uint8Array.of(0xb8, 100, 0, 0, 0, 0xc3)); // mov eax, 100; ret
    const assembler = program()
      .put(0x31, 0xdb) // xor ebx, ebx
      .put(0xb9, dword(200)) // mov ecx, 200
      .label('loop')
      .put(0xe8, to('function')) // the page at 0x2000
      .put(0x01, 0xc3); // add ebx, eax
    return change(guest, assembler)
      .put(0x49) // dec ecx
      .put(0x0f, 0x85, to('loop'))
      .put(HLT);
  };
}
/** A label at the third code page. */
const withFunction = (build: (guest: Guest) => Assembler) => (guest: Guest) => {
  const assembler = build(guest).pad(0x2000).label('function');
  return assembler.put(0xb8, dword(1), 0xc3);
};

test('a page that is remapped to other code with INVLPG is executed as mapped', () => {
  everyWay(
    withFunction(
      remapped((guest, assembler) => {
        const entry = guest.pageEntry(kind.code + 0x2000n);
        const difference = guest.physical('code', 0x2000) ^ guest.physical('code', 0x3000);
        return assembler
          .put(0x81, 0x35, dword(entry), dword(difference)) // xor dword [entry], difference
          .put(0x0f, 0x01, 0x3d, at('function')); // invlpg [function]
      }),
    ),
    expect('rbx', 100 * 1 + 100 * 100),
  );
});

test('a page that another CR3 maps to other code is executed as mapped', () => {
  everyWay(
    withFunction(
      remapped((guest, assembler) => {
        const [directory, table] = [0x30000, 0x31000];
        const { ram } = guest.vm;
        const view = new DataView(ram.buffer, ram.byteOffset, ram.byteLength);
        const { cr3 } = guest.machine;
        const entry = guest.pageEntry(kind.code + 0x2000n);
        ram.copyWithin(directory, cr3, cr3 + 4096);
        ram.copyWithin(table, entry & ~0xfff, (entry & ~0xfff) + 4096);
        view.setUint32(directory + (CODE >>> 22) * 4, table | 7, true);
        view.setUint32(table + (entry & 0xfff), guest.physical('code', 0x3000) | 3, true);
        return assembler
          .put(0x0f, 0x20, 0xd8) // mov eax, cr3
          .put(0x35, dword(cr3 ^ directory)) // xor eax, ...
          .put(0x0f, 0x22, 0xd8); // mov cr3, eax
      }),
    ),
    expect('rbx', 100 * 1 + 100 * 100),
  );
});

test('an instruction across two pages is executed as its second page is rewritten', () => {
  everyWay(
    () =>
      program()
        .put(0x31, 0xdb) // xor ebx, ebx
        .put(0xb9, dword(200)) // mov ecx, 200
        .put(0xe9, to('loop'))
        .pad(0xff0)
        .label('loop')
        .put(0x89, 0x0d, at('crossing', 2)) // mov [crossing + 2], ecx
        .pad(0xffe)
        .label('crossing')
        .put(0x81, 0xc3, dword(0)) // add ebx, 0: its number is on the next page
        .put(0x49) // dec ecx
        .put(0x0f, 0x85, to('loop'))
        .put(HLT),
    expect('rbx', (200 * 201) / 2),
  );
});

test('REP MOVS over the code that follows it, and over itself, ends in what was copied', () => {
  everyWay(
    (guest) => {
      const copy = program()
        .put(0xbe, dword(DATA)) // mov esi, DATA
        .put(0xbf, at('target')) // mov edi, target
        .put(0xb9, dword(16)) // mov ecx, 16
        .put(0xfc) // cld
        .put(0xf3, 0xa4) // rep movsb
        .label('target')
        .put(0xb8, dword(1)) // mov eax, 1: becomes mov eax, 2
        .put(HLT)
        .pad(0x100);
      guest.write('data', 0, Uint8Array.of(0xb8, 2, 0, 0, 0, HLT, ...Array<number>(10).fill(0x90)));
      return copy;
    },
    expect('rax', 2),
  );
});

test('code that a device overwrites is executed as written', () => {
  for (const translate of ['never', 'first'] as const) {
    const guest = new Guest(kind, translate, vmModules());
    guest.reset();
    const loop = program()
      .label('loop')
      .put(0xb8, dword(1)) // mov eax, 1
      .put(0xe9, to('loop'));
    guest.write('code', 0, loop.finish());
    guest.vcpu.fields.set64('rip', loop.origin);
    assert.equal(guest.run(1000), false);
    guest.vm.physical.writeBytes(guest.physical('code', 1), Uint8Array.of(2));
    assert.equal(guest.run(2), false);
    assert.equal(register(guest, 'rax'), 2);
  }
});

test('a block that overwrites itself has executed as many instructions as it has, whatever comes after the store', () => {
  const long = guestKinds('64').find(({ cpl }) => cpl === 0)!;
  const lockstep = new Lockstep(long, vmModules());
  const pointer: Item = {
    bytes: [0x48, 0xbf, 0, 0, 0, 0, 0, 0, 0, 0], // mov rdi, start
    fix: { kind: 'absolute', at: 2, size: 8, end: 0, to: 0, plus: 1 },
  };
  const items = [
    pointer,
    { bytes: [0x80, 0x37, 0x10], fix: null }, // xor byte [rdi], 0x10
    { bytes: [0x48, 0xf6, 0xc0, 0x80], fix: null }, // test al, 0x80: its flags are never read, so nothing is left of it
    { bytes: [0x02, 0xc3], fix: null }, // add al, bl, and INT3 behind it
  ];
  const registers = new BigUint64Array(16);
  registers[4] = long.data + 0x3800n;
  const program = {
    kind: long,
    blocks: [items],
    start: 0x500,
    registers,
    xmm: new Uint8Array(256),
    upperHalves: new Uint8Array(256),
    mxcsr: 0x1f80,
    x87: { fcw: 0x37f, fsw: 0, ftw: 0, registers: new Uint8Array(128) },
    flags: 0,
    data: new Uint8Array(8 * 4096),
  };
  for (let point = 1; point <= 7; point++) {
    const plan = { points: [point], stops: [], choose: 0, resumes: [] };
    if (lockstep.run(program, plan) !== null) assert.fail(lockstep.report(program, plan));
  }
});
