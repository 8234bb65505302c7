/** The same sources compiled for this machine, which is the measure of all, and for WebAssembly, which is the floor. */
import { Natives, WasmBuilds } from '../yardstick.ts';
import { type Contender, callsOfScript } from './contender.ts';

let natives: Natives;
let modules: WasmBuilds;

export const native: Contender = {
  name: 'native',
  description: 'gcc -O2 for this machine',
  async prepare() {
    natives = await Natives.prepare();
    return natives.variants.length > 0 ? null : 'gcc cannot build programs here';
  },
  runs: (_, variant) => natives.variants.includes(variant),
  async measure(guest, variant, { calls }) {
    const times = await natives.calls(guest.name, variant, calls);
    if (times === null) throw new Error('there is no native program');
    return times.map((each) => ({ ...each, instructions: null }));
  },
};

export const wasm: Contender = {
  name: 'wasm',
  description: 'clang -O2 for wasm32, in this Node',
  async prepare() {
    const prepared = await WasmBuilds.prepare();
    if (typeof prepared === 'string') return prepared;
    modules = prepared;
    return null;
  },
  runs: (guest) => modules.path(guest) !== null,
  measure: (guest, _, limits) => callsOfScript('wasm-guest.ts', [modules.path(guest)!, String(guest.checksum)], limits),
};
