/**
 * The smallest machine: a processor, RAM and four ports to speak through. This file is the whole list of its devices;
 * there is no interrupt controller and no timer, so a guest that halts has ended.
 *
 *   0x080        last POST code
 *   0x0E9        debug console
 *   0x0F4-0x0F7  exit port
 *   0x3F8-0x3FF  serial port
 */

import { Debugcon } from '../devices/debugcon.ts';
import type { Device } from '../devices/device.ts';
import { ExitPort } from '../devices/exit-port.ts';
import { type IrqLine, unconnectedLine } from '../devices/irq-line.ts';
import { PostPort } from '../devices/post-port.ts';
import { Serial16550 } from '../devices/serial-16550.ts';
import type { IoMap } from '../io/io-map.ts';

/** Where the devices' output goes. */
export interface BareMachineHost {
  /** Takes each byte that the guest sends through the serial port. */
  readonly serial: (byte: number) => void;
  /** Takes each byte that the guest writes to the debug console. */
  readonly debugcon: (byte: number) => void;
  /** The guest has asked to end with this exit status; the run must stop after the current instruction. */
  readonly exit: (status: number) => void;
  /** The serial port's interrupt line, if the machine has an interrupt controller. */
  readonly serialIrq?: IrqLine;
}

/** The devices of the smallest machine. */
export interface BareMachineDevices {
  /** At 3F8H. */
  readonly serial: Serial16550;
  /** At E9H. */
  readonly debugcon: Debugcon;
  /** At F4H. */
  readonly exitPort: ExitPort;
  /** At 80H. */
  readonly postPort: PostPort;
}

/** Makes the devices and attaches them to the ports. */
export function attachBareDevices(io: IoMap, host: BareMachineHost): BareMachineDevices {
  const devices = {
    serial: new Serial16550(host.serial, host.serialIrq ?? unconnectedLine),
    debugcon: new Debugcon(host.debugcon),
    exitPort: new ExitPort(host.exit),
    postPort: new PostPort(),
  };
  const ports: readonly [number, number, Device][] = [
    [0x80, 1, devices.postPort],
    [0xe9, 1, devices.debugcon],
    [0xf4, 4, devices.exitPort],
    [0x3f8, 8, devices.serial],
  ];
  for (const [address, length, device] of ports) io.attach({ space: 'port', address, length }, device);
  return devices;
}
