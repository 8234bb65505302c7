/**
 * What `import … from 'jit86/devices'` gives: the devices of a PC, each by itself, and what a device is made with. Attach
 * them with `vm.io.attach()`.
 */
export { AcpiPower } from './acpi-power.ts';
export { type Alarm, type Clock, HostClock, VirtualClock } from './clock.ts';
export { Debugcon } from './debugcon.ts';
export { type AccessSize, allOnes, type Device, readBytewise, writeBytewise } from './device.ts';
export { ExitPort, exitStatus } from './exit-port.ts';
export { FirmwareConfiguration } from './firmware-configuration.ts';
export { IoApic, type IoApicMessage } from './io-apic.ts';
export { type IrqLine, irqLine, unconnectedLine } from './irq-line.ts';
export { PicPair } from './pic-8259.ts';
export { Pit8254 } from './pit-8254.ts';
export { PostPort } from './post-port.ts';
export { RtcCmos } from './rtc-cmos.ts';
export { Serial16550 } from './serial-16550.ts';
export { ResetControl, ResetLine, SpeakerPort, SystemControlPort } from './system-control.ts';
export { TestLines, TestMemory } from './test-device.ts';
