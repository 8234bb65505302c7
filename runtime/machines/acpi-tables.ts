/**
 * The ACPI tables of the PC: where its interrupt controllers and processors are, how it is switched off and reset. Written
 * into the last 128 KiB below 1 MiB, where systems look for them. ACPI specification 6.4, chapter 5.
 */
import { sleepTypeOff } from '../devices/acpi-power.ts';

/** Where the tables go: from here to 1 MiB. */
export const acpiTablesBase = 0xe_0000;

/** What the tables describe. */
export interface AcpiMachine {
  readonly cpus: number;
  readonly localApic: number;
  readonly ioApic: number;
  /** First port of the fixed hardware (runtime/devices/acpi-power.ts). */
  readonly powerPort: number;
  /** Interrupt of the fixed hardware. */
  readonly powerIrq: number;
  readonly resetPort: number;
  readonly resetValue: number;
}

const headerBytes = 36;

class Table {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  constructor(length: number) {
    this.bytes = new Uint8Array(length);
    this.view = new DataView(this.bytes.buffer);
  }
  text(at: number, text: string): void {
    for (let i = 0; i < text.length; i++) this.bytes[at + i] = text.charCodeAt(i);
  }
  u16(at: number, value: number): void {
    this.view.setUint16(at, value, true);
  }
  u32(at: number, value: number): void {
    this.view.setUint32(at, value, true);
  }
  /** A generic address: an I/O port. */
  port(at: number, port: number, bits: number): void {
    this.bytes.set([1, bits, 0, bits === 8 ? 1 : bits === 16 ? 2 : 3], at);
    this.u32(at + 4, port);
  }
}

/** Makes the bytes from `from` to `to` add up to zero. */
function sum(bytes: Uint8Array, at: number, from: number, to: number): void {
  let total = 0;
  for (let i = from; i < to; i++) total += bytes[i]!;
  bytes[at] = (bytes[at]! - total) & 0xff;
}

function table(signature: string, revision: number, length: number, fill: (t: Table) => void): Uint8Array {
  const t = new Table(length);
  t.text(0, signature);
  t.u32(4, length);
  t.bytes[8] = revision;
  t.text(10, 'JIT86 ');
  t.text(16, 'JIT86PC ');
  t.u32(24, 1);
  t.text(28, 'JT86');
  t.u32(32, 1);
  fill(t);
  sum(t.bytes, 9, 0, length);
  return t.bytes;
}

/** `Name (_S5, Package () { type, type, 0, 0 })`, the one object that switching off needs. */
function differentiated(): Uint8Array {
  const aml = [0x08, 0x5f, 0x53, 0x35, 0x5f, 0x12, 0x08, 0x04, 0x0a, sleepTypeOff, 0x0a, sleepTypeOff, 0x00, 0x00];
  return table('DSDT', 1, headerBytes + aml.length, (t) => t.bytes.set(aml, headerBytes));
}

function fixedDescription(machine: AcpiMachine, facs: number, dsdt: number): Uint8Array {
  return table('FACP', 3, 244, (t) => {
    const { powerPort } = machine;
    t.u32(36, facs);
    t.u32(40, dsdt);
    t.u16(46, machine.powerIrq);
    // SMI_CMD stays 0: the machine is in ACPI mode from the start.
    t.u32(56, powerPort);
    t.u32(64, powerPort + 4);
    t.u32(76, powerPort + 8);
    t.bytes.set([4, 2, 0, 4], 88);
    t.u16(96, 0xffff); // no C2, no C3
    t.u16(98, 0xffff);
    t.bytes[108] = 0x32; // CMOS register of the century
    t.u16(109, 0b101); // legacy devices; no 8042; no VGA
    t.u32(112, 0b100_0011_0101); // WBINVD, C1, buttons are not fixed hardware, reset register
    t.port(116, machine.resetPort, 8);
    t.bytes[128] = machine.resetValue;
    t.u32(140, dsdt);
    t.port(148, powerPort, 32);
    t.port(172, powerPort + 4, 16);
    t.port(208, powerPort + 8, 32);
  });
}

function interruptControllers(machine: AcpiMachine): Uint8Array {
  const length = headerBytes + 8 + machine.cpus * 8 + 12 + 2 * 10 + 6;
  return table('APIC', 3, length, (t) => {
    t.u32(36, machine.localApic);
    t.u32(40, 1); // there is a pair of 8259s too
    let at = 44;
    for (let id = 0; id < machine.cpus; id++) {
      t.bytes.set([0, 8, id, id, 1], at);
      at += 8;
    }
    t.bytes.set([1, 12], at);
    t.u32(at + 4, machine.ioApic);
    at += 12;
    // The interval timer comes in at pin 2; the power management's line is level-triggered, active high.
    for (const [irq, pin, flags] of [
      [0, 2, 0],
      [machine.powerIrq, machine.powerIrq, 0xd],
    ] as const) {
      t.bytes.set([2, 10, 0, irq], at);
      t.u32(at + 4, pin);
      t.u16(at + 8, flags);
      at += 10;
    }
    t.bytes.set([4, 6, 0xff, 0, 0, 1], at); // NMI at LINT1 of every processor
  });
}

function firmwareControl(): Uint8Array {
  const t = new Table(64);
  t.text(0, 'FACS');
  t.u32(4, 64);
  t.bytes[32] = 1;
  return t.bytes;
}

function roots(addresses: readonly number[]): { rsdt: Uint8Array; xsdt: Uint8Array } {
  const rsdt = table('RSDT', 1, headerBytes + addresses.length * 4, (t) => {
    for (const [i, address] of addresses.entries()) t.u32(headerBytes + i * 4, address);
  });
  const xsdt = table('XSDT', 1, headerBytes + addresses.length * 8, (t) => {
    for (const [i, address] of addresses.entries()) t.u32(headerBytes + i * 8, address);
  });
  return { rsdt, xsdt };
}

/** Writes all tables into RAM; the root pointer is the first thing at {@link acpiTablesBase}. */
export function writeAcpiTables(ram: Uint8Array, machine: AcpiMachine): void {
  let next = acpiTablesBase + 64;
  const place = (bytes: Uint8Array): number => {
    const at = next;
    ram.set(bytes, at);
    next = (at + bytes.length + 63) & ~63;
    return at;
  };
  const facs = place(firmwareControl());
  const dsdt = place(differentiated());
  const tables = [place(fixedDescription(machine, facs, dsdt)), place(interruptControllers(machine))];
  const { rsdt, xsdt } = roots(tables);
  const rsdtAt = place(rsdt);
  const xsdtAt = place(xsdt);

  const root = new Table(36);
  root.text(0, 'RSD PTR ');
  root.text(9, 'JIT86 ');
  root.bytes[15] = 2;
  root.u32(16, rsdtAt);
  root.u32(20, 36);
  root.u32(24, xsdtAt);
  sum(root.bytes, 8, 0, 20);
  sum(root.bytes, 32, 0, 36);
  ram.set(root.bytes, acpiTablesBase);
}
