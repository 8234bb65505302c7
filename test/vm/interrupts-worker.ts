/** Interrupt controllers on a thread of their own: registers by messages of the parent, everything else by the APIC bus. */
import { parentPort, workerData } from 'node:worker_threads';
import type { AccessSize, Device } from '../../runtime/devices/device.ts';
import { controllerPort, type PortLike } from '../../runtime/interrupts/apic-bus-channel.ts';
import { ioApicOn, picPairOn } from '../../runtime/interrupts/controllers.ts';

export interface ControllersData {
  readonly ioApic: PortLike;
  readonly pic: PortLike;
}
export interface RegisterAccess {
  readonly device: 'ioApic' | 'first' | 'second' | 'triggers';
  readonly offset: number;
  readonly size: AccessSize;
  /** A write; a read without it. */
  readonly value?: number;
}

const { ioApic, pic } = workerData as ControllersData;
const pair = picPairOn(controllerPort(pic));
const devices: Record<RegisterAccess['device'], Device> = {
  ioApic: ioApicOn(controllerPort(ioApic)),
  first: pair.first,
  second: pair.second,
  triggers: pair.triggers,
};
parentPort!.on('message', ({ device, offset, size, value }: RegisterAccess) => {
  if (value === undefined) parentPort!.postMessage(devices[device].read(offset, size));
  else {
    devices[device].write(offset, size, value);
    parentPort!.postMessage(0);
  }
});
