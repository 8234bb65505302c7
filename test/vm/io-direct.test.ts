/** BPF programs that translated code asks through its table: what it sees, and when it must not ask by itself. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assemble } from '../../src/bpf/assemble.ts';
import { dword, to } from '../engines/assembler.ts';
import { CR4_DE, lidt, putIdt, setControl } from '../engines/system-code.ts';
import { code, IoGuest } from './io-guest.ts';
import { engines, hashOf, type TestEngine, testEngines } from './vm-harness.ts';

const RESULTS = 0x4000;
const reads = (port: number) => ({ space: 'port', address: port, length: 4, access: 'read' }) as const;
/** Counts the accesses in the first word of its area, and answers with their number and the port. */
const counting = assemble(`
  r2 = *(u64 *)(r1 + 24)
  r3 = *(u32 *)(r2 + 0)
  r3 += 1
  *(u32 *)(r2 + 0) = r3
  r4 = *(u64 *)(r1 + 0)
  r4 <<= 16
  r3 |= r4
  *(u64 *)(r1 + 8) = r3
  r0 = 1
  exit`);
/** Answers with the time, and adds what is written to its area. */
const timing = assemble(`
  r3 = *(u32 *)(r1 + 36)
  if r3 != 0 goto write
  r2 = *(u64 *)(r1 + 16)
  *(u64 *)(r1 + 8) = r2
  r0 = 1
  exit
write:
  r2 = *(u64 *)(r1 + 24)
  r3 = *(u64 *)(r1 + 8)
  r4 = *(u64 *)(r2 + 0)
  r4 += r3
  *(u64 *)(r2 + 0) = r4
  r0 = 1
  exit`);

/** Counts the port accesses that reach the VM's I/O map. */
function countAsked({ io: { ports } }: IoGuest): () => number {
  let count = 0;
  const counted = <Given extends unknown[], Answer>(access: (...given: Given) => Answer) =>
    function (this: unknown, ...given: Given): Answer {
      count++;
      return access.apply(this, given);
    };
  ports.read = counted(ports.read);
  ports.write = counted(ports.write);
  ports.readDirect = counted(ports.readDirect);
  ports.writeDirect = counted(ports.writeDirect);
  return () => count;
}

/** in al, 60h; add ebx, eax; so many times */
const readingLoop = (count: number) =>
  code().put(0xb9, dword(count)).label('again').put(0xe5, 0x60, 0x01, 0xc3, 0x49, 0x75, to('again', 1), 0xf4);

test('row 15: translated code asks a program without the I/O map, for one port and for the port in DX', async () => {
  for (const loop of [
    readingLoop(20_000),
    code()
      .put(0xb9, dword(20_000), 0xba, dword(0x60))
      .label('again')
      .put(0xed, 0xef, 0x01, 0xc3, 0x49, 0x75, to('again', 1), 0xf4), // in eax, dx; out dx, eax
  ]) {
    const guest = new IoGuest('translation', loop);
    await guest.vm.program({ ...reads(0x60), access: 'read-write' }, counting, { shared: 8 });
    const asked = countAsked(guest);
    assert.deepEqual(guest.run(), {});
    assert.ok(asked() < 4000, `${asked()} accesses went by way of the map`);
  }
});

test('row 15: what a program sees of the time does not depend on who asks it, nor on slices', async () => {
  const run = async (engine: TestEngine, slice: number): Promise<string> => {
    const guest = new IoGuest(
      engine,
      code()
        .put(0xb9, dword(3000), 0xbf, dword(RESULTS))
        .label('again')
        .put(0xe5, 0x60, 0x01, 0x07) // in eax, 60h; add [edi], eax
        .put(0x8d, 0x91, dword(0)) // lea edx, [ecx]
        .put(0x83, 0xe2, 0x20, 0x83, 0xc2, 0x60) // and edx, 20h; add edx, 60h: 60h and 80h share a place
        .put(0xec, 0x01, 0x47, 0x04, 0x66, 0xed, 0x31, 0x47, 0x08) // in al, dx; in ax, dx; both are kept
        .put(0x90, 0xe7, 0x60, 0x49, 0x0f, 0x85, to('again'), 0xf4), // nop; out 60h, eax
    );
    const { vm } = guest;
    const programs = [
      await vm.program({ ...reads(0x60), access: 'read-write' }, timing, { shared: 8 }),
      await vm.program(reads(0x80), timing, { shared: 8 }),
    ];
    const vcpu = vm.vcpu(0);
    let exit = vcpu.enter(slice);
    while (exit.kind === 'budget') exit = vcpu.enter(slice);
    assert.equal(exit.kind, 'halt');
    const sums = programs.map(({ shared }) => Buffer.from(shared).toString('hex'));
    return [hashOf(vm), vm.time.now(), ...sums].join(' ');
  };
  const expected = await run('interpreter', 1e9);
  for (const engine of engines)
    for (const slice of [1e9, 1000, 37, 7]) assert.equal(await run(engine, slice), expected, `${engine}, ${slice}`);
});

testEngines('row 15: a program that is replaced or taken away is asked no more', async (engine) => {
  const guest = new IoGuest(engine, readingLoop(100_000));
  const { vm } = guest;
  const vcpu = vm.vcpu(0);
  const words = ({ shared }: { shared: Uint8Array }) => new Uint32Array(shared.buffer, shared.byteOffset, 1);
  const first = await vm.program(reads(0x60), counting, { shared: 8 });
  assert.equal(vcpu.enter(4 * 10_000 + 1).kind, 'budget');
  assert.equal(words(first)[0], 10_000);
  first.detach();
  assert.equal(vcpu.enter(4).kind, 'pio');
  assert.equal(vcpu.enter(4).kind, 'budget');
  const second = await vm.program(reads(0x60), counting, { shared: 8 });
  assert.equal(vcpu.enter(4 * 10_000).kind, 'budget');
  assert.deepEqual([words(first)[0], words(second)[0]], [10_000, 10_000]);
});

testEngines('row 15: where accesses to ports take time, they take it with a program too', async (engine) => {
  const times: number[] = [];
  for (const nanos of [0, 1000]) {
    const guest = new IoGuest(engine, readingLoop(10_000));
    await guest.vm.program(reads(0x60), counting, { shared: 8 });
    assert.equal(guest.vm.vcpu(0).enter(4 * 5000 + 1).kind, 'budget');
    if (nanos > 0) guest.io.ports.took = (accesses) => guest.vm.time.pass(accesses * nanos);
    assert.deepEqual(guest.run(), {});
    times.push(guest.vm.time.now());
  }
  assert.equal(times[1]! - times[0]!, 5000 * 1000);
});

testEngines('row 15: a breakpoint on a port is met where a program answers', async (engine) => {
  const handler = 0x3000;
  const idt = 0x8000;
  const guest = new IoGuest(
    engine,
    code()
      .put(lidt(idt - 8), 0xbe, dword(2)) // esi: two rounds
      .label('round')
      .put(0xb9, dword(3000))
      .label('again')
      .put(0xe5, 0x60, 0x49, 0x75, to('again', 1)) // in eax, 60h
      .put(setControl(4, CR4_DE))
      .put(0xb8, dword(0x60), 0x0f, 0x23, 0xc0, 0xb8, dword(0x2_0002), 0x0f, 0x23, 0xf8) // DR0 = 60h, DR7: ports
      .put(0x4e, 0x75, to('round', 1), 0xf4),
  );
  const { vm } = guest;
  putIdt(vm.ram, idt, { 1: handler }, vm.vcpu(0).fields.get32('csSelector'));
  vm.physical.writeBytes(handler, Uint8Array.from([0xff, 0x05, ...dword(RESULTS), 0xcf])); // inc [RESULTS]; iret
  await vm.program(reads(0x60), counting, { shared: 8 });
  assert.deepEqual(guest.run(), {});
  assert.equal(guest.word(RESULTS), 3000, 'each access of the second round');
});
