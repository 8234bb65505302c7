/** A workload that clang compiled to WebAssembly, as a process of its own: `wasm-guest.ts LIMITS MODULE CHECKSUM`. */
import { readFileSync } from 'node:fs';
import { type Call, callBetween, isEnough, readClock, scriptArguments } from './contender.ts';

const { limits, args } = scriptArguments();
const { instance } = await WebAssembly.instantiate(readFileSync(args[0]!));
const workload = instance.exports.workload as (scale: number) => number;
const calls: Call[] = [];
const began = performance.now();
while (!isEnough(limits, calls.length, (performance.now() - began) / 1000)) {
  const start = readClock();
  const checksum = workload(1) >>> 0;
  calls.push(callBetween(start, readClock()));
  if (checksum === Number(args[1])) continue;
  console.log(`checksum 0x${checksum.toString(16)}`);
  process.exit(1);
}
console.log(JSON.stringify(calls));
