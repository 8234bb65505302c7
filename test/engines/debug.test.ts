/**
 * Debug exceptions: breakpoints on instructions, data and ports, single steps, and what holds them back. Each program has a
 * handler that notes DR6 and the return address; it runs interpreted, translated at once and when hot, whole and in slices.
 * SDM volume 3, chapter 19.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { codeStart, dataStart, Guest, type GuestKind } from '../../runtime/lockstep/guest.ts';
import { IMAGE } from '../../runtime/lockstep/machine-image.ts';
import { Assembler, at, dword, type Reference, to } from './assembler.ts';
import { vmModules } from './modules.ts';
import { wrmsr } from './system-code.ts';

const kind: GuestKind = { mode: '32', cpl: 0, paging: '32-bit', code: 0x20000000n, data: 0x30000000n };
const data = Number(dataStart(kind));
const LOG = data + 0x1000;
const VARIABLE = data + 0x2000;
const ways = [
  ['never', [1_000_000, 7]],
  ['first', [1_000_000, 501]],
  ['hot', [1_000_000, 1000]],
] as const;

type Part = number | readonly number[] | Reference;

/** A program: EBP is where the handler notes, EBX is its own. */
class Program {
  readonly code = new Assembler(codeStart(kind));

  constructor() {
    this.put(0xbd, dword(LOG)); // mov ebp
  }
  put(...parts: readonly Part[]): this {
    this.code.put(...parts);
    return this;
  }
  label(name: string): this {
    this.code.label(name);
    return this;
  }
  /** mov eax, value; mov drN, eax */
  debug(register: number, value: number | Reference): this {
    return this.put(0xb8, typeof value === 'number' ? dword(value) : value, 0x0f, 0x23, 0xc0 | (register << 3));
  }
  cr4(value: number): this {
    return this.put(0xb8, dword(value), 0x0f, 0x22, 0xe0);
  }
  /** Sets EFLAGS. */
  flags(value: number): this {
    return this.put(0x68, dword(value), 0x9d);
  }
  /** Ends the program, and adds the handlers: #DB notes, vector 20H returns. `extra`: what #DB does before it returns. */
  end(...extra: readonly Part[]): this {
    this.put(0xf4);
    this.label('db').put(0x0f, 0x21, 0xf3); // mov ebx, dr6
    this.put(0x89, 0x5d, 0, 0x8b, 0x1c, 0x24, 0x89, 0x5d, 4, 0x83, 0xc5, 8); // [ebp], return address, ebp += 8
    this.put(0x31, 0xdb, 0x0f, 0x23, 0xf3); // dr6 = 0
    this.put(0x81, 0x4c, 0x24, 8, dword(0x10000)); // RF
    this.put(...extra, 0xcf);
    return this.label('int20').put(0x90, 0xcf);
  }
}

interface Seen {
  readonly log: readonly string[];
  readonly guest: Guest;
}

function setGate(guest: Guest, vector: number, handler: number): void {
  const { ram } = guest.vm;
  const view = new DataView(ram.buffer, ram.byteOffset, ram.byteLength);
  view.setUint16(IMAGE.idt + vector * 8, handler & 0xffff, true);
  view.setUint16(IMAGE.idt + vector * 8 + 6, handler >>> 16, true);
}

/** What the handler noted: bits of DR6 and the label, or the offset, that it was to return to. */
function run(program: Program, labels: readonly string[], check: (seen: Seen, way: string) => void): void {
  const bytes = program.code.finish();
  for (const [translate, slices] of ways) {
    const guest = new Guest(kind, translate, vmModules());
    for (const slice of slices) {
      guest.reset();
      guest.write('code', 0, bytes);
      setGate(guest, 1, Number(program.code.addressOf('db')));
      setGate(guest, 0x20, Number(program.code.addressOf('int20')));
      const { fields: state } = guest.vcpu;
      state.set64('rip', codeStart(kind));
      state.set64('rsp', BigInt(data + 0x3800));
      let instructions = 0;
      while (!guest.run(slice)) assert.ok((instructions += slice) < 3_000_000, 'the guest does not end');
      const end = state.get32('rbp');
      const log: string[] = [];
      const { ram } = guest.vm;
      const view = new DataView(ram.buffer, ram.byteOffset, ram.byteLength);
      for (let place = LOG; place < end; place += 8) {
        const physical = guest.physical('data', place - data);
        const address = view.getUint32(physical + 4, true) - Number(codeStart(kind));
        const name = labels.find((label) => program.code.offsetOf(label) === address) ?? address.toString(16);
        log.push(`${(view.getUint32(physical, true) & 0xf00f).toString(16)} ${name}`);
      }
      check({ log, guest }, `translated ${translate}, slices of ${slice}`);
    }
  }
}
const expectLog = (program: Program, labels: readonly string[], expected: readonly string[]): void =>
  run(program, labels, ({ log }, way) => assert.deepEqual(log, expected, way));

const repeated = (count: number, text: string): string[] => new Array<string>(count).fill(text);

test('an instruction breakpoint in a loop hits before each execution; without it the loop is translated again', () => {
  const p = new Program().debug(0, at('inside')).debug(7, 0x402);
  const loop = (name: string, count: number) =>
    p.put(0xb9, dword(count)).label(name).put(0x83, 0xc2, 1).label(`${name}2`).put(0x49, 0x75, to(name, 1));
  p.put(0x31, 0xd2, 0xb9, dword(20));
  p.label('loop').put(0x83, 0xc2, 1).label('inside').put(0x83, 0xc6, 1, 0x49, 0x75, to('loop', 1));
  p.debug(7, 0x400);
  loop('after', 100_000);
  p.end();
  run(p, ['inside'], ({ log, guest }, way) => {
    assert.deepEqual(log, repeated(20, '1 inside'), way);
    assert.equal(guest.vcpu.fields.get32('rdx'), 100_020);
    if (way.includes('first')) assert.ok(guest.vcpu.engine.translated > 200_000, 'the second loop is translated');
  });
});

test('a breakpoint that is set while code is hot is met by that code', () => {
  const p = new Program().put(0x31, 0xf6);
  p.label('outer').put(0xb9, dword(40_000));
  p.label('loop').put(0x83, 0xc2, 1, 0x49, 0x75, to('loop', 1)).label('behind').put(0x90);
  p.put(0x46, 0x83, 0xfe, 3, 0x74, to('done', 1)).debug(1, at('behind')).debug(7, 0x408);
  p.put(0xeb, to('outer', 1)).label('done').end();
  expectLog(p, ['behind'], repeated(2, '2 behind'));
});

test('a data breakpoint hits after the instruction that writes, and others are left alone', () => {
  const p = new Program().debug(2, VARIABLE + 4).debug(7, 0x0d00_0420); // G2, writes, four bytes
  p.put(0xb9, dword(3_000), 0xbe, dword(VARIABLE));
  p.label('loop').put(0x01, 0x0e, 0x49, 0x75, to('loop', 1)); // add [esi], ecx: below it
  p.put(0x8b, 0x46, 4, 0x88, 0x46, 3, 0x89, 0x46, 8); // reads it; writes the byte below, the dword above
  p.put(0x88, 0x46, 7).label('byte'); // its last byte
  p.put(0x89, 0x46, 1).label('across'); // its first byte
  p.put(0x83, 0x46, 4, 1).label('modify');
  p.put(0x31, 0xc9).debug(7, 0x400).put(0x89, 0x46, 4).end();
  expectLog(p, ['byte', 'across', 'modify'], ['4 byte', '4 across', '4 modify']);
});

test('a breakpoint on reads and writes is met by the stack, by string instructions and by helpers', () => {
  const p = new Program().debug(3, VARIABLE).debug(7, 0xf000_0480); // G3, reads and writes, four bytes
  const stack = [0xbc, ...dword(VARIABLE + 4)]; // the frames of the exceptions lie below the variable
  p.put(0x89, 0xe7, stack, 0x50).label('push').put(stack, 0xe8, dword(0)).label('call').put(stack, 0x9c).label('pushf');
  p.put(0x89, 0xfc, 0xbe, dword(VARIABLE)).put(0x8b, 0x06).label('read').put(0x3a, 0x46, 3).label('compare');
  p.put(0x8c, 0x1e).label('store').put(0x8e, 0x06).label('segment'); // MOV to ES: a load, then a helper
  p.put(0xd9, 0x76, 0xf8).label('fnstenv'); // a helper's stores
  p.put(0xa5).label('movs').debug(7, 0x400).end();
  const labels = ['push', 'call', 'pushf', 'read', 'compare', 'store', 'segment', 'fnstenv', 'movs'];
  expectLog(
    p,
    labels,
    labels.map((label) => `8 ${label}`),
  );
});

test('breakpoints on ports want CR4.DE', () => {
  const p = new Program().debug(0, 0x80).debug(7, 0x2_0402);
  p.put(0xe4, 0x80).cr4(8).put(0xe4, 0x80).label('in').put(0xe5, 0x7e).label('wide').put(0xe4, 0x81);
  p.put(0xba, dword(0x80), 0xee).label('out').put(0xbf, dword(VARIABLE), 0xb9, dword(2), 0x90);
  p.label('ins').put(0xf3, 0x6c).label('insDone').debug(7, 0x400).put(0xe4, 0x80).end();
  expectLog(p, ['in', 'wide', 'out', 'ins', 'insDone'], ['1 in', '1 wide', '1 out', '1 ins', '1 insDone']);
});

const TF = 0x102;
const step = (label: string): string => `4000 ${label}`;

test('single steps: POPF, a repeated instruction, INT, IRET, a load of SS, HLT', () => {
  const p = new Program().put(0xbe, dword(VARIABLE), 0xbf, dword(VARIABLE + 64), 0xb9, dword(3));
  p.flags(TF).label('popf').put(0x90).label('nop'); // the trap comes after the instruction that follows POPF
  p.label('movs').put(0xf3, 0xa4).label('moved');
  p.put(0xcd, 0x20).label('int'); // its handler is not stepped; IRET brings TF back
  p.put(0x90).label('afterInt');
  p.put(0x8c, 0xd0).label('fromSs').put(0x8e, 0xd0).label('toSs').put(0x90).label('afterSs');
  p.put(0xf4).label('hlt');
  p.flags(2).label('off').put(0x90).end();
  expectLog(
    p,
    ['nop', 'moved', 'int', 'afterInt', 'fromSs', 'toSs', 'afterSs', 'hlt', 'off'],
    [
      step('nop'),
      step('nop'), // after each iteration but the last
      step('nop'),
      step('moved'),
      step('afterInt'),
      step('fromSs'),
      step('afterSs'),
      step('hlt'),
      step((p.code.offsetOf('off') - 1).toString(16)), // the push before POPF
      step('off'),
    ],
  );
});

test('BTF traps at branches alone, and a debug exception clears it', () => {
  const p = new Program();
  p.put(wrmsr(0x1d9, 2)).flags(TF).put(0x90, 0x90, 0xeb, to('target', 1), 0x90).label('target').put(0x90).label('next');
  p.flags(2).label('off').end();
  expectLog(
    p,
    ['target', 'next', 'off'],
    [step('target'), step('next'), step((p.code.offsetOf('off') - 1).toString(16)), step('off')],
  );
});

test('general detect stops before a debug register is touched', () => {
  const p = new Program().debug(7, 0x2400).label('mov').put(0x0f, 0x21, 0xf8, 0x90).end();
  run(p, ['mov'], ({ log, guest }, way) => {
    assert.deepEqual(log, ['2000 mov'], way);
    assert.equal(guest.vcpu.fields.get32('rax'), 0x400, 'and DR7.GD is clear in the handler');
  });
});

test('INT1 leaves DR6 alone', () => {
  const p = new Program().debug(6, 0xf).put(0xf1).label('icebp').end();
  expectLog(p, ['icebp'], ['f icebp']);
});

test('a repeated string instruction meets its breakpoint once, and RF covers one instruction', () => {
  const p = new Program().debug(0, at('movs')).debug(1, at('nop')).debug(7, 0x40a);
  p.put(0xbe, dword(VARIABLE), 0xbf, dword(VARIABLE + 64), 0xb9, dword(5));
  p.label('movs').put(0xf3, 0xa4).label('nop').put(0x90).debug(7, 0x400).end();
  expectLog(p, ['movs', 'nop'], ['1 movs', '2 nop']);
});

test('a load of SS holds breakpoints back for one instruction', () => {
  const p = new Program().put(0x8c, 0xd0, 0xbe, dword(VARIABLE), 0x89, 0x06);
  p.debug(0, VARIABLE).debug(1, at('next')).debug(7, 0xf_040a);
  p.put(0x8e, 0x16).label('next').put(0x90).label('then').put(0x90).debug(7, 0x400).end();
  expectLog(p, ['next', 'then'], ['1 then']);
});

test('an interrupt splits a repetition at the same element, however the run before it was cut up', () => {
  const program = new Program();
  program.put(0xbe, dword(VARIABLE), 0xbf, dword(VARIABLE + 0x100), 0xb9, dword(200)); // mov esi; mov edi; mov ecx
  program.put(0xf3, 0xa4, 0xf4); // rep movsb; hlt
  program.label('nmi').put(0x89, 0x4d, 0, 0x8b, 0x5c, 0x24, 8, 0x89, 0x5d, 4, 0x83, 0xc5, 8, 0xcf); // ecx, EFLAGS
  const bytes = program.code.finish();
  const seen = new Set<string>();
  for (const translate of ['never', 'first', 'hot'] as const) {
    const guest = new Guest(kind, translate, vmModules());
    for (const slice of [1, 3, 100]) {
      guest.reset();
      guest.write('code', 0, bytes);
      setGate(guest, 2, Number(program.code.addressOf('nmi')));
      const { fields: state } = guest.vcpu;
      state.set64('rip', codeStart(kind));
      state.set64('rsp', BigInt(data + 0x3800));
      for (let left = 100; left > 0; left -= slice) guest.run(Math.min(slice, left));
      guest.vcpu.nmi();
      while (!guest.run(1000));
      const { ram } = guest.vm;
      const view = new DataView(ram.buffer, ram.byteOffset, ram.byteLength);
      const noted = guest.physical('data', LOG - data);
      seen.add(`${view.getUint32(noted, true)} left, RF ${(view.getUint32(noted + 4, true) >>> 16) & 1}`);
    }
  }
  assert.deepEqual([...seen], ['103 left, RF 1']);
});
