/** What a VM is made from. */
import type { TranslatorParts } from '../../jit/translator.ts';
import type { KnownPatterns } from '../../src/execute/known-patterns.ts';
import type { MmioHandler } from '../../src/mmu/physical-memory.ts';
import type { CpuModelName } from '../../src/system/cpu-models.ts';
import type { CpuidPolicy } from '../../src/system/cpuid-policy.ts';
import type { Ports, TimeStampCounter } from '../../src/system/engine.ts';
import type { IoMap } from '../io/io-map.ts';
import type { Engine } from '../machines/machine.ts';
import type { ApicMachine } from './vcpu-parts.ts';
import type { VmTime, VmTimeOptions } from './vm-time.ts';

/** The modules that the build made. */
export interface VmModules {
  /** `dist/core.wasm`: the interpreter. */
  readonly core: WebAssembly.Module;
  /** `dist/softfloat.wasm`: exact floating point. */
  readonly arithmetic: WebAssembly.Module;
  /** `dist/patterns.bin`: what common instructions look like to the interpreter; without, each vCPU learns it by itself. */
  readonly patterns?: KnownPatterns | null;
}

/** What a VM is made from. */
export interface VmOptions extends VmTimeOptions {
  /** Bytes of guest RAM from guest-physical address 0, a multiple of 4096. */
  readonly memory: number;
  readonly cpus: number;
  /**
   * Bytes of the host's memory for what the interpreter makes of code, for each vCPU, a multiple of 4096 (32 MiB; at least
   * 1 MiB). When they are full, all of it is made anew: less memory for many VMs, at a price in speed for large guests.
   */
  readonly codeMemory?: number;
  /** What kind of processor; `max` if left out. */
  readonly model?: CpuModelName;
  /** What CPUID shows otherwise: features taken away, other numbers and texts. Never one that is not implemented. */
  readonly cpuid?: CpuidPolicy;
  /** `kvm`: KVM's interface, CPUID 40000000H and kvmclock. `none` is the default. */
  readonly paravirt?: 'none' | 'kvm';
  /**
   * VMCALL and VMMCALL: #UD (`fault`, the default), an exit `hypercall` (at CPL 0; else the answer is -1), or the answer that
   * KVM has for a call that it does not know (`kvm`, the default with KVM's interface).
   */
  readonly hypercalls?: 'fault' | 'exit' | 'kvm';
  /** From `host.readModule()`; they may be shared by VMs. */
  readonly modules: VmModules;
  /** `vm.io`, made beforehand: it says what answers where no device does. Without one that is an exit. */
  readonly io?: IoMap;
  /** The I/O ports, if `vm.io` is not to have them. */
  readonly ports?: Ports;
  /** The VM's time, made beforehand, where devices need its clock; then {@link VmTimeOptions} do not count. */
  readonly time?: VmTime;
  /** A time-stamp counter of the embedder's own, before IA32_TSC_ADJUST; without one it follows the VM's clock. */
  readonly tsc?: Pick<TimeStampCounter, 'read' | 'hertz'>;
  /**
   * What RDRAND and RDSEED give: the host's random numbers (the default), a function that gives 64 bits, or a generator
   * that begins at a seed and is part of each vCPU's state, so that a run can be had again.
   */
  readonly random?: 'host' | (() => bigint) | { readonly seed: number };
  /** What answers where there is no memory, if `vm.io` is not to have it. */
  readonly mmio?: MmioHandler;
  /** Gives each vCPU a local APIC. */
  readonly apic?: ApicMachine;
  /**
   * `hidden`: no local APIC in CPUID, MSRs and memory; LINT0 takes ExtINT and LINT1 takes NMI. `visible`, the default where
   * `apic` is given, takes its clock from there, else from the VM's time.
   */
  readonly lapic?: 'visible' | 'hidden';
  /** x87 arithmetic with 80 bits (the default), or inexact with plain doubles. A translation's mode must agree. */
  readonly x87?: 'exact' | 'fast';
  /** How hot code is translated; false: it is only interpreted. */
  readonly translate: false | VmTranslation;
}

/** Who translates, and what is known from earlier runs. */
export interface VmTranslation extends Pick<TranslatorParts, 'way' | 'cache' | 'mode'> {
  /** Bytes of the host's memory for translated code: beyond, all of it is dropped (256 MiB, some 5,000 regions). */
  readonly maximumBytes?: number;
}

/** What {@link Vm.create} takes: the modules and the translation come from the host. */
export interface VmCreation extends Omit<VmOptions, 'modules' | 'translate'> {
  /** `auto` (the default) interprets and translates what is hot, `jit` translates at the first execution. */
  readonly engine?: Engine;
  /** Where translations are kept for later runs: a folder in Node, the name of a database in a page; null: nowhere. */
  readonly cache?: string | null;
}
