/** This emulator, in three ways. */
import { join } from 'node:path';
import { builtDirectory, elfName } from '../guests/build.ts';
import type { Guest, GuestVariant } from '../guests/catalogue.ts';
import { type Call, type CallLimits, type Contender, callsOfScript } from './contender.ts';

function jit86(
  name: string,
  description: string,
  engine: 'interpreter' | 'auto',
  x87: 'exact' | 'fast',
  runs: (guest: Guest, variant: GuestVariant) => boolean = () => true,
): Contender {
  return {
    name,
    description,
    prepare: async () => null,
    runs,
    measure(guest: Guest, variant: GuestVariant, limits: CallLimits): Promise<Call[]> {
      const path = join(builtDirectory, elfName(guest, variant));
      // The interpreter does not get warm, and takes its time.
      const own = engine === 'interpreter' ? { ...limits, calls: 1, fewest: 1 } : limits;
      return callsOfScript('jit86-guest.ts', [path, engine, x87], own);
    },
  };
}

export const jit86Contenders: readonly Contender[] = [
  jit86('jit86', 'this emulator, warmed up', 'auto', 'exact'),
  jit86(
    'jit86-fast',
    'this emulator with --x87 fast',
    'auto',
    'fast',
    (guest, variant) => variant === 'i386-x87' && guest.kind === 'double',
  ),
  jit86('interpreter', "this emulator's interpreter", 'interpreter', 'exact'),
];
