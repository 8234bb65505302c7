/**
 * A VM out of a running one. Their memories cannot share pages of the host, so the child's are copied when it first touches
 * them, or just before the parent writes to them: a fork costs no more than the pages that one of the two uses.
 */
import type { FillPage } from '../../src/mmu/memory-map.ts';
import type { PhysicalMemory } from '../../src/mmu/physical-memory.ts';
import { machineState, putMachineState, type StatefulVm, savedPrograms } from './machine-state.ts';
import { type MemoryOwner, spaces } from './memory-image.ts';
import { pageBytes } from './pages.ts';

export interface ForkedVm extends StatefulVm, MemoryOwner {}

/** What a child has not taken of its parent yet. */
class Inheritance {
  private readonly from: Uint8Array;
  private readonly to: Uint8Array;
  private readonly taken: Uint8Array;

  constructor(from: Uint8Array, to: Uint8Array) {
    this.from = from;
    this.to = to;
    this.taken = new Uint8Array(from.length / pageBytes);
  }
  /** The child has a page from elsewhere. */
  has(page: number): void {
    this.taken[page] = 1;
  }
  /** A page as the child has it, or would. */
  source(page: number): Uint8Array {
    const side = this.taken[page] === 0 ? this.from : this.to;
    return side.subarray(page * pageBytes, (page + 1) * pageBytes);
  }
  /** Copies a page of the backing store, unless the child has it. */
  take(page: number): void {
    if (this.taken[page] !== 0) return;
    this.taken[page] = 1;
    this.to.set(this.from.subarray(page * pageBytes, (page + 1) * pageBytes), page * pageBytes);
  }
}

/** The heirs of each memory that was forked. They end with their children. */
const heirs = new WeakMap<PhysicalMemory, WeakRef<Inheritance>[]>();

function register(parent: MemoryOwner, heir: Inheritance): void {
  const list = (heirs.get(parent.physical) ?? []).filter((ref) => ref.deref() !== undefined);
  list.push(new WeakRef(heir));
  heirs.set(parent.physical, list);
  const first = parent.ram.byteOffset / pageBytes;
  parent.physical.freeze((host) => {
    for (const ref of heirs.get(parent.physical)!) ref.deref()?.take(host - first);
  });
}

/**
 * Gives a new VM the state of another one.
 * @throws SnapshotError `access-pending`, `different-machine`, `bad-device-state`; the parent is as it was
 */
export function inherit(parent: ForkedVm, child: ForkedVm): void {
  const state = machineState(parent);
  const heir = new Inheritance(parent.ram, child.ram);
  const first = parent.ram.byteOffset / pageBytes;
  const mapped = new Uint8Array(parent.ram.length / pageBytes);
  for (const space of spaces) {
    const regions = parent.memory.regions({ space }).map((region) => {
      const { kind, start, length, backing } = region;
      mapped.fill(1, backing / pageBytes, (backing + length) / pageBytes);
      if (kind === 'rom') {
        for (let at = 0; at < length; at += pageBytes) heir.take((backing + at) / pageBytes);
        return region;
      }
      const fill: FillPage = (page, bytes) => {
        const place = (bytes.byteOffset - child.ram.byteOffset) / pageBytes; // the same in every VM of this kind
        const isOurs = bytes.buffer === child.ram.buffer;
        // A page that the parent has not asked for itself comes from where its would.
        if (kind === 'lazy' && !parent.physical.isFilledBy(region.fill, first + place)) {
          region.fill(page, bytes);
          if (isOurs) heir.has(place);
        } else if (isOurs) heir.take(place);
        else bytes.set(heir.source(place)); // a child of the child asks
      };
      return { kind: 'lazy' as const, start, length, backing, fill };
    });
    child.memory.replace(regions, { space });
  }
  // What no map shows cannot be asked for page by page.
  for (let page = 0; page < mapped.length; page++) if (mapped[page] === 0) heir.take(page);
  // Its programs came with what they know, those that were to come.
  putMachineState(child, { ...state, programs: savedPrograms(child.programs) });
  register(parent, heir);
}
