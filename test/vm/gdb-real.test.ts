/**
 * A real gdb on a guest: it attaches over TCP, breaks, watches, steps, reads and changes registers and memory, looks at the
 * other vCPU, interrupts, and detaches; the guest then runs to its end. Without gdb these tests are skipped.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { listenForGdb } from '../../runtime/hosts/node-gdb.ts';
import type { InitialMode } from '../../runtime/loaders/initial-state.ts';
import type { Vm } from '../../runtime/vm/vm.ts';
import { Assembler, dword, to } from '../engines/assembler.ts';
import { Gdb, skipWithout } from './gdb-driver.ts';
import { engines, guest, origin, type TestEngine } from './vm-harness.ts';

const skip = skipWithout('gdb');

const counter = 0x8000;
const watched = 0x8010;
const other = 0x8020;
const flag = 0x8030;
const vector = 0x9000;

/**
 * vCPU 0 counts, calls a function ten times, waits for a flag and halts; vCPU 1 counts for ever. The same in 32-bit and
 * 64-bit mode.
 */
function program(mode: InitialMode): Assembler {
  const p = new Assembler(BigInt(origin));
  /** ModR/M with an absolute address. */
  const variable = (register: number, address: number) =>
    mode === 'long' ? [(register << 3) | 4, 0x25, ...dword(address)] : [(register << 3) | 5, ...dword(address)];
  p.put(0xbc, dword(0x7000), 0xb9, dword(20000)); // stack; ecx
  p.label('count').put(0xff, variable(0, counter), 0xff, 0xc9, 0x75, to('count', 1)); // inc [counter]; dec ecx; jnz
  p.put(0x0f, 0x28, variable(0, vector), 0xdb, 0xe3, 0xd9, 0xe8, 0xbb, dword(10)); // movaps xmm0, [vector]; fninit; fld1; ebx
  p.label('calls').put(0xe8, to('function'));
  p.label('returned').put(0xff, 0xcb, 0x75, to('calls', 1)); // dec ebx; jnz
  p.label('wait').put(0x83, variable(7, flag), 0, 0x74, to('wait', 1)); // cmp [flag], 0; je
  p.put(0x8b, variable(0, counter)).label('halt').put(0xf4); // mov eax, [counter]; hlt
  p.label('function').put(0xff, variable(0, watched)).label('return').put(0xc3); // inc [watched]; ret
  p.label('second').put(0xff, variable(0, other), 0xeb, to('second', 1)); // inc [other]; jmp
  return p;
}

function twoCpus(engine: TestEngine, mode: InitialMode): { vm: Vm; code: Assembler } {
  const code = program(mode);
  const vm = guest(engine, code.finish(), { mode, cpus: 2 });
  const [first, second] = vm.vcpus;
  const cr4 = first!.state.idOf('cr4');
  first!.state.set([[cr4, first!.state.get(cr4) | 0x200n]]); // OSFXSR
  // vCPU 1 is in the state of the first one, elsewhere.
  const ids = new Set(
    second!.state
      .list()
      .filter(({ attributes, set }) => attributes === 'rw' && ['gpr', 'segment', 'table', 'control'].includes(set))
      .map(({ id }) => id),
  );
  second!.state.set(first!.state.get(ids));
  second!.state.set([[second!.state.idOf('rip'), code.addressOf('second')]]);
  new Float32Array(vm.ram.buffer, vm.ram.byteOffset + vector, 4).set([1.5, 2.5, -3, 4]);
  return { vm, code };
}

const modes = [
  ['protected', 'e', '32'],
  ['long', 'r', '64'],
] as const;

for (const engine of engines)
  for (const [mode, letter, bits] of modes)
    test(`row 23: a real gdb debugs a ${bits}-bit guest (${engine})`, { skip }, async () => {
      const { vm, code } = twoCpus(engine, mode);
      const here = (label: string) => `0x${code.addressOf(label).toString(16)}`;
      const word = (address: number) => new DataView(vm.ram.buffer, vm.ram.byteOffset).getUint32(address, true);
      await using listener = await listenForGdb(vm, { port: 0 });
      const session = listener.session();
      await using gdb = new Gdb();
      await gdb.start();
      const says = async (command: string, expected: RegExp) =>
        assert.match(await gdb.does(command), expected, command);

      await says(`target remote 127.0.0.1:${listener.port}`, new RegExp(`0x0*${origin.toString(16)} in`));
      await says('show architecture', mode === 'long' ? /i386:x86-64/ : /currently "i386"/);
      await says('info threads', /Thread 1 "vCPU 0".*\n.*Thread 2 "vCPU 1"/);
      await says('monitor info', /vCPU 0: cs:rip [0-9a-f]{4}:0x1000.*\n?vCPU 1/);
      assert.equal(word(counter), 0);

      // Breakpoints, more than a processor has.
      for (const label of ['function', 'return', 'returned', 'wait', 'halt', 'calls'])
        await says(`break *${here(label)}`, /Breakpoint/);
      await says('continue', new RegExp(`Breakpoint 6, 0x0*${here('calls').slice(2)} in`));
      assert.equal(word(counter), 20000);
      await says('print $xmm0.v4_float', /\{1\.5, 2\.5, -3, 4\}/);
      await says('print $st0', /= 1$/);
      await says(`p/x $${letter}bx`, /0xa/);
      await says('continue', /Breakpoint 1/);
      await says(`x/i $pc`, /inc/);
      await says(`x/dw ${watched}`, /:\s*0$/);
      await says('stepi', new RegExp(`${here('return').slice(2)} in`));
      await says(`x/dw ${watched}`, /:\s*1$/);
      await says('stepi', new RegExp(`${here('returned').slice(2)} in`));
      await says('stepi', /0x0*[0-9a-f]+ in/);
      await says(`p $${letter}bx`, /= 9$/);

      // Registers and memory are changed.
      await says(`set $${letter}bx = 3`, /^$/);
      await says(`set $xmm1.v4_int32[2] = 77`, /^$/);
      await says('set $eflags = $eflags & ~0x40', /^$/);
      await says(`set *(int *) ${watched} = 100`, /^$/);
      assert.equal(word(watched), 100);
      await says('p $xmm1.v4_int32', /\{0, 0, 77, 0\}/);
      await says('delete', /^$/);

      // A watchpoint reports after the access, with both values.
      await says(`watch *(int *) ${watched}`, /Hardware watchpoint 7/);
      await says('continue', /Old value = 100\s+New value = 101/);
      await says(`p/x $pc == ${here('return')}`, /0x1/);
      await says('delete', /^$/);
      await says(`rwatch *(int *) ${flag}`, /Hardware read watchpoint 8/);
      await says('continue', /Value = 0/);
      await says('delete', /^$/);
      assert.equal(word(watched), 103, 'it was called three times more');

      // The other vCPU, and an interrupt from the keyboard.
      const before = word(other);
      assert.match(await gdb.interrupted('continue'), /SIGINT/);
      assert.ok(word(other) > before, 'the other vCPU runs too');
      await says('thread 2', /Switching to thread 2/);
      await says(`p $pc >= ${here('second')}`, /= 1$/);
      await says('p/x $cr0 & 1', /0x1/);
      await says('thread 1', /Switching to thread 1/);
      await says('set scheduler-locking on', /^$/);
      const still = word(other);
      await says('stepi 20', /0x/);
      assert.equal(word(other), still, 'a locked step leaves the other vCPU alone');
      await says('set scheduler-locking off', /^$/);

      // What cannot be.
      await says('x/4x 0xfff00000', /Cannot access memory/);
      await says('set $cr0 = 0x80000000', /Could not write register|E22/);

      await says(`set *(int *) ${flag} = 1`, /^$/);
      await says(`break *${here('halt')}`, /Breakpoint 9/);
      await says('continue', /Breakpoint 9/);
      await says('p $eax', /= 20000$/);
      await says('detach', /detached/);
      assert.equal(await session, 'detached');
      // The guest goes on as if nothing had been: vCPU 0 halts, vCPU 1 counts.
      const [first, second] = vm.vcpus;
      assert.equal(first!.enter(1000).kind, 'halt');
      assert.equal(second!.enter(1000).kind, 'budget');
    });

test('row 23: a real gdb finds real-mode code where it is, behind its segment', { skip }, async () => {
  const code = new Assembler(0n);
  code.put(0xb8, 0x34, 0x12).label('far').put(0xea, 0x08, 0x00, 0x08, 0x01); // mov ax, 1234h; jmp 108h:8
  code.pad(0x88).label('there').put(0x40).label('after').put(0x40, 0xf4); // inc ax; inc ax; hlt
  const vm = guest('hot', code.finish(), { mode: 'real' });
  const { state } = vm.vcpu(0);
  // CS:IP = 100H:0, which is where the code lies.
  state.set([
    [state.idOf('csSelector'), 0x100n],
    [state.idOf('csBase'), 0x1000n],
    [state.idOf('rip'), 0n],
  ]);
  await using listener = await listenForGdb(vm, { port: 0 });
  await using gdb = new Gdb();
  await gdb.start();
  const says = async (command: string, expected: RegExp) => assert.match(await gdb.does(command), expected, command);
  await says(`target remote 127.0.0.1:${listener.port}`, /0x0*1000 in/);
  await says('show architecture', /i8086/);
  await says('x/2i $pc', /mov +\$0x1234,%ax\s.*ljmp/);
  await says('stepi 2', /0x0*1088 in/);
  await says('p/x $cs', /0x108/);
  await says('monitor info', /cs:rip 0108:0x8, linear 0x1088/);
  await says('break *0x1089', /Breakpoint 1/);
  await says('continue', /Breakpoint 1, 0x0*1089 in/);
  await says('p/x $ax', /0x1235/);
  await says('set $pc = 0x1088', /^$/);
  await says('continue', /Breakpoint 1, 0x0*1089 in/);
  await says('p/x $ax', /0x1236/);
  await says('detach', /detached/);
});
