import { readFileSync, writeFileSync } from 'node:fs';
const root = process.env.ROOT ?? '/work/wt/fast';
const { formRegion } = await import(`${root}/jit/region.ts`);
const { RegionEmitter } = await import(`${root}/jit/region-emitter.ts`);
const T = await import(`${root}/jit/translate.ts`);
const { print } = await import(`${root}/src/ir/print.ts`).catch(() => ({ print: null })) as any;
const [variant, name, ripArg, out = '/tmp/fast-dump'] = process.argv.slice(2);
const elf = readFileSync(`${root}/bench/guests/built/${variant}/${name}.elf`);
const d = new DataView(elf.buffer, elf.byteOffset);
const phoff = d.getUint32(28, true), n = d.getUint16(44, true);
const pages = new Map<number, Uint8Array>();
for (let i = 0; i < n; i++) { const o = phoff + 32 * i; const off = d.getUint32(o + 4, true), va = d.getUint32(o + 8, true), fs = d.getUint32(o + 16, true);
  for (let k = 0; k < fs; k++) { const a = va + k; let p = pages.get(a >>> 12); if (!p) pages.set(a >>> 12, (p = new Uint8Array(4096))); p[a & 4095] = elf[off + k]!; } }
const size = variant === 'x86_64' ? 64 : 32;
const context = { id: 1, stable: true, csBase: 0, csLimit: 0, watched: false, codeSize: size, stackSize: size, flat: true, cpl: 0, protectedMode: true, virtual8086: false, iopl: 0, x87: 'available', waitFaults: false, sse: 'available' } as any;
const source = { page: (l: bigint) => pages.get(Number(l >> 12n)) ?? null };
const region = formRegion(source, context, BigInt(ripArg!));
if (region === null) throw new Error('no region');
let text = '';
for (const b of region.blocks) {
  text += `== ${b.order} ${b.rip.toString(16)} ${b.terminator.kind} -> ${b.successors.map((s: any) => s.order)} flagbits ${b.needsFlagBits}\n`;
  b.nodes.forEach((x: any, i: number) => { if (x.op !== 'i32.const' || x.imm[0] !== 0) text += `   %${i} ${x.op} ${x.args.map((a: number) => '%' + a)} [${x.imm.map((m: any) => typeof m === 'bigint' ? '0x' + m.toString(16) : m)}]\n`; });
}
writeFileSync(`${out}.ir`, text);
const bytes = T.assemble(region, { shared: false, x87: 'exact', cpu: 65536 }, 'either').bytes;
writeFileSync(`${out}.wasm`, bytes);
