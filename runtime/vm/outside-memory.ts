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
import { priorityAccess, priorityRegister } from './priority-access.ts';
import type { Vcpu } from './vcpu.ts';

const oftenWritten = 200;
const isPriority = (address: number, bytes: number): boolean => bytes === 4 && address % 4096 === priorityRegister;

export class OutsideMemory implements MmioHandler {
  private readonly machine: MmioHandler;
  private readonly current: () => Vcpu;
  private readonly linear: WebAssembly.Memory;
  private readonly priorities = new Map<Vcpu, DirectAccess>();
  /** How often each vCPU has written its task priority here. */
  private readonly written = new Uint32Array(256);
  /** Bits 32-63 of what {@link read64} has answered. */
  high = 0;

  /**
   * @param linear where the vCPUs' fields are
   * @param current the vCPU that was entered last
   */
  constructor(machine: MmioHandler, linear: WebAssembly.Memory, current: () => Vcpu) {
    this.machine = machine;
    this.linear = linear;
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
    const vcpu = this.current();
    if (vcpu.apic?.claims(address) === true) return isPriority(address, bytes) ? this.priorityOf(vcpu) : null;
    return this.machine.directAt?.(address, bytes, write) ?? null;
  }
  passedOn(address: number, bytes: AccessBytes, write: boolean): void {
    if (this.current().apic?.claims(address) !== true) this.machine.passedOn?.(address, bytes, write);
  }
  private priorityOf(vcpu: Vcpu): DirectAccess {
    let access = this.priorities.get(vcpu);
    if (access === undefined) this.priorities.set(vcpu, (access = priorityAccess(this.linear, vcpu.fields)));
    return access;
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
  private writeApic(vcpu: Vcpu, apic: LocalApic, address: number, bytes: number, value: number): void {
    const { log } = vcpu;
    const logged = log.takes();
    if (logged && log.knows('memory', true, address, bytes)) return;
    apic.write(address % 4096, bytes, value);
    // Only who writes it often has its translated code look for a way of its own.
    if (isPriority(address, bytes) && ++this.written[vcpu.index]! === oftenWritten)
      vcpu.fields.set32('directMemory', 1);
    if (logged) log.note('memory', true, address, bytes, value, 0);
  }
}
