/** Goes on with a boot that another process has saved, and prints how it ended: see snapshot-boot.test.ts. */
import { readFileSync } from 'node:fs';
import { argv } from 'node:process';
import type { Engine } from '../../runtime/machines/machine.ts';
import { emptyMachine, ending } from './boot.ts';

const [, , file, engine, cpus] = argv;
const { machine, text } = await emptyMachine({ engine: engine as Engine, cpus: Number(cpus) });
machine.restore(new Uint8Array(readFileSync(file!)));
const end = await machine.run({});
console.log(JSON.stringify({ end, text: text(), ...ending(machine) }));
await machine.close();
