/** v86, the npm package: an emulator of 32-bit PCs that translates to WebAssembly. */
import { join } from 'node:path';
import { builtDirectory, elfName } from '../guests/build.ts';
import { type Contender, callsOfScript } from './contender.ts';

export const v86: Contender = {
  name: 'v86',
  description: 'v86, warmed up',
  async prepare() {
    try {
      import.meta.resolve('v86');
      return null;
    } catch {
      return 'the package v86 is not installed';
    }
  },
  runs: (_, variant) => variant !== 'x86_64',
  measure: (guest, variant, limits) =>
    callsOfScript('v86-guest.ts', [join(builtDirectory, elfName(guest, variant))], limits),
};
