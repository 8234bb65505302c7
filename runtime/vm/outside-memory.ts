/**
 * What is neither RAM nor ROM, as processors reach it: the register page of the local APIC of whoever makes the access, which
 * lies over the others' and over everything else, and what the machine has there (runtime/io).
 *
 * A processor's store to the rest of FEE00000H-FEEFFFFFH is the machine's like any other: the SDM has messages come from
 * devices (volume 3, section 11.11), and chipsets do not agree on what becomes of a processor's. An embedder whose machine makes
 * an interrupt of it calls `vm.msi()` for the exit. Devices' writes do not come here (PhysicalMemory.writeByDevice).
 */
import type { DirectAccess } from '../../src/mmu/direct-access.ts';
import type { AccessBytes, MmioHandler } from '../../src/mmu/physical-memory.ts';
import type { LocalApic } from '../../src/system/local-apic.ts';
import type { Vcpu } from './vcpu.ts';

export class OutsideMemory implements MmioHandler {
  private readonly machine: MmioHandler;
  private readonly current: () => Vcpu;
  /** Bits 32-63 of what {@link read64} has answered. */
  high = 0;

  /** @param current the vCPU that was entered last */
  constructor(machine: MmioHandler, current: () => Vcpu) {
    this.machine = machine;
    this.current = current;
  }

  read(address: number, bytes: AccessBytes): number {
    const vcpu = this.reached();
    if (vcpu.apic?.claims(address) !== true) return this.machine.read(address, bytes);
    return this.readApic(vcpu, vcpu.apic, address, bytes);
  }
  read64(address: number): number {
    const { machine } = this;
    const vcpu = this.reached();
    if (vcpu.apic?.claims(address) === true) {
      this.high = 0; // registers are 32 bits wide and 16 bytes apart
      return this.readApic(vcpu, vcpu.apic, address, 8);
    }
    if (machine.read64 !== undefined) {
      const low = machine.read64(address);
      this.high = machine.high ?? 0;
      return low;
    }
    const low = machine.read(address, 4);
    this.high = machine.read(address + 4, 4);
    return low;
  }
  write(address: number, bytes: AccessBytes, value: number): void {
    const vcpu = this.reached();
    if (vcpu.apic?.claims(address) === true) this.writeApic(vcpu, vcpu.apic, address, bytes, value);
    else this.machine.write(address, bytes, value);
  }
  write64(address: number, low: number, high: number): void {
    const { machine } = this;
    const vcpu = this.reached();
    if (vcpu.apic?.claims(address) === true) return this.writeApic(vcpu, vcpu.apic, address, 8, low);
    if (machine.write64 !== undefined) return machine.write64(address, low, high);
    machine.write(address, 4, low);
    machine.write(address + 4, 4, high);
  }

  directAt(address: number, bytes: AccessBytes, write: boolean): DirectAccess | null {
    if (this.current().apic?.claims(address) === true) return null;
    return this.machine.directAt?.(address, bytes, write) ?? null;
  }
  passedOn(address: number, bytes: AccessBytes, write: boolean): void {
    this.machine.passedOn?.(address, bytes, write);
  }

  private reached(): Vcpu {
    const vcpu = this.current();
    vcpu.engine.deviceAccess();
    return vcpu;
  }
  private readApic({ log }: Vcpu, apic: LocalApic, address: number, bytes: number): number {
    const logged = log.takes();
    if (logged && log.knows('memory', false, address, bytes)) return log.low;
    const value = apic.read(address % 4096, Math.min(bytes, 4)) >>> 0;
    if (logged) log.note('memory', false, address, bytes, value, 0);
    return value;
  }
  private writeApic({ log }: Vcpu, apic: LocalApic, address: number, bytes: number, value: number): void {
    const logged = log.takes();
    if (logged && log.knows('memory', true, address, bytes)) return;
    apic.write(address % 4096, bytes, value);
    if (logged) log.note('memory', true, address, bytes, value, 0);
  }
}
