/** The public face of `jit86/gdb`: gdb's remote serial protocol for a VM or a machine, over any connection. */
export { type MachineTarget, machineTarget } from './machine-target.ts';
export { encodePacket, type PacketEvent, PacketReader, packetSize } from './packets.ts';
export type { GdbArchitecture } from './registers.ts';
export { type GdbDuplex, type GdbEnd, GdbServer, type GdbServerOptions } from './server.ts';
export { type ExitHandler, type GdbTarget, type TargetStop, vmTarget } from './target.ts';
