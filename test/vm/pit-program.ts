/**
 * The interval timer with a program in front of it: reads of counter 0 are answered beside the processor from the channel's
 * state in the shared area; what the program passes on, and every write, the device does itself. The state goes back and
 * forth at those accesses alone.
 */
import type { AccessSize, Device } from '../../runtime/devices/device.ts';
import { unconnectedLine } from '../../runtime/devices/irq-line.ts';
import { Pit8254 } from '../../runtime/devices/pit-8254.ts';
import type { ProgramOptions } from '../../runtime/io/program.ts';
import type { Vm } from '../../runtime/vm/vm.ts';

interface ChannelState {
  readonly mode: number;
  readonly bcd: boolean;
  readonly access: number;
  readonly reload: number;
  readonly next: number;
  readonly skipped: number;
  readonly start: number;
  readonly held: number;
  latched: number;
  latchedStatus: number;
  readHigh: boolean;
}

export const pitPorts = { space: 'port', address: 0x40, length: 4 } as const;
export const pitOptions: ProgramOptions = { shared: 32, name: 'pit' };

/** Where the program's `struct counter` has its fields. */
const at = { start: 0, reload: 8, mode: 12, access: 16, readHigh: 20, latched: 24, counting: 28 } as const;

export class PitWithProgram implements Device {
  readonly name = 'pit';
  /** Accesses that the program did not do. */
  passed = 0;
  private readonly pit: Pit8254;
  private shared: DataView | null = null;

  constructor(vm: Vm) {
    this.pit = new Pit8254(vm.time.clock, unconnectedLine);
    vm.io.attach(pitPorts, this);
  }
  private get channel(): ChannelState {
    return (this.pit.state as ChannelState[])[0]!;
  }
  /** Puts the program in front. */
  async use(vm: Vm, program: Uint8Array): Promise<void> {
    const { shared } = await vm.program({ ...pitPorts, access: 'read' }, program, pitOptions);
    this.shared = new DataView(shared.buffer, shared.byteOffset, shared.length);
    this.show();
  }
  /** What reads have changed is the program's to say. */
  private take(): void {
    const { shared, channel } = this;
    if (shared === null || shared.getInt32(at.counting, true) === 0) return;
    channel.readHigh = shared.getInt32(at.readHigh, true) !== 0;
    channel.latched = shared.getInt32(at.latched, true);
  }
  private show(): void {
    const { shared, channel } = this;
    if (shared === null) return;
    const { mode, reload } = channel;
    // The program knows a count that runs from its beginning, in binary.
    const simple = !Number.isNaN(channel.start) && Number.isNaN(channel.held) && reload > 0 && !channel.bcd;
    const settled = channel.next === 0 && channel.skipped === 0 && channel.latchedStatus < 0;
    const counting = simple && settled && (mode !== 3 || reload % 2 === 0);
    shared.setBigUint64(at.start, counting ? BigInt(channel.start) : 0n, true);
    shared.setInt32(at.reload, reload, true);
    shared.setInt32(at.mode, mode, true);
    shared.setInt32(at.access, channel.access, true);
    shared.setInt32(at.readHigh, Number(channel.readHigh), true);
    shared.setInt32(at.latched, channel.latched, true);
    shared.setInt32(at.counting, Number(counting), true);
  }
  read(offset: number, size: AccessSize): number {
    this.passed++;
    this.take();
    const value = this.pit.read(offset, size);
    this.show();
    return value;
  }
  write(offset: number, size: AccessSize, value: number): void {
    this.take();
    this.pit.write(offset, size, value);
    this.show();
  }
}
