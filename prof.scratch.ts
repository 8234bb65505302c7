// scratch: per-guest profile
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { catalogue } from './bench/guests/catalogue.ts';
import { Engine } from './src/execute/engine.ts';
import { Mmu } from './src/mmu/mmu.ts';
import { startGuest } from './runtime/cli/guest-file.ts';
import { createMachine } from './runtime/machines/bare-machine.ts';
import * as host from './runtime/hosts/node.ts';
import { leave } from './src/execute/leave.ts';
const names = Object.fromEntries(Object.entries(leave).map(([k, v]) => [v, k]));
let counts: Record<string, number> = {}; let rips = new Map<string, number>();
const P = Engine.prototype as any; const original = P.leave;
let counting = true;
P.leave = function (code: number) {
  if (counting) { counts[names[code]!] = (counts[names[code]!] ?? 0) + 1;
  if (code === leave.retry || code === leave.lookup || code===leave.refuse || code === leave.fault) { const k = names[code] + ' ' + this.state.get64('rip').toString(16); rips.set(k, (rips.get(k) ?? 0) + 1); } }
  return original.call(this, code);
};
for (const m of ['slowRead', 'slowWrite']) { const o = (Mmu.prototype as any)[m]; (Mmu.prototype as any)[m] = function (...a: any[]) { if (counting) counts[m] = (counts[m] ?? 0) + 1; return o.apply(this, a); }; }
const args = process.argv.slice(2);
const opt = (n: string, d: string) => { const i = args.indexOf('--' + n); return i < 0 ? d : args[i + 1]!; };
const guests = opt('guests', catalogue.filter(g => g.checksum !== null).map(g => g.name).join(',')).split(',');
const variants = opt('variants', 'i386-sse2,x86_64').split(',');
const engine = opt('engine', 'auto'); const interp = opt('interp', '1') === '1'; const repeat = +opt('repeat', '8'); const scale=opt('scale','1');
const nodeHost = (host as any).nodeHost ?? (host as any).host;
async function run(name: string, variant: string, eng: string, repeat: number) {
  const path = `bench/guests/built/${variant}/${name}.elf`;
  const marks: { t: number; n: number; s: any }[] = []; let word = '';
  const out: number[] = [];
  const machine = await createMachine({ memory: 128 << 20, cpus: 1, engine: eng as any, x87: opt('x87','exact') as any, cache: null, serial: (b) => out.push(b), debugcon: (b) => { const c = String.fromCharCode(b); word = c === 'S' || c === 'E' ? c : word + c; if (word.length === 4) { marks.push({ t: (() => { const u = (process as any).threadCpuUsage(); return (u.user + u.system) / 1000; })(), n: machine.instructions(), s: counts }); if (c !== '' && word[0] === 'S') { } counts = {}; if (marks.length === 2 * (repeat - 1)) rips = new Map(); } } }, nodeHost);
  startGuest(machine, path, readFileSync(path), { name, commandLine: `marks=1 repeat=${repeat} scale=${scale}`, modules: [] });
  const end = await machine.run({ signal: AbortSignal.timeout(15000) });
  const st = machine.statistics();
  await machine.close();
  const calls = []; for (let i = 0; i + 1 < marks.length; i += 2) calls.push({ ms: marks[i + 1]!.t - marks[i]!.t, n: marks[i + 1]!.n - marks[i]!.n, c: marks[i + 1]!.s });
  return { calls, end, st, out: new TextDecoder().decode(Uint8Array.from(out)).trim() };
}
for (const v of variants) { const logs: number[] = [], im: number[] = []; for (const g of guests) {
  try {
  const nat = (() => { const o = execFileSync(`/tmp/peers/native/${v}/${g}`, [scale,scale,scale,scale]).toString(); return Math.min(...[...o.matchAll(/nanos=(\d+)/g)].map(m => +m[1]! / 1e6)); })();
  let line = `${v} ${g}`.padEnd(28) + ` native ${nat.toFixed(1)}ms`;
  counting = false;
  if (interp) { const r = await run(g, v, 'interpreter', 1); const c = r.calls[0]; if (c) { im.push(c.n / c.ms / 1000); line += ` interp ${(c.n / c.ms / 1000).toFixed(0)} MIPS`; } }
  counting = true; rips = new Map();
  const r = await run(g, v, engine, repeat); const best = r.calls.reduce((a, b) => (a.ms < b.ms ? a : b), r.calls[0]!);
  const warm = r.calls.slice(Math.floor(repeat / 2)).sort((a, b) => a.ms - b.ms); const med = warm[warm.length >> 1]!;
  logs.push(best.ms / nat);
  line += ` | transl first ${(r.calls[0]!.ms / nat).toFixed(1)}x warm ${(best.ms / nat).toFixed(2)}x (med ${(med.ms / nat).toFixed(2)}) ${(best.n / best.ms / 1000).toFixed(0)} MIPS insns ${(best.n / 1e6).toFixed(0)}M regions ${r.st.regions} ${r.st.codeBytes}B compile ${r.st.compileMillis.toFixed(0)}ms`;
  line += ' interp% ' + (100*r.st.interpreted/r.st.instructions).toFixed(2);
  const last = r.calls.at(-1)!.c; line += ' leaves/repeat ' + JSON.stringify(last);
  const top = [...rips].sort((a, b) => b[1] - a[1]).slice(0, 4).map(([k, n]) => `${k}:${n}`).join(' ');
  console.log(line + ' top ' + top + (r.end.reason === 'exit' && (r.end as any).status === 1 ? '' : ' END ' + JSON.stringify(r.end) + r.out));
  } catch (e) { console.log(v, g, 'ERR', (e as Error).message.slice(0, 200)); }
 } 
 const gm = (a: number[]) => Math.exp(a.reduce((s, x) => s + Math.log(x), 0) / a.length);
 console.log(`${v} GEOMEAN warm ${gm(logs).toFixed(2)}x interp ${gm(im).toFixed(0)} MIPS`); }
process.exit(0);
