/** Restores a snapshot, runs it for a number of instructions, prints the hash of where it stands, and saves it again. */
import { readFileSync, writeFileSync } from 'node:fs';
import { argv } from 'node:process';
import { emptyVm, hashOf } from './vm-harness.ts';

const [, , file, instructions] = argv;
const vm = emptyVm('hot');
vm.restore(new Uint8Array(readFileSync(file!)));
vm.vcpu(0).enter({ maxInstructions: Number(instructions) });
console.log(hashOf(vm));
writeFileSync(`${file}.after`, vm.snapshot());
