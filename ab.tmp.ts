import { readFileSync, existsSync, writeFileSync } from 'node:fs';
import { execFileSync } from 'node:child_process';
const [variant, names, rootsArg, scaleArg = '2', repeatArg = '6'] = process.argv.slice(2);
const all = 'adc-fibonacci,aes,bigint-multiply,bytecode,collatz,crc32,fibonacci,huffman,lz-compress,matrix-int,mergesort,pointer-chase,quicksort,random-access,regex,sha256,sieve,strings';
const roots = rootsArg!.split(',');
const file = '/tmp/fast-native.json';
const natives: Record<string, number> = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : {};
const geo: number[] = roots.map(() => 0); let n = 0;
for (const name of (names === 'all' ? all : names!).split(',')) {
  const key = `${variant}/${name}/${scaleArg}`;
  if (natives[key] === undefined || process.env.NAT) {
    let best = natives[key] ?? Infinity;
    for (let i = 0; i < 4; i++) {
      const out: string = execFileSync(`/tmp/native/${variant}/${name}`, [scaleArg, scaleArg, scaleArg], { encoding: 'utf8' });
      best = Math.min(best, ...[...out.matchAll(/nanos=(\d+)/g)].map((m) => Number(m[1]) / 1e6));
    }
    natives[key] = best; writeFileSync(file, JSON.stringify(natives));
  }
  const native = natives[key]!;
  const best: number[] = [];
  for (const root of roots) {
    const { createMachine } = await import(`${root}/runtime/machines/bare-machine.ts`);
    const { nodeHost } = await import(`${root}/runtime/hosts/node.ts`);
    const { loadGuest } = await import(`${root}/runtime/loaders/load.ts`);
    const marks: number[] = []; const cpu = () => { const { user, system } = (process as any).threadCpuUsage(); return (user + system) / 1000; };
    const machine = await createMachine({ memory: 128 << 20, cpus: 1, engine: 'auto', x87: 'exact', cache: null, serial: () => {}, debugcon: (b: number) => { const c = String.fromCharCode(b); if (c === 'S' || c === 'E') marks.push(cpu()); } }, nodeHost);
    const loaded = loadGuest(readFileSync(`${root}/bench/guests/built/${variant}/${name}.elf`), machine.ram, { name, commandLine: `scale=${scaleArg} repeat=${repeatArg} marks=1`, modules: [] });
    machine.start(loaded.state);
    await machine.run({});
    const times: number[] = []; for (let i = 0; i + 1 < marks.length; i += 2) times.push(marks[i + 1]! - marks[i]!);
    best.push(Math.min(...times));
    await machine.close();
  }
  best.forEach((t, i) => { geo[i]! += Math.log(t / native); }); n++;
  console.log(name.padEnd(16), variant, `native ${native.toFixed(1)}`, ...best.map((t) => `${t.toFixed(1)} ms = ${(t / native).toFixed(2)} |`), best.length > 1 ? (best[1]! / best[0]!).toFixed(3) : '');
}
console.log('geomean', ...geo.map((g) => Math.exp(g / n).toFixed(2)));
process.exit(0);
