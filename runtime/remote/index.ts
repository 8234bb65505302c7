/**
 * `jit86/remote`: devices in another thread or process. A machine connects with `RemoteDevice.connect(transport)` and puts
 * the device into a VM with `vm.remote.attach(range, device)`; at the other end a `DeviceServer` runs it. Node's Unix sockets
 * come with `jit86/remote` there.
 */
export { type RemoteCode, RemoteError } from '../errors.ts';
export { DeviceServer, type DeviceServerOptions, type ServedRegion, type ServerParts } from './device-server.ts';
export { type Dma, type DmaRange, type GuestDma, physicalDma } from './dma.ts';
export { MessageReader } from './message-reader.ts';
export * as vfioUser from './messages.ts';
export { RemoteDevice, type RemoteDeviceOptions, type RemoteRegion, type RemoteWrite } from './remote-device.ts';
export { RemoteRegions } from './remote-regions.ts';
export { createRing, type RingEnd, type RingOptions, ringTransport, threadMayBlock } from './ring-transport.ts';
export type { SavedServer } from './served-state.ts';
export {
  messagePortTransport,
  type Port,
  type Socket,
  streamTransport,
  type Transport,
  type TransportListener,
  transportPair,
  webSocketTransport,
} from './transport.ts';
