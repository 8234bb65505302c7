/**
 * A VM out of a running one. Their memories cannot share pages of the host, so the child's are copied when it first touches
 * them, or just before the parent writes to them: a fork costs no more than the pages that one of the two uses.
 */
import type { PhysicalMemory } from '../../src/mmu/physical-memory.ts';
import { machineState, putMachineState, type StatefulVm, savedPrograms } from './machine-state.ts';
import { type MemoryOwner, savedMaps, shownPages, spaces } from './memory-image.ts';
import { pageBytes } from './pages.ts';

export interface ForkedVm extends StatefulVm, MemoryOwner {}

/** Those whose pages come from a memory that was forked. They end with their VMs. */
const heirs = new WeakMap<PhysicalMemory, WeakRef<PhysicalMemory>[]>();

/**
 * Gives a new VM the state of another one, which is made like it: memory lies at the same places in both.
 * @throws SnapshotError `access-pending`, `different-machine`, `bad-device-state`; the parent is as it was
 */
export function inherit(parent: ForkedVm, child: ForkedVm): void {
  const state = machineState(parent);
  for (const space of spaces) {
    const regions = parent.memory.regions({ space });
    child.memory.replace(regions, { space });
    // What the parent has asked for the child has as well; the rest it asks for itself.
    for (const region of regions)
      if (region.kind === 'lazy')
        child.physical.sources.filledBy(region.fill).set(parent.physical.sources.filledBy(region.fill));
  }
  const { physical } = parent;
  const from = parent.ram.byteOffset / pageBytes;
  const to = from + parent.ram.length / pageBytes;
  const shown = shownPages(parent, savedMaps(parent));
  child.physical.putOff(
    (host, bytes) => {
      physical.sources.provide(host); // its own parent may have it still
      bytes.set(physical.u8.subarray(host * pageBytes, (host + 1) * pageBytes));
    },
    (host) => host >= from && host < to,
  );
  // What no map shows is not asked for page by page.
  for (let page = 0; page < shown.length; page++) if (shown[page] === 0) child.physical.sources.provide(from + page);
  // Its programs came with what they know, those that were to come.
  putMachineState(child, { ...state, programs: savedPrograms(child.programs) });
  const list = (heirs.get(physical) ?? []).filter((ref) => ref.deref() !== undefined);
  list.push(new WeakRef(child.physical));
  heirs.set(physical, list);
  physical.freeze(from, to, (host) => {
    for (const ref of list) ref.deref()?.sources.provide(host);
  });
}
