/**
 * What a PC's firmware leaves behind in the processors when it starts a system: interrupts of the 8259s pass the first
 * one's local APIC (virtual wire mode), and memory types are set.
 */
import { physicalAddressBits } from '../../src/mmu/walk.ts';
import type { Vm } from '../vm/vm.ts';

const lvt0 = 0x350;
const lvt1 = 0x360;
const spurious = 0xf0;
/** Devices live above this address: uncached. */
const deviceHole = 0xc000_0000;

export function enterFirmwareState(vm: Vm): void {
  for (const [index, { apic, fields: state }] of vm.vcpus.entries()) {
    apic?.write(spurious, 4, 0x1ff);
    if (index === 0) apic?.write(lvt0, 4, 0x700); // ExtINT
    apic?.write(lvt1, 4, 0x400); // NMI
    state.set64('mtrrDefType', 0xc06n); // enabled, fixed ranges too; write-back where nothing else is said
    const physical = (1n << BigInt(physicalAddressBits)) - 1n;
    state.set64('mtrrBase0', BigInt(deviceHole));
    state.set64('mtrrMask0', (physical & ~BigInt(2 ** 32 - 1 - deviceHole)) | 0x800n);
    // The second of the ranges of 16 KiB is the video memory's, 640 KiB to 768 KiB: uncached.
    for (let i = 0; i < 11; i++) state.set64(`mtrrFixed${i}`, i === 2 ? 0n : 0x0606_0606_0606_0606n);
  }
}
