import { readFileSync } from 'node:fs';
import { execFileSync } from 'node:child_process';
const root = process.env.ROOT ?? '/work/wt/core';
const { createMachine } = await import(`${root}/runtime/machines/bare-machine.ts`);
const { nodeHost } = await import(`${root}/runtime/hosts/node.ts`);
const { loadGuest } = await import(`${root}/runtime/loaders/load.ts`);
const [variant, names, scaleArg = '2', repeatArg = '6', engine = 'auto'] = process.argv.slice(2);
const scale = Number(scaleArg), repeat = Number(repeatArg);
let geo = 0, n = 0;
for (const name of names!.split(',')) {
  const out: string = execFileSync(`/tmp/native/${variant}/${name}`, [String(scale), String(scale), String(scale)], { encoding: 'utf8' });
  const native = Math.min(...[...out.matchAll(/nanos=(\d+)/g)].map((m) => Number(m[1]))) / 1e6;
  const marks: number[] = []; let word = '';
  let machine: any; const counts: number[] = [];
  machine = await createMachine({ memory: 128 << 20, cpus: 1, engine, x87: 'exact', cache: null, serial: (b: number) => { word; if (process.env.V) process.stdout.write(String.fromCharCode(b)); }, debugcon: (b: number) => { const c = String.fromCharCode(b); if (c === 'S' || c === 'E') { marks.push(performance.now()); counts.push(machine.instructions()); } } }, nodeHost);
  const loaded = loadGuest(readFileSync(`${root}/bench/guests/built/${variant}/${name}.elf`), machine.ram, { name, commandLine: `scale=${scale} repeat=${repeat} marks=1`, modules: [] });
  machine.start(loaded.state);
  const end = await machine.run({});
  const times: number[] = []; for (let i = 0; i + 1 < marks.length; i += 2) times.push(marks[i + 1]! - marks[i]!);
  const best = Math.min(...times);
  const insns = counts[1]! - counts[0]!;
  const ratio = best / native; geo += Math.log(ratio); n++;
  const eng = machine.vcpu?.engine; const leaves = eng?.leaves ? JSON.stringify(eng.leaves) : '';
  console.log(name.padEnd(16), variant, `native ${native.toFixed(1)} ms, ours ${best.toFixed(1)} ms (first ${times[0]?.toFixed(0)}), ratio ${ratio.toFixed(2)}, ${(insns / best / 1000).toFixed(0)} MIPS`, JSON.stringify(end.reason), end.status ?? '', leaves);
  await machine.close();
}
console.log('geomean', Math.exp(geo / n).toFixed(2));
process.exit(0);
