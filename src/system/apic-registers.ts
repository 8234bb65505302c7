/**
 * The local APIC's registers as the VM API shows them: the set `apic`. A register is one row here; its number is its place,
 * so new rows go to the end. SDM volume 3, chapter 11 (bits and names).
 *
 * They are what the APIC keeps, not what its page shows: the in-service, trigger-mode and request bits can be set, and the
 * countdown goes on from where it was. What follows from others (PPR, the current count) is no register.
 */
import type { RegisterAccess } from '../state/layout.ts';
import { type ApicKept, ICR_MASK, lvtMasks, REMOTE_IRR, VERSION_VALUE } from './apic-map.ts';

export interface ApicRegister {
  readonly name: string;
  readonly bytes: 4 | 8;
  readonly access: RegisterAccess;
  read(kept: ApicKept, id: number): bigint;
  write(kept: ApicKept, value: bigint): void;
  /** Can it have this value? */
  fits(value: bigint, x2: boolean): boolean;
}

const rows: ApicRegister[] = [];
const add = (
  name: string,
  read: (kept: ApicKept, id: number) => number | bigint,
  write: (kept: ApicKept, value: number) => void,
  fits: (value: number, x2: boolean) => boolean = () => true,
  access: RegisterAccess = 'rw',
): void => {
  rows.push({
    name,
    bytes: 4,
    access,
    read: (kept, id) => BigInt(read(kept, id)),
    write: (kept, value) => write(kept, Number(value)),
    fits: (value, x2) => fits(Number(value), x2),
  });
};
const within = (mask: number) => (value: number) => (value & ~mask) === 0;
/** A word of what is kept. */
const word = (
  name: 'tpr' | 'ldr' | 'dfr' | 'svr' | 'esr' | 'errors' | 'externalLatched',
  fits: (value: number, x2: boolean) => boolean,
): void =>
  add(
    `apic${name[0]!.toUpperCase()}${name.slice(1)}`,
    (kept) => kept[name],
    (kept, value) => {
      kept[name] = value;
    },
    fits,
  );

const nothing = () => {};
add('apicId', (_, id) => id, nothing, undefined, 'ro');
add('apicVersion', () => VERSION_VALUE, nothing, undefined, 'ro');
word('tpr', within(0xff));
word('ldr', (value, x2) => x2 || (value & 0xff_ffff) === 0);
word('dfr', (value) => (value & 0x0fff_ffff) === 0x0fff_ffff);
word('svr', within(0x11ff));
word('esr', within(0xff));
word('errors', within(0xff));
rows.push({
  name: 'apicIcr',
  bytes: 8,
  access: 'rw',
  read: ({ icrLow, icrHigh }) => (BigInt(icrHigh >>> 0) << 32n) | BigInt(icrLow >>> 0),
  write(kept, value) {
    kept.icrLow = Number(value & 0xffff_ffffn);
    kept.icrHigh = Number(value >> 32n);
  },
  fits: (value, x2) => (value & ~BigInt(ICR_MASK) & (x2 ? 0xffff_ffffn : 0x00ff_ffff_ffff_ffffn)) === 0n,
});
// Vectors 0-15 do not exist.
for (const set of ['isr', 'tmr', 'irr'] as const)
  for (let i = 0; i < 8; i++)
    add(
      `apic${set[0]!.toUpperCase()}${set.slice(1)}${i}`,
      (kept) => kept[set][i]!,
      (kept, value) => {
        kept[set][i] = value;
      },
      (value) => i > 0 || (value & 0xffff) === 0,
      'ro-for-guest',
    );
for (const [i, name] of ['Timer', 'Thermal', 'Performance', 'Lint0', 'Lint1', 'Error'].entries())
  add(
    `apicLvt${name}`,
    (kept) => kept.lvt[i]!,
    (kept, value) => {
      kept.lvt[i] = value;
    },
    within(lvtMasks[i]! | (i === 3 || i === 4 ? REMOTE_IRR : 0)),
  );
add(
  'apicTimerInitial',
  ({ timer }) => timer.initial,
  ({ timer }, value) => {
    timer.initial = value;
  },
);
add(
  'apicTimerDivide',
  ({ timer }) => timer.divide,
  ({ timer }, value) => {
    timer.divide = value;
  },
  within(0xb),
);
add(
  'apicTimerRunning',
  ({ timer }) => timer.running,
  ({ timer }, value) => {
    timer.running = value;
  },
  within(1),
  'ro-for-guest',
);
rows.push({
  name: 'apicTimerElapsed', // nanoseconds since the countdown began
  bytes: 8,
  access: 'ro-for-guest',
  read: ({ timer }) => BigInt(Math.max(0, timer.elapsed)),
  write({ timer }, value) {
    timer.elapsed = Number(value);
  },
  fits: (value) => value <= BigInt(Number.MAX_SAFE_INTEGER),
});
rows.push({
  name: 'apicTscDeadline',
  bytes: 8,
  access: 'rw',
  read: ({ timer }) => timer.deadline,
  write({ timer }, value) {
    timer.deadline = value;
  },
  fits: () => true,
});
word('externalLatched', within(1));

export const apicRegisters: readonly ApicRegister[] = rows;

const TSC_DEADLINE_MODE = 2;
/** What does not go together: a register's name and why; null = nothing. */
export function apicRefusal({ lvt, timer }: ApicKept): readonly [name: string, reason: string] | null {
  const mode = (lvt[0]! >> 17) & 3;
  if (mode === 3) return ['apicLvtTimer', 'there is no timer mode 3'];
  if (timer.running !== 0 && (timer.initial === 0 || mode === TSC_DEADLINE_MODE))
    return ['apicTimerRunning', 'nothing to count down'];
  if (timer.deadline !== 0n && mode !== TSC_DEADLINE_MODE)
    return ['apicTscDeadline', 'the timer is not in TSC-deadline mode'];
  return null;
}
