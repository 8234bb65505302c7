/**
 * The public face of the package: what `import … from 'jit86'` gives. The hosts come as `jit86/node` and `jit86/browser`.
 */

export { BpfError } from '../src/bpf/errors.ts';
export { type CpuidPolicy, type CpuidRegisters, cpuidFeatureNames } from '../src/system/cpuid-policy.ts';
export { type Alarm, type Clock, HostClock, VirtualClock } from './devices/clock.ts';
export { Debugcon } from './devices/debugcon.ts';
export type { AccessSize, Device } from './devices/device.ts';
export { ExitPort, exitStatus } from './devices/exit-port.ts';
export { type IrqLine, irqLine, unconnectedLine } from './devices/irq-line.ts';
export { PostPort } from './devices/post-port.ts';
export { Serial16550 } from './devices/serial-16550.ts';
export {
  type ConfigurationCode,
  ConfigurationError,
  type InterruptCode,
  InterruptError,
  Jit86Error,
  type LoaderCode,
  LoaderError,
  type MemoryCode,
  MemoryError,
  type ProgramCode,
  ProgramError,
  type RemoteCode,
  RemoteError,
  type SnapshotCode,
  SnapshotError,
  type StateCode,
  StateError,
} from './errors.ts';
export type { Host, HostWorker } from './hosts/host.ts';
export {
  type Channel,
  type ControllerEnd,
  type ControllerMessage,
  channelPair,
  checkControllerMessage,
  checkMachineMessage,
  controllerPort,
  type MachineEnd,
  type MachineMessage,
  machinePort,
  type PortLike,
} from './interrupts/apic-bus-channel.ts';
export type { EdgeResult } from './interrupts/controller-connection.ts';
export { ioApicOn, picPairOn } from './interrupts/controllers.ts';
export type { IrqCounter, IrqEventState, ResampleCounter } from './interrupts/irq-events.ts';
export { decodeMsi } from './interrupts/msi.ts';
export { pcRoutes, picPins } from './interrupts/pc-routes.ts';
export { type ControllerRoute, gsiCount, type MsiRoute, type Route, type Routes } from './interrupts/routes.ts';
export type { InterruptState, VmInterrupts } from './interrupts/vm-interrupts.ts';
export { EventCounter, type EventCounterOptions } from './io/event-counter.ts';
export { type DoorbellRange, IoMap, type ProgramAccess } from './io/io-map.ts';
export { type IoHandler, PASSED, type Unclaimed } from './io/io-parts.ts';
export type { Attachment, IoRange, IoSpaceName } from './io/io-range.ts';
export type { WriteBatch, WritesReceiver } from './io/posted-writes.ts';
export {
  type AttachedProgram,
  attachProgram,
  type ProgramOptions,
  type ProgramRange,
  programHeader,
} from './io/program.ts';
export { type SerialPort, serialPort } from './io/serial-streams.ts';
export type { FlatBinaryOptions } from './loaders/flat-binary.ts';
export { type GuestRam, gpr, type InitialMode, type InitialState } from './loaders/initial-state.ts';
export { type GuestFormat, guestFormat, type LoadedGuest, type LoadOptions, loadGuest } from './loaders/load.ts';
export type { BootModule, BootOptions } from './loaders/multiboot.ts';
export { attachBareDevices, type BareMachineDevices, type BareMachineHost } from './machines/bare.ts';
export { createMachine } from './machines/bare-machine.ts';
export * from './machines/machine.ts';
export { createPcMachine } from './machines/pc-machine.ts';
export type { MachineKind } from './snapshot/machine-state.ts';
export type { ByteDuplex, MigrationOptions, MigrationReport } from './snapshot/migration.ts';
export type { RestoreOptions, SnapshotOptions } from './snapshot/snapshot.ts';
export * from './vm/dirty-log.ts';
export * from './vm/exits.ts';
export { GuestDebug, type GuestDebugOptions, type Watchpoint, type WatchpointKind } from './vm/guest-debug.ts';
export * from './vm/guest-memory.ts';
export { type MsrAction, MsrPolicy, type MsrRule, type UnknownMsrAction } from './vm/msr-policy.ts';
export type { VmCreation, VmModules, VmOptions, VmTranslation } from './vm/options.ts';
export {
  type RegisterInfo,
  type RegisterTuple,
  type StateSet,
  setNumbers,
  type VcpuState,
} from './vm/registers.ts';
export type { RunOptions } from './vm/runner.ts';
export { Vcpu } from './vm/vcpu.ts';
export { Vm } from './vm/vm.ts';
export * from './vm/vm-time.ts';
