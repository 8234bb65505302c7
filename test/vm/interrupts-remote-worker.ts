/** An I/O APIC on a thread of its own: its registers over a ring as a remote device, its interrupts over the APIC bus. */
import { workerData } from 'node:worker_threads';
import { controllerPort, type PortLike } from '../../runtime/interrupts/apic-bus-channel.ts';
import { ioApicOn } from '../../runtime/interrupts/controllers.ts';
import { DeviceServer } from '../../runtime/remote/device-server.ts';
import { type RingEnd, ringTransport } from '../../runtime/remote/ring-transport.ts';

const { ring, bus } = workerData as { ring: RingEnd; bus: PortLike };
const ioApic = ioApicOn(controllerPort(bus));
const server = new DeviceServer({ regions: () => [{ device: ioApic, size: 0x1000 }] });
server.accept(ringTransport(ring));
