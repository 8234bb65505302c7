/** What the engines of a virtual machine have done. */
import type { Vm } from '../vm/vm.ts';
import type { MachineStatistics } from './machine.ts';

/** @param instructions guest instructions retired on all processors */
export function machineStatistics(vm: Vm, instructions: number): MachineStatistics {
  let [regions, fromCache, bytes, millis, translated] = [0, 0, 0, 0, 0];
  for (const { statistics } of vm.translators) {
    regions += statistics.regions;
    fromCache += statistics.fromCache;
    bytes += statistics.bytes;
    millis += statistics.compileMillis;
  }
  for (const { engine } of vm.vcpus) translated += engine.translated;
  return {
    instructions,
    interpreted: instructions - translated,
    regions,
    regionsFromCache: fromCache,
    codeBytes: bytes,
    compileMillis: millis,
  };
}
