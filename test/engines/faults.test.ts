/**
 * Faults in the middle of hot code: the guest's handlers repair what was wrong and return, and the instruction is restarted as
 * if it had never begun. Each program runs interpreted, translated at once and translated when hot, whole and in slices.
 */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { codeStart, Guest, type GuestKind, isFlat } from '../../runtime/lockstep/guest.ts';
import { IMAGE } from '../../runtime/lockstep/machine-image.ts';
import { Assembler, at, dword, type Reference, to } from './assembler.ts';
import { vmModules } from './modules.ts';

const HLT = 0xf4;
const ways = [
  ['never', [1_000_000, 7]],
  ['first', [1_000_000, 501]],
  ['hot', [1_000_000, 1, 1000]],
] as const;

type Part = number | readonly number[] | Reference;

/** A program with exception handlers; `put` takes an instruction for the mode at hand. */
interface Programmed {
  readonly code: Assembler;
  /** Labels of handlers by vector. */
  readonly handlers: Readonly<Record<number, string>>;
}

function everyWay(
  kind: GuestKind,
  build: (guest: Guest) => Programmed,
  check: (guest: Guest, way: string) => void,
): void {
  for (const [translate, slices] of ways) {
    const guest = new Guest(kind, translate, vmModules());
    for (const slice of slices) {
      guest.reset();
      const { code, handlers } = build(guest);
      guest.write('code', 0, code.finish());
      for (const [vector, label] of Object.entries(handlers))
        setGate(guest, Number(vector), linearOf(guest, code, label));
      const { fields: state } = guest.vcpu;
      state.set64('rip', code.origin);
      state.set64('rsp', stackTop(kind));
      let instructions = 0;
      while (!guest.run(slice)) assert.ok((instructions += slice) < 3_000_000, 'the guest does not end');
      check(guest, `mode ${kind.mode}, CPL ${kind.cpl}, translated ${translate}, slices of ${slice}`);
    }
  }
}
const stackTop = (kind: GuestKind): bigint => (isFlat(kind.mode) ? kind.data : 0n) + 0x3800n;
const linearOf = (guest: Guest, code: Assembler, label: string): number =>
  Number(guest.kind.code) + Number(code.addressOf(label) - codeStart(guest.kind));
const begin = (kind: GuestKind): Assembler => new Assembler(codeStart(kind));

function setGate(guest: Guest, vector: number, handler: number): void {
  const { ram } = guest.vm;
  const view = new DataView(ram.buffer, ram.byteOffset, ram.byteLength);
  const place = IMAGE.idt + vector * (guest.kind.paging === '4-level' ? 16 : 8);
  view.setUint16(place, handler & 0xffff, true);
  view.setUint16(place + 6, handler >>> 16, true);
}
const register = (guest: Guest, name: string): number => Number(BigInt.asUintN(32, guest.vcpu.fields.get64(name)));
function words(guest: Guest, physical: number, count: number): Uint32Array {
  const { ram } = guest.vm;
  return new Uint32Array(ram.buffer.slice(ram.byteOffset + physical, ram.byteOffset + physical + count * 4));
}

const kinds: readonly GuestKind[] = [
  { mode: '32', cpl: 0, paging: '32-bit', code: 0x20000000n, data: 0x30000000n },
  { mode: '32', cpl: 3, paging: '32-bit', code: 0x20000000n, data: 0x30000000n },
  { mode: '64', cpl: 0, paging: '4-level', code: 0x34500000n, data: 0x34567000n },
  { mode: '64', cpl: 3, paging: '4-level', code: 0x34500000n, data: 0x34567000n },
];

/** Linear address of pages that are mapped on demand: behind the data pages. */
const demanded = (kind: GuestKind): number => Number(kind.data) + 0x10000;
const FRAMES = 0x70000;
const PAGES = 6;

/** `[address]`, with the ModRM's reg field. */
const absolute = (wide: boolean, reg: number, address: number): Part[] =>
  wide ? [(reg << 3) | 4, 0x25, dword(address)] : [(reg << 3) | 5, dword(address)];
/** `[index << shift + address]`, with the ModRM's reg field. */
const scaled = (reg: number, index: number, shift: number, address: number): Part[] => [
  (reg << 3) | 4,
  (shift << 6) | (index << 3) | 5,
  dword(address),
];
const NOTES = 16;

/**
 * A #PF handler: notes CR2, error code and instruction pointer, then maps the page read-only if it was absent, and makes it
 * writable if it was read-only. The data begins with the size of the notes; they stand behind it.
 */
function pageFaultHandler(guest: Guest, code: Assembler): void {
  const wide = guest.kind.mode === '64';
  const data = Number(guest.kind.data);
  const slot = wide ? 8 : 4;
  const table = guest.pageEntry(BigInt(demanded(guest.kind)));
  const shift = wide ? 3 : 2;
  code
    .label('page-fault')
    .put(0x50, 0x51, 0x52) // push eax; push ecx; push edx
    .put(0x0f, 0x20, 0xd0) // mov eax, cr2
    .put(0x8b, ...absolute(wide, 2, data)) // mov edx, [data]
    .put(0x89, 0x82, dword(data + NOTES)) // mov [edx + data + NOTES], eax
    .put(0x8b, 0x4c, 0x24, 3 * slot) // mov ecx, [esp + 3 slots]: the error code
    .put(0x89, 0x8a, dword(data + NOTES + 4)) // mov [edx + data + NOTES + 4], ecx
    .put(0x8b, 0x44, 0x24, 4 * slot) // mov eax, [esp + 4 slots]: the instruction pointer
    .put(0x89, 0x82, dword(data + NOTES + 8)) // mov [edx + data + NOTES + 8], eax
    .put(0x83, ...absolute(wide, 0, data), 12) // add dword [data], 12
    .put(0x0f, 0x20, 0xd0) // mov eax, cr2
    .put(0x89, 0xc2) // mov edx, eax
    .put(0x2d, dword(demanded(guest.kind))) // sub eax, demanded
    .put(0xc1, 0xe8, 12) // shr eax, 12
    .put(0xf6, 0xc1, 1) // test cl, 1
    .put(0x75, to('present', 1)) // jnz present
    .put(0x89, 0xc1) // mov ecx, eax
    .put(0xc1, 0xe1, 12) // shl ecx, 12
    .put(0x81, 0xc1, dword(FRAMES + 5)) // add ecx, FRAMES + 5: present, user
    .put(0x89, ...scaled(1, 0, shift, table)) // mov [table + eax * slot], ecx
    .put(0xeb, to('mapped', 1)) // jmp mapped
    .label('present')
    .put(0x83, ...scaled(1, 0, shift, table), 2) // or dword [table + eax * slot], 2
    .label('mapped')
    .put(0x0f, 0x01, 0x3a) // invlpg [edx]
    .put(0x5a, 0x59, 0x58) // pop edx; pop ecx; pop eax
    .put(...(wide ? [0x48, 0x83, 0xc4, 8, 0x48, 0xcf] : [0x83, 0xc4, 4, 0xcf])); // add esp, 4; iret
}

/** What the handler noted: CR2, error code, instruction pointer, by threes. */
function notes(guest: Guest): number[] {
  const [size] = words(guest, guest.physical('data', 0), 1);
  return [...words(guest, guest.physical('data', NOTES), size! / 4)];
}
const dec = (wide: boolean, index: number): number[] => (wide ? [0xff, 0xc8 + index] : [0x48 + index]);
const name = ({ mode, cpl }: GuestKind) => `mode ${mode}, CPL ${cpl}`;

for (const kind of kinds) {
  const wide = kind.mode === '64';
  const user = kind.cpl === 3 ? 4 : 0;
  const place = demanded(kind);

  test(`pages are mapped on demand and made writable under a hot loop with live flags: ${name(kind)}`, () => {
    const count = PAGES * 1024 - 8;
    let labels!: Assembler;
    everyWay(
      kind,
      (guest) => {
        const code = begin(kind)
          .put(0xbf, dword(place + 16)) // mov edi, place + 16
          .put(0xb9, dword(count)) // mov ecx, count
          .put(0x31, 0xdb) // xor ebx, ebx
          .label('loop')
          .label('read')
          .put(0x8b, 0x07) // mov eax, [edi]
          .put(0x69, 0xf1, dword(0x9e3779b1)) // imul esi, ecx, 0x9e3779b1
          .put(0x01, 0xf3) // add ebx, esi
          .label('modify')
          .put(0x11, 0x37) // adc [edi], esi
          .put(0x83, 0xd3, 0) // adc ebx, 0
          .put(0x03, 0x1f) // add ebx, [edi]
          .put(0x8d, 0x7f, 4) // lea edi, [edi + 4]
          .put(...dec(wide, 1)) // dec ecx
          .put(0x0f, 0x85, to('loop'))
          .put(HLT);
        pageFaultHandler(guest, code);
        labels = code;
        return { code, handlers: { 14: 'page-fault' } };
      },
      (guest, way) => {
        const expected = new Uint32Array(PAGES * 1024);
        let ebx = 0;
        for (let i = 0; i < count; i++) {
          const esi = Math.imul(count - i, 0x9e3779b1) >>> 0;
          const sum = ebx + esi;
          const value = esi + (sum > 0xffffffff ? 1 : 0);
          expected[i + 4] = value;
          ebx = (sum >>> 0) + (value > 0xffffffff ? 1 : 0);
          ebx = (ebx + expected[i + 4]!) >>> 0;
        }
        assert.equal(register(guest, 'rbx'), ebx, way);
        assert.equal(register(guest, 'rcx'), 0, way);
        assert.deepEqual(words(guest, FRAMES, PAGES * 1024), expected, way);
        const noted = Array.from({ length: PAGES }, (_, page) => {
          const address = place + (page === 0 ? 16 : page * 4096);
          const [read, modify] = [Number(labels.addressOf('read')), Number(labels.addressOf('modify'))];
          return [address, user, read, address, user | 3, modify];
        });
        assert.deepEqual(notes(guest), noted.flat(), way);
      },
    );
  });

  test(`a store across two pages on demand changes nothing before both are there: ${name(kind)}`, () => {
    everyWay(
      kind,
      (guest) => {
        const code = begin(kind)
          .put(0xbf, dword(place + 4096 - 6)) // mov edi, place + 4096 - 6
          .put(0xb9, dword(PAGES - 1)) // mov ecx, PAGES - 1
          .put(0xb8, dword(0x11223344)) // mov eax, 0x11223344
          .put(0x66, 0x0f, 0x6e, 0xc0) // movd xmm0, eax
          .put(0x66, 0x0f, 0x70, 0xc0, 0) // pshufd xmm0, xmm0, 0
          .label('loop')
          .put(0x0f, 0x11, 0x07) // movups [edi], xmm0
          .put(0x81, 0xc7, dword(4096)) // add edi, 4096
          .put(...dec(wide, 1)) // dec ecx
          .put(0x0f, 0x85, to('loop'))
          .put(HLT);
        pageFaultHandler(guest, code);
        return { code, handlers: { 14: 'page-fault' } };
      },
      (guest, way) => {
        const found = guest.vm.ram.slice(FRAMES, FRAMES + PAGES * 4096);
        const expected = new Uint8Array(PAGES * 4096);
        for (let page = 1; page < PAGES; page++)
          for (let i = 0; i < 16; i++) expected[page * 4096 - 6 + i] = [0x44, 0x33, 0x22, 0x11][i % 4]!;
        assert.equal(Buffer.compare(found, expected), 0, way);
        const noted = notes(guest);
        // The first page absent, then read-only; then the second; then the third for the next store …
        assert.deepEqual(
          noted.filter((_, i) => i % 3 === 0).slice(0, 4),
          [place + 4096 - 6, place + 4096 - 6, place + 4096, place + 4096],
          way,
        );
        assert.deepEqual(
          noted.filter((_, i) => i % 3 === 1),
          Array.from({ length: PAGES }, () => [user | 2, user | 3]).flat(),
          way,
        );
      },
    );
  });

  test(`REP MOVS goes on where it was when a page is mapped on demand: ${name(kind)}`, () => {
    const count = (PAGES - 1) * 1024;
    everyWay(
      kind,
      (guest) => {
        const code = begin(kind)
          .put(0xbb, dword(3)) // mov ebx, 3
          .label('loop')
          .put(0xbe, dword(Number(kind.data) + 0x1000)) // mov esi, data + 0x1000
          .put(0xbf, dword(place + 0x200)) // mov edi, place + 0x200
          .put(0xb9, dword(count)) // mov ecx, count
          .put(0xfc) // cld
          .put(0xf3, 0xa5) // rep movsd
          .put(...dec(wide, 3)) // dec ebx
          .put(0x0f, 0x85, to('loop'))
          .put(HLT);
        pageFaultHandler(guest, code);
        const data = Uint8Array.from({ length: 0x4000 }, (_, i) => (i * 7 + (i >> 8)) & 0xff);
        guest.write('data', 0x1000, data);
        return { code, handlers: { 14: 'page-fault' } };
      },
      (guest, way) => {
        const from = guest.vm.ram.slice(guest.physical('data', 0x1000), guest.physical('data', 0x1000) + 0x4000);
        const found = guest.vm.ram.slice(FRAMES + 0x200, FRAMES + 0x200 + 0x4000);
        assert.equal(Buffer.compare(found, from), 0, way);
        assert.equal(register(guest, 'rcx'), 0, way);
        assert.equal(register(guest, 'rdi'), place + 0x200 + count * 4, way);
      },
    );
  });

  test(`#DE and #UD under a hot loop return behind their instruction: ${name(kind)}`, () => {
    const slot = wide ? 8 : 4;
    const iret = wide ? [0x48, 0xcf] : [0xcf];
    everyWay(
      kind,
      () => {
        const code = begin(kind)
          .put(0xbe, dword(1000)) // mov esi, 1000
          .put(0x31, 0xdb) // xor ebx, ebx
          .put(0x31, 0xed) // xor ebp, ebp
          .label('loop')
          .put(0x89, 0xf1) // mov ecx, esi
          .put(0x83, 0xe1, 7) // and ecx, 7
          .put(0xb8, dword(1000)) // mov eax, 1000
          .put(0x31, 0xd2) // xor edx, edx
          .put(0xf9) // stc
          .put(0xf7, 0xf1) // div ecx: #DE for every eighth
          .put(0x01, 0xc3) // add ebx, eax
          .put(0xf6, 0xc1, 3) // test cl, 3
          .put(0x75, 2) // jnz over the next
          .put(0x0f, 0x0b) // ud2: for every fourth
          .put(...dec(wide, 6)) // dec esi
          .put(0x0f, 0x85, to('loop'))
          .put(HLT)
          .label('skip')
          .put(...(wide ? [0x48] : []), 0x83, 0x04, 0x24, 2) // add [esp], 2: both are two bytes long
          .put(0x81, 0xc5, dword(0x10001)) // add ebp, 0x10001
          .put(...iret)
          .label('skip-divide')
          .put(...(wide ? [0x48] : []), 0x83, 0x04, 0x24, 2) // add [esp], 2
          .put(0xff, 0xc5) // inc ebp
          .put(0x8b, 0x44, 0x24, 2 * slot) // mov eax, [esp + 2 slots]: the flags
          .put(0x83, 0xe0, 1) // and eax, 1: CF
          .put(...iret);
        return { code, handlers: { 0: 'skip-divide', 6: 'skip' } };
      },
      (guest, way) => {
        let ebx = 0;
        for (let esi = 1000; esi > 0; esi--) ebx += (esi & 7) === 0 ? 1 : Math.floor(1000 / (esi & 7));
        assert.equal(register(guest, 'rbx'), ebx, way);
        assert.equal(register(guest, 'rbp'), 125 + 250 * 0x10001, way);
      },
    );
  });
}

test('a push onto an absent page faults on the inner stack, with the stack pointer as before, and is restarted', () => {
  for (const kind of kinds.filter(({ cpl }) => cpl === 3)) {
    const wide = kind.mode === '64';
    const place = demanded(kind);
    const size = wide ? 8 : 4;
    const count = 2000;
    everyWay(
      kind,
      (guest) => {
        const code = begin(kind)
          .put(0xbc, dword(place + PAGES * 4096)) // mov esp, place + PAGES * 4096
          .put(0xb9, dword(count)) // mov ecx, count
          .label('loop')
          .put(0x51) // push ecx
          .put(...dec(wide, 1)) // dec ecx
          .put(0x0f, 0x85, to('loop'))
          .put(HLT);
        pageFaultHandler(guest, code);
        return { code, handlers: { 14: 'page-fault' } };
      },
      (guest, way) => {
        const pages = Math.ceil((count * size) / 4096);
        const cr2 = notes(guest).filter((_, i) => i % 6 === 0);
        assert.deepEqual(
          cr2,
          Array.from({ length: pages }, (_, i) => place + (PAGES - i) * 4096 - size),
          way,
        );
        const top = FRAMES + PAGES * 4096;
        const found = words(guest, top - count * size, (count * size) / 4);
        for (let i = 0; i < count; i++) assert.equal(found[(i * size) / 4], i + 1, way);
      },
    );
  }
});

test('an access behind the limit of a segment is #GP(0), or #SS(0) on the stack, at the instruction', () => {
  for (const cpl of [0, 3] as const) {
    const kind: GuestKind = { mode: '32-segments', cpl, paging: 'pae', code: 0x20000000n, data: 0x30000000n };
    everyWay(
      kind,
      () => {
        const code = begin(kind)
          .put(0xb9, dword(600)) // mov ecx, 600
          .put(0xbe, dword(0x100)) // mov esi, 0x100
          .put(0xbd, dword(0x7f00)) // mov ebp, 0x7f00
          .put(0x31, 0xff) // xor edi, edi
          .label('loop')
          .put(0x83, 0xc6, 64) // add esi, 64
          .put(0x03, 0xbe, dword(0x6f00)) // add edi, [esi + 0x6f00]: to the limit at 0x7fff
          .put(0x8b, 0x45, 0x00) // mov eax, [ebp]
          .put(0x83, 0xc5, 3) // add ebp, 3
          .put(0x49) // dec ecx
          .put(0x0f, 0x85, to('loop'))
          .put(HLT)
          .label('general')
          .put(0x81, 0xee, dword(0xe00)) // sub esi, 0xe00
          .put(0x03, 0x3c, 0x24) // add edi, [esp]: an error code of 0
          .put(0x81, 0xc7, dword(0x1000)) // add edi, 0x1000
          .put(0x81, 0xf9, dword(1)) // cmp ecx, 1
          .put(0x7c, to('end', 1)) // jl end: the HLT of the end at CPL 3
          .put(0x83, 0xc4, 4) // add esp, 4
          .put(0xcf) // iret
          .label('stack')
          .put(0xbd, dword(0x7e00)) // mov ebp, 0x7e00
          .put(0x81, 0xc7, dword(0x100000)) // add edi, 0x100000
          .put(0x83, 0xc4, 4) // add esp, 4
          .put(0xcf) // iret
          .label('end')
          .put(HLT);
        return { code, handlers: { 13: 'general', 12: 'stack' } };
      },
      (guest, way) => {
        // The data is zero: EDI counts the faults.
        let [esi, ebp, edi] = [0x100, 0x7f00, 0];
        for (let i = 0; i < 600; i++) {
          esi += 64;
          while (esi + 0x6f00 + 3 > 0x7fff) [esi, edi] = [esi - 0xe00, edi + 0x1000];
          while (ebp + 3 > 0x7fff) [ebp, edi] = [0x7e00, edi + 0x100000];
          ebp += 3;
        }
        if (kind.cpl === 3) [esi, edi] = [esi - 0xe00, edi + 0x1000];
        assert.equal(register(guest, 'rsi'), esi >>> 0, way);
        assert.equal(register(guest, 'rbp'), ebp, way);
        assert.equal(register(guest, 'rdi'), edi, way);
      },
    );
  }
});

test('an x87 exception that is pending is met by the next waiting instruction, in whatever region that is', () => {
  for (const kind of kinds.filter(({ cpl }) => cpl === 0)) {
    const wide = kind.mode === '64';
    const [masked, open] = [Number(kind.data), Number(kind.data) + 4];
    everyWay(
      kind,
      (guest) => {
        guest.write('data', 0, Uint8Array.of(0x7f, 0x03, 0, 0, 0x7b, 0x03));
        const code = begin(kind)
          .put(0xb9, dword(300)) // mov ecx, 300
          .put(0x31, 0xed) // xor ebp, ebp
          .put(0xbb, dword(Number(kind.code) + 0x100)) // mov ebx, wait
          .put(0xbe, at('loop')) // mov esi, loop
          .label('loop')
          .put(0xdb, 0xe3) // fninit
          .put(0xd9, 0xe8, 0xd9, 0xee, 0xde, 0xf9) // fld1; fldz; fdivp: a masked division by zero
          .put(0xd9, ...absolute(wide, 5, open)) // fldcw [open]
          .put(0xff, 0xe3) // jmp ebx
          .pad(0x100)
          .put(0xd9, 0xd0) // fnop
          .put(0x9b) // fwait
          .put(...dec(wide, 1)) // dec ecx
          .put(0x74, to('end', 1)) // jz end
          .put(0xff, 0xe6) // jmp esi: the region of FNOP has no other x87 instruction
          .label('end')
          .put(HLT)
          .label('handler')
          .put(0xdb, 0xe2) // fnclex
          .put(0xd9, ...absolute(wide, 5, masked)) // fldcw [masked]
          .put(0xff, 0xc5) // inc ebp
          .put(...(wide ? [0x48] : []), 0xcf); // iret
        return { code, handlers: { 16: 'handler' } };
      },
      (guest, way) => assert.equal(register(guest, 'rbp'), 300, way),
    );
  }
});
