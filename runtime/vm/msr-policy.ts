/** Which model-specific registers the guest has of its processor, and which are handed over to the embedder or refused. */

import {
  type MsrAction,
  type MsrRange,
  type MsrTable,
  msrActions,
  type UnknownMsrAction,
  unknownMsrActions,
} from '../../src/system/msr-table.ts';
import { shown } from '../arguments.ts';
import { ConfigurationError } from '../errors.ts';

export type { MsrAction, UnknownMsrAction };

/** What becomes of a range of MSRs. */
export interface MsrRule {
  /** Numbers of the first and the last register, the same for one. */
  readonly first: number;
  readonly last: number;
  /** RDMSR: `allow` (the default), an exit `msr`, or #GP(0). */
  readonly read?: MsrAction;
  /** WRMSR. */
  readonly write?: MsrAction;
}

const hex = (n: number): string => `0x${n.toString(16)}`;
const bad = (message: string): ConfigurationError => new ConfigurationError('bad-msr-rule', message);

function checked(rule: MsrRule): MsrRange {
  if (typeof rule !== 'object' || rule === null) throw bad(`rule ${shown(rule)}: not an object`);
  const { first, last, read = 'allow', write = 'allow' } = rule;
  for (const index of [first, last])
    if (!Number.isInteger(index) || index < 0 || index > 0xffff_ffff)
      throw bad(`MSR ${String(index)}: the number of a register has 32 bits`);
  if (last < first) throw bad(`MSRs ${hex(first)} to ${hex(last)}: the last comes before the first`);
  for (const action of [read, write])
    if (!msrActions.includes(action))
      throw bad(`MSRs from ${hex(first)}: '${String(action)}' is none of ${msrActions.join(', ')}`);
  return { first, last, read, write };
}

/** A VM's; it holds for all its vCPUs, from the next RDMSR or WRMSR on. */
export class MsrPolicy {
  private readonly table: MsrTable;

  constructor(table: MsrTable) {
    this.table = table;
  }

  /**
   * Replaces all rules; registers that none names are the processor's.
   * @throws ConfigurationError `bad-msr-rule` naming the value, or both of two rules that overlap; then nothing has changed
   */
  filter(rules: readonly MsrRule[]): void {
    if (!Array.isArray(rules)) throw bad(`rules ${shown(rules)}: not a list`);
    const ranges = rules.map(checked).sort((a, b) => a.first - b.first);
    for (const [i, range] of ranges.entries()) {
      const before = ranges[i - 1];
      if (before !== undefined && range.first <= before.last)
        throw bad(
          `MSRs ${hex(before.first)} to ${hex(before.last)} and ${hex(range.first)} to ${hex(range.last)} overlap`,
        );
    }
    this.table.replace(ranges);
  }

  /** What becomes of registers that the processor does not have and no rule hands over; `fault` unless set. */
  get unknown(): UnknownMsrAction {
    return this.table.unknown;
  }
  /** @throws ConfigurationError `bad-msr-rule` */
  set unknown(action: UnknownMsrAction) {
    if (!unknownMsrActions.includes(action))
      throw bad(`unknown MSRs: '${String(action)}' is none of ${unknownMsrActions.join(', ')}`);
    this.table.unknown = action;
  }
}
