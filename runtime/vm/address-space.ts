/** The address spaces of a VM as options name them: that of ordinary processors, and that of system-management mode. */
import type { AddressSpace } from '../../src/mmu/physical-memory.ts';
import { ConfigurationError } from '../errors.ts';

export type { AddressSpace } from '../../src/mmu/physical-memory.ts';

/** Which processors see it: those in system-management mode see the regions of `smm` over those of `normal`. */
export interface SpaceOption {
  /** `normal` if left out. */
  readonly space?: AddressSpace;
}

/** The space that options name. */
export function spaceOf(options: SpaceOption | null | undefined): AddressSpace {
  if (options !== undefined && (typeof options !== 'object' || options === null))
    throw new ConfigurationError('bad-option', `options ${String(options)}: not an object`);
  const space: unknown = options?.space ?? 'normal';
  if (space !== 'normal' && space !== 'smm')
    throw new ConfigurationError('bad-option', `address space ${String(space)}: neither normal nor smm`);
  return space;
}
