/** Guests that use the remote suite's device, and the VM around them. */
import { picPairOn } from '../../runtime/interrupts/controllers.ts';
import { physicalDma } from '../../runtime/remote/dma.ts';
import { RemoteDevice, type RemoteDeviceOptions } from '../../runtime/remote/remote-device.ts';
import type { Transport } from '../../runtime/remote/transport.ts';
import type { Vm } from '../../runtime/vm/vm.ts';
import { Assembler, dword, to } from '../engines/assembler.ts';
import { lidt, out, putIdt, store } from '../engines/system-code.ts';
import { ID, REGION_BYTES, reg, SECOND_BYTES } from './remote-test-device.ts';
import { guest, origin, type TestEngine } from './vm-harness.ts';

export const DEVICE = 0xd000_0000;
export const PORT = 0x300;
const IDT = 0x8000;
/** Interrupts taken from line 0 and line 1. */
const COUNTS = 0x9000;
/** What the guest has found. */
const RESULTS = 0x9100;
/** Where the device writes. */
export const BUFFER = 0x2_0000;
export const BUFFER_BYTES = 0x3004;
const PULSES = 10;
const WRITES = 600;
const HLT = 0xf4;

const at = (register: number) => dword(DEVICE + register);
const set = (register: number, value: number) => store(DEVICE + register, value);
/** mov eax, [register] */
const get = (register: number) => [0xa1, ...at(register)];

/** A guest and the results that it must leave. */
export class DeviceGuest {
  readonly expected: number[] = [];
  /** Place of two results that follow from what the device wrote: its last word, and the sum that it found. */
  bufferResults = 0;
  readonly code = new Assembler(BigInt(origin));
  #labels = 0;

  /** Notes EAX as the next result. */
  #note(expected: number): void {
    this.code.put(0xa3, dword(RESULTS + this.expected.length * 4)); // mov [result], eax
    this.expected.push(expected >>> 0);
  }
  /** Sleeps until a count is reached. */
  #awaitCount(line: number, count: number): void {
    const [top, done] = [`top${this.#labels}`, `done${this.#labels++}`];
    this.code.label(top).put(0xfa); // cli
    this.code.put(0x81, 0x3d, dword(COUNTS + line * 4), dword(count)); // cmp dword [count], count
    this.code.put(0x74, to(done, 1), 0xfb, HLT, 0xeb, to(top, 1)); // je done; sti; hlt; jmp top
    this.code.label(done).put(0xfb); // sti
  }

  /** The whole of what a driver does. */
  driver(): Uint8Array {
    const { code } = this;
    code.put(0xeb, 6).label('function').put(0xb8, dword(0x0bad_f00d), 0xc3); // jmp over: mov eax, operand; ret
    code.put(lidt(IDT - 8));
    // 8259s: vectors 20h and 28h; IRQ 5 by level, IRQ 6 by edge; both open.
    for (const [port, value] of [
      ...([0x11, 0x20, 4, 1] as const).map((v, i) => [i === 0 ? 0x20 : 0x21, v] as const),
      [0x21, 0x9f] as const,
    ])
      code.put(out(port, value));
    code.put(0x66, 0xba, 0xd0, 0x04, 0xb0, 0x20, 0xee); // mov dx, 4D0h; mov al, 20h; out dx, al
    code.put(get(reg.id));
    this.#note(ID);
    // Widths.
    code.put(set(reg.scratch, 0x1122_3344));
    code.put(0x66, 0xc7, 0x05, at(reg.scratch + 2), 0x66, 0x55); // mov word [scratch + 2], 5566h
    code.put(0xc6, 0x05, at(reg.scratch + 1), 0x77); // mov byte [scratch + 1], 77h
    code.put(get(reg.scratch));
    this.#note(0x5566_7744);
    code.put(0x0f, 0xb6, 0x05, at(reg.scratch + 1)); // movzx eax, byte [scratch + 1]
    this.#note(0x77);
    code.put(0x0f, 0xb7, 0x05, at(reg.scratch + 2)); // movzx eax, word [scratch + 2]
    this.#note(0x5566);
    code.put(0x81, 0x05, at(reg.scratch), dword(0x0101_0101)); // add dword [scratch], 01010101h
    code.put(0x87, 0x05, at(reg.scratch)); // xchg eax, [scratch]
    this.#note(0x5667_7845);
    code.put(get(reg.scratch));
    this.#note(0x5566);
    // Eight bytes: two registers.
    code.put(0xbf, dword(RESULTS - 16), 0xbe, at(reg.scratch), 0xb9, dword(2), 0xf3, 0xa5); // rep movsd
    code.put(0xa1, dword(RESULTS - 16));
    this.#note(0x5566);
    // Posted writes and the read that follows them.
    code.put(0xb9, dword(WRITES)).label('writes').put(0x89, 0x0d, at(reg.sum)); // mov [sum], ecx
    code.put(0x49, 0x75, to('writes', 1)); // dec ecx; jnz
    code.put(get(reg.sum));
    this.#note((WRITES * (WRITES + 1)) / 2);
    code.put(set(reg.once, 0xcafe), get(reg.once));
    this.#note(0xcafe);
    code.put(get(reg.once));
    this.#note(0);
    // The second region, by ports.
    code.put(0x66, 0xba, PORT & 0xff, PORT >> 8, 0xb8, dword(0x0a0b_0c0d), 0xef, 0x31, 0xc0, 0xed); // out dx, eax; in
    this.#note(0x0a0b_0c0d);
    code.put(0x66, 0x42, 0x31, 0xc0, 0xec); // inc dx; in al, dx
    this.#note(0x0c);
    code.put(0x31, 0xc0, 0x66, 0xed); // in ax, dx
    this.#note(0x0b0c);
    // The device writes memory and says so by a level; then it reads it.
    code.put(set(reg.dmaAddress, BUFFER), set(reg.dmaLength, BUFFER_BYTES), set(reg.dmaCommand, 2));
    this.#awaitCount(0, 1);
    code.put(0xa1, dword(BUFFER + BUFFER_BYTES - 4));
    this.bufferResults = this.expected.length;
    this.#note(0);
    code.put(set(reg.dmaCommand, 1));
    this.#awaitCount(0, 2);
    code.put(get(reg.dmaResult));
    this.#note(0);
    // The device writes over the operand of an instruction that has run, and may have been translated.
    code.put(0xb9, dword(2000)).label('calls').put(0xe8, to('function')).put(0x49, 0x75, to('calls', 1));
    this.#note(0x0bad_f00d);
    const operand = code.addressOf('function') + 1n;
    code.put(get(reg.sum), 0xf7, 0xd8, 0xa3, at(reg.sum), set(reg.sum, 0x600d_beef)); // what it is less, and the operand
    code.put(set(reg.dmaAddress, Number(operand)), set(reg.dmaCommand, 3));
    this.#awaitCount(0, 3);
    code.put(0xe8, to('function'));
    this.#note(0x600d_beef);
    // Edges, each held until the handler has seen it.
    for (let pulse = 1; pulse <= PULSES; pulse++) {
      code.put(set(reg.lines, 2));
      this.#awaitCount(1, pulse);
    }
    code.put(0xfa, HLT); // cli; hlt
    code.label('level').put(0x50, set(reg.dmaStatus, 0), get(reg.dmaStatus)); // lowers the line, and waits until it is low
    code.put(0xff, 0x05, dword(COUNTS), out(0x20, 0x20), 0x58, 0xcf); // inc dword [count]; EOI; iret
    code
      .label('edge')
      .put(0x50, set(reg.lines, 0), get(reg.lines), 0xff, 0x05, dword(COUNTS + 4), out(0x20, 0x20), 0x58, 0xcf);
    return code.finish();
  }

  /** Reads the id register and counts, until it reads something else; notes that, writes, reads again, and halts. */
  poller(): Uint8Array {
    const { code } = this;
    code.label('top').put(get(reg.id), 0xff, 0x05, dword(COUNTS), 0x3d, dword(ID), 0x74, to('top', 1)); // inc; cmp; je
    this.#note(0xffff_ffff);
    code.put(set(reg.scratch, 1), get(reg.scratch));
    this.#note(0xffff_ffff);
    code.put(0x31, 0xc0, 0xa0, at(reg.scratch)); // mov al, [scratch]
    this.#note(0xff);
    code.put(0xfa, HLT);
    return code.finish();
  }

  setVectors(vm: Vm): void {
    putIdt(vm.ram, IDT, { 37: this.code.addressOf('level'), 38: this.code.addressOf('edge') });
  }
}

const viewOf = (vm: Vm): DataView => new DataView(vm.ram.buffer, vm.ram.byteOffset, vm.ram.byteLength);
export const resultsOf = (vm: Vm, count: number): number[] =>
  Array.from({ length: count }, (_, i) => viewOf(vm).getUint32(RESULTS + i * 4, true));
export const countOf = (vm: Vm, line: number): number => viewOf(vm).getUint32(COUNTS + line * 4, true);

/** A VM with interrupt controllers, before the guest's first instruction, and the device at its places. */
export async function machineWith(
  engine: TestEngine,
  code: Uint8Array,
  transport: Transport,
  options: RemoteDeviceOptions = {},
): Promise<{ readonly vm: Vm; readonly device: RemoteDevice }> {
  const vm = guest(engine, code);
  const pic = picPairOn(vm.irq.attach('pic', 16));
  vm.io.attach({ space: 'port', address: 0x20, length: 2 }, pic.first);
  vm.io.attach({ space: 'port', address: 0xa0, length: 2 }, pic.second);
  vm.io.attach({ space: 'port', address: 0x4d0, length: 2 }, pic.triggers);
  vm.routes.replace([5, 6].map((gsi) => ({ gsi, controller: 'pic', pin: gsi })));
  const device = await RemoteDevice.connect(transport, {
    lines: [vm.irq.line(5), vm.irq.line(6)],
    memory: physicalDma(vm.physical),
    timeoutMillis: 60_000,
    ...options,
  });
  vm.remote.attach({ space: 'memory', address: DEVICE, length: REGION_BYTES }, device);
  vm.remote.attach({ space: 'port', address: PORT, length: SECOND_BYTES }, device.region(1));
  return { vm, device };
}

/** Runs until the guest halts for good. */
export async function runToEnd(vm: Vm, signal: AbortSignal = AbortSignal.timeout(120_000)): Promise<void> {
  for await (const exit of vm.run({ signal })) {
    if (exit.kind === 'halt' && !exit.interruptible) return;
    if (exit.kind !== 'halt') throw new Error(`the guest was left for ${JSON.stringify(exit)}`);
  }
  throw new Error('the guest did not end in time');
}
