/**
 * x87 exceptions that are not masked, in hot code: the instruction that causes one does nothing, FNSTSW shows it, and the
 * next waiting instruction raises #MF, after which the environment names the instruction that caused it and its operand.
 * SDM volume 1, section 8.7.
 */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ABSENT_PAGE, codeStart, Guest, type GuestKind } from '../../runtime/lockstep/guest.ts';
import { IMAGE } from '../../runtime/lockstep/machine-image.ts';
import { Assembler, dword, to } from './assembler.ts';
import { vmModules } from './modules.ts';

const TURNS = 300;
const HLT = 0xf4;
const CONTROL = 0x100; // offsets in the data pages
const DIVISOR = 0x108;
const WHERE = 0x110;
const STATUS = 0x118;
const ENVIRONMENT = 0x120;

const kinds: readonly GuestKind[] = [
  { mode: '32', cpl: 0, paging: '32-bit', code: 0x20000000n, data: 0x30000000n },
  { mode: '64', cpl: 0, paging: '4-level', code: 0x34500000n, data: 0x34567000n },
];
const ways = [
  ['never', [1_000_000, 7]],
  ['first', [1_000_000, 501]],
  ['hot', [1_000_000, 1000]],
] as const;

function build(kind: GuestKind): Assembler {
  const wide = kind.mode === '64';
  const memory = (reg: number, offset: number): (number | number[])[] => {
    const address = dword(Number(kind.data) + offset);
    return wide ? [(reg << 3) | 4, 0x25, address] : [(reg << 3) | 5, address];
  };
  const code = new Assembler(codeStart(kind));
  return code
    .put(0xb9, dword(TURNS)) // mov ecx, TURNS
    .put(0x31, 0xdb) // xor ebx, ebx
    .put(0xdb, 0xe3) // fninit
    .put(0xd9, ...memory(5, CONTROL)) // fldcw [CONTROL]
    .label('loop')
    .put(0xd9, 0xe8) // fld1
    .put(0xd9, 0xc0) // fld st
    .put(0xde, 0xc1) // faddp
    .label('divides')
    .put(0xdc, ...memory(6, DIVISOR)) // fdiv qword [DIVISOR]
    .put(0x90) // nop
    .put(0xdf, 0xe0) // fnstsw ax
    .put(0x0f, 0xb7, 0xc0) // movzx eax, ax
    .put(0x89, ...memory(0, STATUS)) // mov [STATUS], eax
    .label('waits')
    .put(0xdd, 0xd8) // fstp st
    .put(0xff, 0xc9) // dec ecx
    .put(0x75, to('loop', 1)) // jnz loop
    .put(HLT)
    .label('handler')
    .put(0xff, 0xc3) // inc ebx
    .put(0x8b, 0x04, 0x24) // mov eax, [esp]
    .put(0x89, ...memory(0, WHERE)) // mov [WHERE], eax
    .put(0xd9, ...memory(6, ENVIRONMENT)) // fnstenv [ENVIRONMENT]
    .put(0xdb, 0xe2) // fnclex
    .put(0xd9, ...memory(5, CONTROL)) // fldcw [CONTROL]
    .put(...(wide ? [0x48, 0xcf] : [0xcf])); // iret
}

function setGate(guest: Guest, vector: number, handler: number): void {
  const { ram } = guest.vm;
  const view = new DataView(ram.buffer, ram.byteOffset, ram.byteLength);
  const place = IMAGE.idt + vector * (guest.kind.paging === '4-level' ? 16 : 8);
  view.setUint16(place, handler & 0xffff, true);
  view.setUint16(place + 6, handler >>> 16, true);
}

for (const kind of kinds) {
  test(`a division by zero is deferred to the next waiting instruction in mode ${kind.mode}`, () => {
    for (const [translate, slices] of ways) {
      const guest = new Guest(kind, translate, vmModules());
      for (const slice of slices) {
        guest.reset();
        const code = build(kind);
        guest.write('code', 0, code.finish());
        guest.write('data', CONTROL, Uint8Array.from([0x7b, 0x03])); // zero divide is not masked
        guest.write('data', DIVISOR, new Uint8Array(8));
        setGate(guest, 16, Number(code.addressOf('handler')));
        const { fields: state } = guest.vcpu;
        state.set64('rip', code.origin);
        state.set64('rsp', kind.data + 0x3800n);
        for (let n = 0; !guest.run(slice); n += slice) assert.ok(n < 1_000_000, 'the guest does not end');

        const way = `translated ${translate}, slices of ${slice}`;
        const data = guest.vm.ram.subarray(guest.physical('data', 0));
        const word = (offset: number) => new DataView(data.buffer, data.byteOffset).getUint32(offset, true);
        assert.equal(state.get64('rbx'), BigInt(TURNS), `times that #MF came, ${way}`);
        assert.equal(word(WHERE), Number(code.addressOf('waits')), `where it came, ${way}`);
        assert.equal(word(STATUS), 0xb884, `error summary, busy, TOP = 7 and zero divide, ${way}`);
        assert.equal(word(ENVIRONMENT + 4) & 0xffff, 0xb884, way);
        assert.equal(word(ENVIRONMENT + 8) & 0xffff, 0x3fff, `R7 is valid, the others empty, ${way}`);
        assert.equal(word(ENVIRONMENT + 12), Number(code.addressOf('divides')), `FIP, ${way}`);
        assert.equal(word(ENVIRONMENT + 16) >>> 16, kind.mode === '64' ? 0x434 : 0x435, `FOP, ${way}`);
        assert.equal(word(ENVIRONMENT + 20), Number(kind.data) + DIVISOR, `FDP, ${way}`);
        assert.equal(state.get32('fsw'), 0, way);
        assert.equal(state.get32('ftw'), 0, way);
      }
    }
  });
}

const DENORMAL = 0x108;
const ABSENT = ABSENT_PAGE * 4096;

/** Three instructions that go on, or fault first, although their exception is not masked. */
function buildExceptions(kind: GuestKind): Assembler {
  const wide = kind.mode === '64';
  const memory = (reg: number, offset: number): (number | number[])[] => {
    const address = dword(Number(kind.data) + offset);
    return wide ? [(reg << 3) | 4, 0x25, address] : [(reg << 3) | 5, address];
  };
  const code = new Assembler(codeStart(kind));
  return code
    .put(0xb9, dword(TURNS)) // mov ecx, TURNS
    .put(0x31, 0xdb) // xor ebx, ebx
    .label('loop')
    .put(0xdb, 0xe3) // fninit
    .put(0xd9, ...memory(5, CONTROL)) // fldcw [CONTROL]
    .put(0xd9, 0xe8) // fld1
    .put(0xb8, dword(0x7fffffff)) // mov eax, 0x7fffffff
    .put(0x83, 0xc0, 0x01) // add eax, 1: OF SF AF PF
    .put(0xdb, 0xf1) // fcomi st, st1
    .put(0x9c, 0x58) // pushf; pop eax
    .put(0x89, ...memory(0, STATUS)) // mov [STATUS], eax
    .put(0xdb, 0xe2) // fnclex
    .put(0xdd, ...memory(0, DENORMAL)) // fld qword [DENORMAL]
    .put(0xdf, 0xe0) // fnstsw ax
    .put(0x0f, 0xb7, 0xc0) // movzx eax, ax
    .put(0x89, ...memory(0, STATUS + 4)) // mov [STATUS + 4], eax
    .put(0xdb, 0xe3) // fninit
    .put(0xd9, ...memory(5, CONTROL)) // fldcw [CONTROL]
    .put(0xd9, 0xe8) // fld1
    .put(0xd9, 0xee) // fldz
    .put(0xde, 0xf9) // fdivp: an infinity
    .put(0xdb, 0xe2) // fnclex
    .put(0xdf, ...memory(7, ABSENT)) // fistp qword [ABSENT]
    .put(HLT)
    .label('handler')
    .put(0xff, 0xc3) // inc ebx
    .put(0xdf, 0xe0) // fnstsw ax
    .put(0x0f, 0xb7, 0xc0) // movzx eax, ax
    .put(0x89, ...memory(0, ENVIRONMENT)) // mov [ENVIRONMENT], eax
    .put(...(wide ? [0x48] : []), 0x8d, 0x64, 0x24, wide ? 48 : 16) // lea esp, [esp + frame]
    .put(0xff, 0xc9) // dec ecx
    .put(0x0f, 0x85, to('loop')) // jnz loop
    .put(HLT);
}

for (const kind of kinds) {
  test(`FCOMI of an empty register, FLD of a denormal, and a store that faults, all unmasked, in mode ${kind.mode}`, () => {
    for (const [translate, slices] of ways) {
      const guest = new Guest(kind, translate, vmModules());
      for (const slice of slices) {
        guest.reset();
        const code = buildExceptions(kind);
        guest.write('code', 0, code.finish());
        guest.write('data', CONTROL, Uint8Array.from([0x7c, 0x03])); // invalid operations and denormals are not masked
        guest.write('data', DENORMAL, Uint8Array.from([1, 0, 0, 0, 0, 0, 0, 0]));
        setGate(guest, 14, Number(code.addressOf('handler')));
        const { fields: state } = guest.vcpu;
        state.set64('rip', code.origin);
        state.set64('rsp', kind.data + 0x3800n);
        for (let n = 0; !guest.run(slice); n += slice) assert.ok(n < 1_000_000, 'the guest does not end');

        const way = `translated ${translate}, slices of ${slice}`;
        const data = guest.vm.ram.subarray(guest.physical('data', 0));
        const word = (offset: number) => new DataView(data.buffer, data.byteOffset).getUint32(offset, true);
        assert.equal(state.get64('rbx'), BigInt(TURNS), `times that #PF came, ${way}`);
        assert.equal(word(STATUS) & 0x8d5, 0x45, `unordered: ZF PF CF and no other, ${way}`);
        assert.equal(word(STATUS + 4), 0xb082, `the denormal is loaded: TOP = 6, error summary, ${way}`);
        assert.equal(word(ENVIRONMENT), 0x3800, `#PF comes before the exception, of which nothing is seen, ${way}`);
      }
    }
  });
}
