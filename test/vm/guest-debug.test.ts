/**
 * Guest debugging by the embedder: what `enter` comes back with, that it comes back there in every engine, and that the guest
 * notices nothing: a run that was stepped, stopped and watched ends in the state of one that was left alone, after as many
 * instructions.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Translate } from '../../jit/translate.ts';
import { codeStart, dataStart, Guest, type GuestKind } from '../../runtime/lockstep/guest.ts';
import { IMAGE } from '../../runtime/lockstep/machine-image.ts';
import { stateHash } from '../../runtime/state-hash.ts';
import type { DebugExit } from '../../runtime/vm/exits.ts';
import type { GuestDebugOptions } from '../../runtime/vm/guest-debug.ts';
import { Assembler, at, dword, to } from '../engines/assembler.ts';
import { vmModules } from '../engines/modules.ts';

const kinds: Readonly<Record<'32' | '64', GuestKind>> = {
  '32': { mode: '32', cpl: 0, paging: '32-bit', code: 0x20000000n, data: 0x30000000n },
  '64': { mode: '64', cpl: 0, paging: '4-level', code: -0x7fff_0000_0000n, data: 0x1000_0000n },
};
const ways = ['never', 'first', 'hot'] as const satisfies readonly (
  | ConstructorParameters<typeof Guest>[1]
  | Translate
)[];
type Way = (typeof ways)[number];

const kind32 = kinds['32'];
const data = Number(dataStart(kind32));
const VARIABLE = data + 0x2000;
const LOG = data + 0x1000;

/** Uses its own debug registers, TF, RF, ICEBP, repetitions, MOV SS, interrupts and faults. */
function busyProgram(): Assembler {
  const p = new Assembler(codeStart(kind32));
  const debugRegister = (register: number, value: number | ReturnType<typeof at>) =>
    p.put(0xb8, typeof value === 'number' ? dword(value) : value, 0x0f, 0x23, 0xc0 | (register << 3));
  p.put(0xbd, dword(LOG));
  debugRegister(0, at('inside'));
  debugRegister(1, VARIABLE);
  debugRegister(7, 0x00d0_040a); // an instruction breakpoint, and one on writes of 4 bytes
  p.put(0xb9, dword(40));
  p.label('loop').put(0x51); // push ecx
  p.label('inside').put(0x40, 0x9c, 0x8f, 0x05, dword(VARIABLE + 0x40)); // inc eax; pushf; pop [..]
  p.put(0xe8, to('sub'));
  p.put(0x59, 0x49, 0x0f, 0x85, to('loop')); // pop ecx; dec ecx; jnz
  p.put(0xa3, dword(VARIABLE)); // mov [VARIABLE], eax
  p.label('copy').put(0xbe, dword(VARIABLE), 0xbf, dword(VARIABLE + 0x100), 0xb9, dword(30));
  p.label('rep').put(0xf3, 0xa4);
  p.put(0x68, dword(0x102), 0x9d); // TF on
  p.label('trapped').put(0x90, 0x9c, 0x58, 0x0f, 0xa2, 0x68, dword(2), 0x9d); // nop; pushf; pop; cpuid; TF off
  p.put(0x8c, 0xd0, 0x8e, 0xd0); // mov ss, ax
  p.label('shadowed').put(0x43, 0xcd, 0x20, 0xf1); // inc ebx; int 20h; icebp
  p.put(0x0f, 0x0b, 0xf4); // ud2; hlt
  p.label('sub').put(0x83, 0x05, dword(VARIABLE + 0x10), 1, 0x01, 0xc3, 0xc3); // add [..], 1; add ebx, eax; ret
  p.label('db').put(0x0f, 0x21, 0xf2, 0x89, 0x55, 0, 0x8b, 0x14, 0x24, 0x89, 0x55, 4); // dr6, return address
  p.put(0x8b, 0x54, 0x24, 8, 0x89, 0x55, 8, 0x83, 0xc5, 12); // flags in the frame
  p.put(0x31, 0xd2, 0x0f, 0x23, 0xf2, 0x81, 0x4c, 0x24, 8, dword(0x10000), 0xcf); // dr6 = 0; RF; iret
  p.label('int20').put(0x90, 0xcf);
  p.label('ud').put(0x83, 0x04, 0x24, 2, 0xcf); // over the ud2
  return p;
}

function setGate(guest: Guest, vector: number, handler: number): void {
  const { ram } = guest.vm;
  const view = new DataView(ram.buffer, ram.byteOffset, ram.byteLength);
  view.setUint16(IMAGE.idt + vector * 8, handler & 0xffff, true);
  view.setUint16(IMAGE.idt + vector * 8 + 6, handler >>> 16, true);
}

function busyGuest(way: Way, program = busyProgram()): { guest: Guest; program: Assembler } {
  const guest = new Guest(kind32, way, vmModules());
  guest.write('code', 0, program.finish());
  for (const [vector, name] of [
    [1, 'db'],
    [6, 'ud'],
    [0x20, 'int20'],
  ] as const)
    setGate(guest, vector, Number(program.addressOf(name)));
  guest.vcpu.fields.set64('rip', codeStart(kind32));
  guest.vcpu.fields.set64('rsp', BigInt(data + 0x3800));
  return { guest, program };
}

interface Run {
  readonly hash: string;
  readonly instructions: number;
  readonly exits: readonly DebugExit[];
}

const most = 100_000;

/** Runs to the HLT, in entries of `slice` instructions. */
function run(guest: Guest, slice: number, limit = most): Run {
  const { vcpu, vm } = guest;
  const exits: DebugExit[] = [];
  let instructions = 0;
  for (;;) {
    const exit = vcpu.enter(slice);
    instructions += slice - vcpu.left;
    if (exit.kind === 'debug') exits.push({ ...exit });
    else if (exit.kind === 'halt') return { hash: stateHash(vcpu, vm.ram), instructions, exits };
    else assert.equal(exit.kind, 'budget');
    assert.ok(exits.length < limit && instructions < limit, 'the guest does not end');
  }
}

function program64(): Assembler {
  const p = new Assembler(codeStart(kinds['64']));
  const variable = Number(dataStart(kinds['64']) + 0x2000n);
  p.put(0xb9, dword(5000), 0xeb, 1).label('back').put(0x90);
  p.label('loop').put(0x48, 0xff, 0xc0); // inc rax
  p.label('second').put(0x48, 0x01, 0x04, 0x25, dword(variable)); // add [variable], rax
  p.put(0xff, 0xc9, 0x75, to('loop', 1)); // dec ecx; jnz
  p.put(0x48, 0x8b, 0x1c, 0x25, dword(variable), 0xf4); // mov rbx, [variable]
  return p;
}
function guest64(way: Way): { guest: Guest; program: Assembler } {
  const guest = new Guest(kinds['64'], way, vmModules());
  const program = program64();
  guest.write('code', 0, program.finish());
  guest.vcpu.fields.set64('rip', BigInt.asUintN(64, codeStart(kinds['64'])));
  return { guest, program };
}

for (const way of ways) {
  test(`row 23: a guest that is debugged ends as one that is not, after as many instructions (${way})`, () => {
    const alone = run(busyGuest(way).guest, most);
    assert.ok(alone.instructions > 1000);
    const { program } = busyGuest(way);
    const here = (name: string, plus = 0n) => program.addressOf(name) + plus;
    const everywhere = ['loop', 'inside', 'copy', 'rep', 'trapped', 'shadowed', 'sub', 'db', 'int20', 'ud'].map(
      (name) => here(name),
    );
    const plans: Readonly<Record<string, GuestDebugOptions>> = {
      steps: { singleStep: true },
      'steps without interrupts': { singleStep: true, blockInterrupts: true },
      'ten breakpoints': { breakpoints: everywhere },
      watchpoints: {
        watchpoints: [
          { address: VARIABLE, length: 3, kind: 'access' },
          { address: VARIABLE + 0x10, length: 4, kind: 'read' },
          { address: VARIABLE + 0x41, length: 1, kind: 'write' },
          { address: data + 0x3700, length: 0x200, kind: 'write' },
        ],
      },
      everything: {
        singleStep: true,
        breakpoints: everywhere,
        watchpoints: [{ address: VARIABLE, length: 256, kind: 'access' }],
        softwareBreakpoints: true,
      },
    };
    for (const [name, plan] of Object.entries(plans))
      for (const slice of [most, 7, 1]) {
        const { guest } = busyGuest(way);
        guest.vcpu.debug.set(plan);
        const made = run(guest, slice);
        assert.ok(made.exits.length > 30, `${name}: ${made.exits.length} exits`);
        assert.deepEqual(
          [made.hash, made.instructions],
          [alone.hash, alone.instructions],
          `${name}, slices of ${slice}`,
        );
      }
  });

  test(`row 23: breakpoints stop before each execution of the instruction, and the next entry goes over it (${way})`, () => {
    const { guest, program } = guest64(way);
    const { debug } = guest.vcpu;
    const rips = ['loop', 'second'].map((name) => Number(program.addressOf(name)));
    // Hot first: the breakpoints are met by code that is translated already.
    assert.equal(guest.vcpu.enter(8002).kind, 'budget');
    debug.set({ breakpoints: rips });
    for (let i = 0; i < 20; i++) {
      const exit = guest.vcpu.enter(100);
      assert.equal(exit.kind, 'debug');
      assert.deepEqual(exit, {
        kind: 'debug',
        cpu: 0,
        reason: 'hardware-breakpoint',
        rip: rips[i % 2],
        dr6: 0xffff_0ff0 + (1 << (i % 2)),
        address: 0,
        write: false,
      });
      assert.equal(100 - guest.vcpu.left, i === 0 ? 0 : i % 2 === 0 ? 3 : 1);
    }
    // Who goes back meets it again.
    debug.set({ breakpoints: [rips[0]!] });
    assert.equal(guest.vcpu.enter().kind, 'debug');
    const { state } = guest.vcpu;
    const [rip, rax] = ['rip', 'rax'].map((name) => [state.idOf(name), state.get(state.idOf(name))] as const);
    state.set([[rip![0], BigInt.asUintN(64, program.addressOf('back'))]]);
    const exit = guest.vcpu.enter(100);
    assert.ok(exit.kind === 'debug' && exit.rip === rips[0]);
    assert.equal(guest.vcpu.left, 99);
    assert.deepEqual(state.get([rip![0], rax![0]]), [rip, rax]);
    debug.clear();
    assert.equal(guest.vcpu.enter().kind, 'halt');
    assert.equal(guest.vcpu.fields.get64('rbx'), (5000n * 5001n) / 2n);
  });

  test(`row 23: a watchpoint reports after the access, with the byte that was touched first (${way})`, () => {
    const p = new Assembler(codeStart(kind32));
    p.put(0xb9, dword(300), 0x31, 0xc0);
    p.label('loop').put(0xa3, dword(VARIABLE + 0x80), 0xe2, to('loop', 1)); // mov [..], eax: hot
    p.put(0xa1, dword(VARIABLE - 2)); // mov eax, [..]: touches it from below
    p.label('1').put(0xc6, 0x05, dword(VARIABLE + 4), 7); // mov byte
    p.label('2').put(0xff, 0x05, dword(VARIABLE + 3)); // inc dword
    p.label('3').put(0xbe, dword(VARIABLE + 0x10), 0xbf, dword(VARIABLE + 0x30), 0xb9, dword(3));
    p.label('rep').put(0xf3, 0xa4); // reads +10H to +12H, writes +30H to +32H
    p.label('4').put(0xbc, dword(VARIABLE + 0x48), 0x50); // esp, push eax
    p.label('5').put(0x0f, 0xae, 0x05, dword(VARIABLE + 0x200)); // fxsave
    p.label('6').put(0xf4);
    const watch = (address: number, length: number, kind: 'read' | 'write' | 'access') => ({ address, length, kind });
    const cases = [
      [[watch(VARIABLE, 1, 'read')], [['1', VARIABLE, false]]],
      [
        [watch(VARIABLE, 8, 'write')],
        [
          ['2', VARIABLE + 4, true],
          ['3', VARIABLE + 3, true],
        ],
      ],
      [
        [watch(VARIABLE + 5, 100, 'read')],
        [
          ['3', VARIABLE + 5, false],
          ['rep', VARIABLE + 0x10, false],
          ['rep', VARIABLE + 0x11, false],
          ['4', VARIABLE + 0x12, false],
        ],
      ],
      [[watch(VARIABLE + 0x31, 1, 'write'), watch(VARIABLE + 0x11, 1, 'access')], [['rep', VARIABLE + 0x11, false]]],
      [[watch(VARIABLE + 0x44, 1, 'access')], [['5', VARIABLE + 0x44, true]]],
      [[watch(VARIABLE + 0x2a0, 0x10, 'write')], [['6', VARIABLE + 0x2a0, true]]],
      [[watch(VARIABLE + 0x7ff, 0x2000, 'access')], []],
    ] as const;
    for (const [watchpoints, expected] of cases)
      for (const slice of [most, 5]) {
        const guest = new Guest(kind32, way, vmModules());
        guest.write('code', 0, p.finish());
        guest.vcpu.fields.set64('rip', codeStart(kind32));
        guest.vcpu.debug.set({ watchpoints });
        const made = run(guest, slice);
        const seen = made.exits.map(({ reason, rip, address, write }) => [reason, rip, address, write]);
        const wanted = expected.map(([label, address, write]) => [
          'watchpoint',
          Number(p.addressOf(label)),
          address,
          write,
        ]);
        assert.deepEqual(seen, wanted, JSON.stringify(watchpoints));
      }
  });

  test(`row 23: INT3 is the embedder's while it wants that, or the guest's again (${way})`, () => {
    const p = new Assembler(codeStart(kind32));
    p.put(0xb9, dword(50));
    p.label('loop').put(0x40).label('int3').put(0xcc, 0x49, 0x75, to('loop', 1), 0xf4);
    p.label('bp').put(0x43, 0xcf);
    const guest = new Guest(kind32, way, vmModules());
    guest.write('code', 0, p.finish());
    setGate(guest, 3, Number(p.addressOf('bp')));
    const { vcpu } = guest;
    vcpu.fields.set64('rip', codeStart(kind32));
    vcpu.fields.set64('rsp', BigInt(data + 0x3800));
    assert.equal(vcpu.enter(1 + 20 * 6).kind, 'budget');
    vcpu.debug.set({ softwareBreakpoints: true });
    for (let i = 1; i <= 10; i++) {
      for (const executed of [i === 1 ? 1 : 6, 0]) {
        const exit = vcpu.enter(1000);
        assert.equal(exit.kind, 'debug');
        assert.equal(exit.kind === 'debug' && exit.reason, 'software-breakpoint');
        assert.equal(exit.kind === 'debug' && exit.rip, Number(p.addressOf('int3')));
        assert.equal(1000 - vcpu.left, executed);
      }
      vcpu.debug.deliverInt3();
    }
    vcpu.debug.clear();
    assert.equal(vcpu.enter().kind, 'halt');
    assert.deepEqual([vcpu.fields.get32('rax'), vcpu.fields.get32('rbx')], [50, 50]);
  });
}

test('row 23: a step is one instruction, one element, or one event', () => {
  const p = new Assembler(codeStart(kind32));
  p.label('start').put(0xb9, dword(3)).label('rep').put(0xf3, 0xac); // mov ecx, 3; rep lodsb
  p.label('sti').put(0xfb).label('after').put(0x90).label('nop').put(0x90);
  p.label('ss').put(0x8e, 0xd0).label('shadowed').put(0x40); // mov ss, ax
  p.label('ud2').put(0x0f, 0x0b).label('hlt').put(0xf4).label('end').put(0x90, 0xf4);
  p.label('ud').put(0x83, 0x04, 0x24, 2).label('iret').put(0xcf);
  p.label('int20').put(0xcf);
  const guest = new Guest(kind32, 'never', vmModules());
  guest.write('code', 0, p.finish());
  setGate(guest, 6, Number(p.addressOf('ud')));
  setGate(guest, 0x20, Number(p.addressOf('int20')));
  const { vcpu } = guest;
  const { fields } = vcpu;
  fields.set64('rip', codeStart(kind32));
  fields.set64('rsi', BigInt(VARIABLE));
  fields.set64('rsp', BigInt(data + 0x3800));
  fields.set64('rax', BigInt(fields.get32('ssSelector')));
  fields.set32('rflagsRest', fields.get32('rflagsRest') & ~0x200);
  vcpu.cpu.stateReplaced();
  const step = (expected: string) => {
    const exit = vcpu.enter();
    assert.ok(exit.kind === 'debug' && exit.reason === 'single-step', exit.kind);
    assert.equal(exit.rip, Number(p.addressOf(expected)), expected);
    assert.equal(exit.dr6, 0xffff_4ff0);
    assert.equal(fields.get64('dr6'), 0xffff_0ff0n);
    assert.equal(fields.get32('rflagsRest') & 0x1_0100, 0, 'neither TF nor RF');
  };
  vcpu.debug.set({ singleStep: true });
  assert.equal(vcpu.enter({ maxInstructions: 0 }).kind, 'budget');
  for (const label of ['rep', 'rep', 'rep', 'sti']) step(label);
  vcpu.interrupt(0x20);
  step('after'); // the instruction after STI comes first
  step('nop');
  step('int20'); // delivered: rip is at the handler
  fields.set64('rax', BigInt(fields.get32('ssSelector')));
  step('nop'); // by IRET
  step('ss');
  vcpu.interrupt(0x20);
  vcpu.debug.set({ singleStep: true, blockInterrupts: true });
  step('shadowed');
  step('ud2');
  step('ud');
  step('iret');
  step('hlt');
  step('end');
  step('int20'); // the processor halts: the interrupt that waited wakes it
  step('end');
  vcpu.debug.clear();
  assert.equal(vcpu.enter().kind, 'halt');
  vcpu.debug.set({ singleStep: true });
  assert.equal(vcpu.enter().kind, 'halt', 'nothing wakes it');
});

test('row 23: what cannot be debugged is refused, and nothing changes', () => {
  const { guest, program } = guest64('never');
  const { debug } = guest.vcpu;
  const second = program.addressOf('second');
  debug.set({ breakpoints: [second] });
  const bad: readonly (readonly [GuestDebugOptions, RegExp])[] = [
    [{ breakpoints: [1.5] }, /breakpoint at 1\.5/],
    [{ breakpoints: [0, 2n ** 64n] }, /breakpoint at 18446744073709551616/],
    [{ breakpoints: [Number.NaN] }, /NaN/],
    [{ watchpoints: [{ address: 2 ** 60, length: 1, kind: 'read' }] }, /watchpoint at/],
    [{ watchpoints: [{ address: 0, length: 0, kind: 'read' }] }, /watchpoint of 0 bytes/],
    [{ watchpoints: [{ address: 0, length: 1, kind: 'execute' as 'read' }] }, /watchpoint of kind execute/],
  ];
  for (const [options, message] of bad)
    assert.throws(() => debug.set(options), { name: 'ConfigurationError', code: 'bad-option', message });
  const exit = guest.vcpu.enter();
  assert.ok(exit.kind === 'debug' && exit.reason === 'hardware-breakpoint');
  assert.equal(exit.rip, Number(second));
});
