/**
 * The smallest PC that kernels know: this file is the whole list of its devices.
 *
 *   ports 020, 0A0   interrupt controllers        ports 040      interval timer
 *   ports 061        speaker, counter 2           ports 064      reset line of the keyboard controller
 *   ports 070        clock and CMOS memory        ports 080      last POST code
 *   ports 092        A20, fast reset              ports 0E9      debug console
 *   ports 0F4        exit port                    ports 3F8      serial port, interrupt 4
 *   ports 4D0        edge or level                ports 510      firmware configuration
 *   ports 600        power management, irq 9      ports CF9      reset control
 *   FEC00000         I/O APIC                     and, if asked for, what `test-device.ts` lists
 */

import { AcpiPower } from '../devices/acpi-power.ts';
import type { Clock } from '../devices/clock.ts';
import { Debugcon } from '../devices/debugcon.ts';
import type { Device } from '../devices/device.ts';
import { ExitPort } from '../devices/exit-port.ts';
import { FirmwareConfiguration } from '../devices/firmware-configuration.ts';
import { type IoApic, ioApicPins } from '../devices/io-apic.ts';
import type { IrqLine } from '../devices/irq-line.ts';
import type { PicPair } from '../devices/pic-8259.ts';
import { Pit8254 } from '../devices/pit-8254.ts';
import { PostPort } from '../devices/post-port.ts';
import { RtcCmos } from '../devices/rtc-cmos.ts';
import { Serial16550 } from '../devices/serial-16550.ts';
import { ResetControl, ResetLine, SpeakerPort, SystemControlPort } from '../devices/system-control.ts';
import { TestLines, TestMemory } from '../devices/test-device.ts';
import { ioApicOn, picPairOn } from '../interrupts/controllers.ts';
import { pcRoutes, picPins } from '../interrupts/pc-routes.ts';
import type { VmInterrupts } from '../interrupts/vm-interrupts.ts';
import type { IoMap } from '../io/io-map.ts';
import type { AcpiMachine } from './acpi-tables.ts';

/** Where things are, as the tables tell the guest. */
export const pcLayout = {
  localApic: 0xfee0_0000,
  ioApic: 0xfec0_0000,
  powerPort: 0x600,
  powerIrq: 9,
  resetPort: 0xcf9,
  resetValue: 6,
} as const satisfies Omit<AcpiMachine, 'cpus'>;
const irqs = { timer: 0, serial: 4, clock: 8 } as const;

/** What the devices reach outside of themselves. */
export interface PcSurroundings {
  readonly clock: Clock;
  /** Milliseconds since 1970 at the clock's zero. */
  readonly epoch: number;
  readonly memory: number;
  readonly cpus: number;
  readonly serial: (byte: number) => void;
  readonly debugcon: (byte: number) => void;
  readonly exit: (status: number) => void;
  readonly powerOff: () => void;
  readonly reset: () => void;
  readonly setA20: (open: boolean) => void;
  /** Takes the interrupt controllers and the devices' lines. */
  readonly interrupts: VmInterrupts;
  /** Also the devices that test programs drive. */
  readonly testDevice: boolean;
}

export interface PcDevices {
  readonly serial: Serial16550;
  readonly pic: PicPair;
  readonly ioApic: IoApic;
}

/** What firmware notes about memory in CMOS, in units of 1 KiB and above 16 MiB of 64 KiB. */
function presetCmos(rtc: RtcCmos, memory: number): void {
  const word = (index: number, value: number) => {
    rtc.preset(index, value);
    rtc.preset(index + 1, value >>> 8);
  };
  word(0x15, 640);
  const extended = Math.min(0xffff, Math.max(0, memory - 0x10_0000) >>> 10);
  word(0x17, extended);
  word(0x30, extended);
  word(0x34, Math.min(0xffff, Math.max(0, memory - 0x100_0000) >>> 16));
}

/** Makes the devices and attaches them. */
export function attachPcDevices(io: IoMap, around: PcSurroundings): PcDevices {
  const { clock, interrupts } = around;
  const pic = picPairOn(interrupts.attach('pic', picPins));
  const ioApic = ioApicOn(interrupts.attach('io-apic', ioApicPins));
  interrupts.routes.replace(pcRoutes());
  const line = (irq: number) => interrupts.line(irq);
  const pit = new Pit8254(clock, line(irqs.timer));
  const rtc = new RtcCmos(clock, line(irqs.clock), around.epoch);
  presetCmos(rtc, around.memory);
  const serial = new Serial16550(around.serial, line(irqs.serial));

  const ports: readonly [number, number, Device][] = [
    [0x20, 2, pic.first],
    [0xa0, 2, pic.second],
    [0x4d0, 2, pic.triggers],
    [0x40, 4, pit],
    [0x61, 1, new SpeakerPort(clock, pit)],
    [0x64, 1, new ResetLine(around.reset)],
    [0x70, 2, rtc],
    [0x80, 1, new PostPort()],
    [0x92, 1, new SystemControlPort(around.setA20, around.reset)],
    [0xe9, 1, new Debugcon(around.debugcon)],
    [0xf4, 4, new ExitPort(around.exit)],
    [0x3f8, 8, serial],
    [0x510, 2, new FirmwareConfiguration(around)],
    [pcLayout.powerPort, 12, new AcpiPower(clock, line(pcLayout.powerIrq), around.powerOff)],
    [pcLayout.resetPort, 1, new ResetControl(around.reset)],
  ];
  for (const [address, length, device] of ports) io.attach({ space: 'port', address, length }, device);
  io.attach({ space: 'memory', address: pcLayout.ioApic, length: 0x1000 }, ioApic);
  if (around.testDevice) attachTestDevices(io, line);
  return { serial, pic, ioApic };
}

function attachTestDevices(io: IoMap, line: (irq: number) => IrqLine): void {
  const lines = Array.from({ length: ioApicPins }, (_, gsi) => line(gsi));
  io.attach({ space: 'port', address: 0xe0, length: 8 }, new TestMemory('test-register', 4));
  io.attach({ space: 'port', address: 0x2000, length: lines.length }, new TestLines(lines));
  io.attach({ space: 'memory', address: 0xff00_0000, length: 0x1_0000 }, new TestMemory('test-memory', 0x1_0000));
}
