/**
 * How much memory a machine takes:
 *
 *   npm run build
 *   node bench/memory.ts [--guests a,b] [--limit 300] [--json FILE]
 *
 * Runs guests as a user would, each by the built command in a process of its own with translation and no cache, and prints
 * the largest resident size that the system has seen of that process, all threads included, beside the one of a Node that
 * does nothing: a guest that writes every byte of 64 MiB of RAM, and bundled ones, whose layout asks for 128 MiB, of which
 * they touch a part. The status is 1 if a guest fails or a size is over the limit, in MiB.
 */
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { columns } from '../runtime/cli/bench-table.ts';
import { UsageError } from '../runtime/cli/options.ts';
import { begin, counted, picked } from './command-line.ts';
import { builtDirectory, elfName } from './guests/build.ts';
import { guestVariants, workloads } from './guests/catalogue.ts';
import { withTemporaryDirectory } from './guests/toolchain.ts';
import { runChild } from './peers/contender.ts';

const command = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url));
/** Prints the process's largest resident size, in KiB, when it ends. */
const witness = 'process.on("exit",()=>process.stderr.write("peak="+process.resourceUsage().maxRSS+"\\n"))';

/** Writes 64 MiB less the first, over and over, and ends with code 0 at the exit port: a flat binary for protected mode. */
const filler = Uint8Array.from([
  ...[0xbd, 100, 0, 0, 0], // mov ebp, 100
  ...[0xbf, 0, 0, 0x10, 0], // again: mov edi, 1 MiB
  ...[0xb9, 0, 0, 0xfc, 0], // mov ecx, 63 MiB / 4
  ...[0xf3, 0xab], // rep stosd
  ...[0x4d], // dec ebp
  ...[0x75, 0xf1], // jnz again
  ...[0x31, 0xc0], // xor eax, eax
  ...[0xe6, 0xf4], // out 0xf4, al
  ...[0xf4], // hlt
]);

interface Size {
  readonly what: string;
  readonly mebibytes: number;
  /** Null if the guest ended well. */
  readonly failure: string | null;
}

async function measure(what: string, args: readonly string[], wanted: number): Promise<Size> {
  const words = ['--import', `data:text/javascript,${encodeURIComponent(witness)}`, ...args];
  const { status, output } = await runChild(process.execPath, words, 120);
  const peak = Number(/peak=(\d+)/.exec(output)?.[1] ?? Number.NaN);
  return {
    what,
    mebibytes: peak / 1024,
    failure: status === wanted ? null : `status ${status}: ${output.trim().split('\n').at(-1)}`,
  };
}

async function main(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      guests: { type: 'string', default: 'sha256,sieve,lz-compress,strings,linpack' },
      limit: { type: 'string', default: '300' },
      json: { type: 'string' },
    },
  });
  if (!existsSync(command)) throw new UsageError(`there is no ${command}; npm run build makes it`);
  const guests = picked('guests', values.guests, workloads, ({ name }) => name);
  const limit = counted('limit', values.limit);
  const sizes = [await measure('Node alone', ['-e', '0'], 0)];
  await withTemporaryDirectory(async (directory) => {
    const path = join(directory, 'filler.bin');
    writeFileSync(path, filler);
    const run = ['run', path, '--flat', '0x10000', '--mode', 'protected', '--memory', '64M', '--no-cache'];
    sizes.push(await measure('64 MiB, all written', [command, ...run], 1));
  });
  for (const guest of guests) {
    for (const variant of guestVariants) {
      const path = join(builtDirectory, elfName(guest, variant));
      const run = ['run', path, '--memory', '128M', '--no-cache', '--append', 'repeat=5'];
      sizes.push(await measure(`${guest.name} ${variant}, 128 MiB`, [command, ...run], 1));
    }
  }
  const rows = sizes.map(({ what, mebibytes, failure }) => [what, mebibytes.toFixed(0), failure ?? '']);
  console.log('Largest resident size of a process, in MiB.\n');
  console.log(columns([['what', 'MiB', ''], ...rows], 1).join('\n'));
  const largest = Math.max(...sizes.map(({ mebibytes }) => mebibytes));
  const met = largest <= limit;
  console.log(`\n${met ? 'met   ' : 'MISSED'}  largest: ${largest.toFixed(0)} MiB (target <= ${limit})`);
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(sizes, null, 2)}\n`);
  return met && sizes.every(({ failure }) => failure === null) ? 0 : 1;
}

if (import.meta.main) await begin('memory', main);
