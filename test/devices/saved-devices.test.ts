/**
 * Devices whose state is put into others of their kind, at any time: both answer the same from then on, and their lines move
 * at the same times.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AcpiPower } from '../../runtime/devices/acpi-power.ts';
import { type Clock, VirtualClock } from '../../runtime/devices/clock.ts';
import type { Device } from '../../runtime/devices/device.ts';
import { type IrqLine, irqLine } from '../../runtime/devices/irq-line.ts';
import { Pit8254 } from '../../runtime/devices/pit-8254.ts';
import { RtcCmos } from '../../runtime/devices/rtc-cmos.ts';
import { Serial16550 } from '../../runtime/devices/serial-16550.ts';
import { type Random, randomNumbers } from '../../runtime/lockstep/random-numbers.ts';
import { decodePlain, encodePlain, misfit, putPlain } from '../../runtime/snapshot/plain-state.ts';

interface Kind {
  readonly make: (clock: Clock, irq: IrqLine) => Device;
  /** One thing that a guest does. */
  readonly act: (device: Device, below: Random) => number;
  /** The longest step in time, in nanoseconds. */
  readonly step: number;
}

const written = (device: Device, offset: number, value: number) => {
  device.write(offset, 1, value);
  return -1;
};

const kinds: Readonly<Record<string, Kind>> = {
  pit: {
    make: (clock, irq) => new Pit8254(clock, irq),
    act(device, below) {
      const counter = below(3);
      switch (below(6)) {
        case 0:
          if (below(4) !== 0) return device.read(counter, 1); // a new mode stops what is counted
          return written(device, 3, (counter << 6) | 0x30 | (below(6) << 1) | below(2));
        case 1:
        case 2:
          return written(device, counter, below(2) === 0 ? below(256) : 0);
        case 3:
          return written(device, 3, 0xc0 | (below(4) << 4) | (below(8) << 1));
        case 4:
          (device as Pit8254).speakerGate = below(2) === 1;
          return (device as Pit8254).speakerOutput ? 1 : 0;
        default:
          return device.read(counter, 1);
      }
    },
    step: 400_000,
  },
  rtc: {
    make: (clock, irq) => new RtcCmos(clock, irq, Date.UTC(2026, 1, 3, 4, 5, 6, 700)),
    act(device, below) {
      device.write(0, 1, below(3) === 0 ? below(14) : 10 + below(3));
      if (below(2) === 0) return device.read(1, 1);
      return written(device, 1, below(4) === 0 ? below(256) : below(128));
    },
    step: 700_000_000,
  },
  acpi: {
    make: (clock, irq) => new AcpiPower(clock, irq, () => {}),
    act(device, below) {
      if (below(2) === 0) return device.read(below(12), 1);
      return below(3) === 0 ? written(device, 2, below(4)) : written(device, 0, 1);
    },
    step: 3_000_000_000,
  },
  serial: {
    make: (_clock, irq) => new Serial16550(() => {}, irq),
    act(device, below) {
      if (below(4) === 0) (device as Serial16550).receive([below(256), below(256)]);
      const offset = below(8);
      return below(2) === 0 ? device.read(offset, 1) : written(device, offset, below(256));
    },
    step: 1000,
  },
};

/** A device, its clock, and when its line moved. */
function stand({ make }: Kind) {
  const clock = new VirtualClock();
  const log: string[] = [];
  let high = false;
  const irq = irqLine((level) => {
    high = level;
    log.push(`${clock.now()}: ${level ? 'up' : 'down'}`);
  });
  return { clock, log, device: make(clock, irq), level: () => high };
}

for (const [name, kind] of Object.entries(kinds)) {
  test(`row 18: ${name}: a copy of its state goes on where the first stands, its line and alarms with it`, () => {
    const below = randomNumbers(name.length);
    const first = stand(kind);
    const run = ({ device, clock, log }: ReturnType<typeof stand>, numbers: Random, count: number) => {
      for (let i = 0; i < count; i++) {
        clock.advanceTo(clock.now() + numbers(kind.step));
        log.push(`${kind.act(device, numbers)}`);
      }
    };
    let edges = 0;
    for (let round = 0; round < 150; round++) {
      run(first, below, 20);
      const second = stand(kind);
      run(second, randomNumbers(round), 10); // a state of its own, to be replaced
      second.clock.moveTo(first.clock.now());
      const saved = decodePlain(name, encodePlain(name, first.device.state)) as object;
      assert.equal(misfit(second.device.state, saved, name), null);
      putPlain(second.device.state!, saved);
      second.device.restored?.();
      assert.equal(second.level(), first.level(), `round ${round}: the line`);
      for (const one of [first, second]) {
        one.log.length = 0;
        run(one, randomNumbers(1000 + round), 40);
      }
      assert.deepEqual(second.log, first.log, `round ${round}`);
      edges += first.log.filter((line) => line.includes(':')).length;
      assert.equal(encodePlain(name, second.device.state), encodePlain(name, first.device.state));
    }
    assert.ok(edges > 150, `${edges} edges`);
  });
}
