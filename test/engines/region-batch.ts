/**
 * Many regions in one WebAssembly module: building, compiling and instantiating a module costs more than a region of one
 * instruction, so tests that need thousands of small regions make them together.
 */

import { regionImports } from '../../jit/installed-regions.ts';
import type { Region } from '../../jit/region.ts';
import { assembleRegions, regionName } from '../../jit/translate.ts';
import type { Vm } from '../../runtime/vm/vm.ts';
import type { Context } from '../../src/execute/context.ts';
import type { FoundRegion } from '../../src/execute/jump-cache.ts';
import { neverAgain } from '../../src/execute/leave.ts';
import type { Regions } from '../../src/execute/regions.ts';

/** The one region that a vCPU is offered, at one instruction pointer in one context; nothing is ever translated. */
export class RegionBatch implements Regions {
  private readonly vm: Vm;
  private functions: unknown[] = [];
  private context = 0;
  private key = 0;
  private offered = false;

  constructor(vm: Vm) {
    this.vm = vm;
    vm.vcpu(0).engine.regions = this;
  }

  /** Translates regions; their places in the list are their numbers from now on. */
  translate(regions: readonly Region[]): void {
    const { vm } = this;
    const module = new WebAssembly.Module(assembleRegions(regions, { shared: false, x87: 'exact' }) as BufferSource);
    const imports = regionImports(vm.vcpu(0).engine.core, vm.linear, vm.vcpu(0).table, vm.arithmetic);
    const { exports } = new WebAssembly.Instance(module, imports);
    this.functions = regions.map((_, i) => exports[regionName(i)]);
  }

  forget(): void {
    this.offered = false;
  }

  /** From now on region `number` stands at `rip`. */
  offer(number: number, context: Context, rip: bigint): void {
    this.vm.vcpu(0).table.set(1, this.functions[number]);
    this.context = context.id;
    this.key = Number(rip);
    this.offered = true;
    this.vm.vcpu(0).engine.regionChanged();
  }
  withdraw(): void {
    this.offered = false;
    this.vm.vcpu(0).engine.regionChanged();
  }

  hot(): number {
    return neverAgain;
  }
  retried(): void {}
  refused(): void {}
  profile(): boolean {
    return false;
  }
  find(context: Context, key: number): FoundRegion | null {
    const isIt = this.offered && context.id === this.context && key === this.key;
    return isIt ? { slot: 1, pages: [], alive: true } : null;
  }
  /** It is found at once or never. */
  mayFind(): number {
    return 0;
  }
}
