/**
 * The interrupt controllers of runtime/devices behind the APIC bus protocol: what they send and what they are told goes
 * through one channel, so that they may live in any thread.
 */
import { IoApic } from '../devices/io-apic.ts';
import { PicPair } from '../devices/pic-8259.ts';
import { type ControllerEnd, checkMachineMessage } from './apic-bus-channel.ts';

/** What a controller on the bus can be told. */
interface Controller {
  set(pin: number, high: boolean): void;
  pulse(pin: number): 'merged' | 'ignored' | 'sent';
  endOfInterrupt?(vector: number): void;
  acknowledge?(): number;
}

/** What is known of a controller besides its own state. */
class Service {
  /** An edge is being sent. */
  pulsing = false;
  /** Inputs that fall when their interrupt ends. */
  readonly resampled = new Set<number>();
}

function serve(channel: ControllerEnd, controller: Controller, service: Service): void {
  channel.receive((given) => {
    const message = channel.foreign ? checkMachineMessage(given) : given;
    switch (message.kind) {
      case 'line':
        return controller.set(message.pin, message.high);
      case 'pulse': {
        service.pulsing = true;
        const result = controller.pulse(message.pin);
        service.pulsing = false;
        return channel.post({ kind: 'pulsed', result });
      }
      case 'resample':
        if (message.on) service.resampled.add(message.pin);
        else service.resampled.delete(message.pin);
        return;
      case 'eoi':
        return controller.endOfInterrupt?.(message.vector);
      case 'acknowledge':
        if (controller.acknowledge !== undefined)
          channel.post({ kind: 'acknowledged', vector: controller.acknowledge() });
        return;
      default:
        return message satisfies never;
    }
  });
}

/** An I/O APIC on the bus; map its registers (`read`, `write`) wherever the machine has them. */
export function ioApicOn(channel: ControllerEnd): IoApic {
  const service = new Service();
  const ioApic: IoApic = new IoApic(
    ({ destination, logical, mode, vector, level }) =>
      channel.post({ kind: 'deliver', destination, logical, mode, vector, level, pulsed: service.pulsing }),
    (pin) => {
      if (service.resampled.has(pin)) ioApic.set(pin, false);
      channel.post({ kind: 'ended', pin });
    },
  );
  serve(channel, ioApic, service);
  return ioApic;
}

/** A pair of 8259s on the bus; map its `first`, `second` and `triggers`. */
export function picPairOn(channel: ControllerEnd): PicPair {
  const service = new Service();
  const pic: PicPair = new PicPair({ set: (high) => channel.post({ kind: 'intr', high }) }, (pin) => {
    if (service.resampled.has(pin)) pic.set(pin, false);
    channel.post({ kind: 'ended', pin });
  });
  serve(channel, pic, service);
  return pic;
}
