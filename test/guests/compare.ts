/**
 * Runs the guests of this folder in other emulators as well and prints where these differ from the manual, which is what the
 * guests know: `node test/guests/compare.ts [guest...]`. QEMU and Bochs where they are installed; both run the guest as
 * their ROM (rom.ts). An emulator that does not get through a guest is started again behind the case that ended it.
 *
 * What is known stands in differences.txt, with the reasons in README.md; `--known` prints only what is not there, and its
 * status says whether anything is; `--write` writes that file.
 */
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { romOf } from './rom.ts';

const here = fileURLToPath(new URL('.', import.meta.url));

export interface Emulator {
  readonly name: string;
  readonly program: string;
  /** Its command line for a ROM in a folder of its own. */
  readonly command: (rom: string, folder: string) => readonly string[];
}

export const emulators: readonly Emulator[] = [
  {
    name: 'QEMU',
    program: 'qemu-system-x86_64',
    command: (rom) =>
      `-machine pc -accel tcg,thread=single -cpu max -smp 2 -m 32 -bios ${rom} -display none -vga none -net none -serial none -monitor none -debugcon stdio -device isa-debug-exit,iobase=0xf4 -no-reboot`.split(
        ' ',
      ),
  },
  {
    name: 'Bochs',
    program: 'bochs',
    command: (rom, folder) => {
      // Debian's has its debugger built in, which is told to go on; sound and screen want a host that has them.
      const settings = [
        'display_library: rfb, options="timeout=0"',
        `romimage: file=${rom}, address=0x${(2 ** 32 - readFileSync(rom).length).toString(16)}`,
        'vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest',
        'megs: 32',
        'cpu: model=corei7_icelake_u, count=2, ips=50000000, reset_on_triple_fault=0',
        'port_e9_hack: enabled=1',
        'panic: action=fatal',
        'error: action=ignore',
        'info: action=ignore',
        'sound: waveoutdrv=dummy, waveindrv=dummy, midioutdrv=dummy',
        'speaker: enabled=0',
        'plugin_ctrl: biosdev=0, gameport=0, iodebug=0, parallel=0, serial=0, speaker=0',
        `log: ${join(folder, 'log')}`,
      ];
      writeFileSync(join(folder, 'settings'), `${settings.join('\n')}\n`);
      writeFileSync(join(folder, 'commands'), 'c\n');
      return ['-q', '-rc', join(folder, 'commands'), '-f', join(folder, 'settings')];
    },
  },
];

/** Is it there, and which version? */
export function versionOf({ program }: Emulator): string | null {
  const { stdout, error } = spawnSync(program, [program === 'bochs' ? '--help' : '--version'], { encoding: 'utf8' });
  return error === undefined ? (/\d+\.\d+(\.\d+)?/.exec(stdout)?.[0] ?? '') : null;
}

/** What a guest says from a case on; it is ended when it has said its last line, or nothing for a while. */
function runOnce(emulator: Emulator, file: Uint8Array, from: number): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'guest-'));
  const rom = join(folder, 'rom');
  writeFileSync(rom, romOf(file, from));
  return new Promise((resolve) => {
    const child = spawn(emulator.program, emulator.command(rom, folder), {
      stdio: ['ignore', 'pipe', 'ignore'],
      env: { ...process.env, BXSHARE: '/usr/share/bochs' },
    });
    let said = '';
    const stop = () => void child.kill('SIGKILL');
    let patience = setTimeout(stop, 15_000);
    child.stdout.on('data', (text: Buffer) => {
      said += text.toString('latin1').replace(/[^\n -~]/g, '?'); // a guest may have been overwritten
      clearTimeout(patience);
      patience = setTimeout(stop, 5_000);
      if (/differences\n/.test(said)) stop();
    });
    child.on('close', () => {
      clearTimeout(patience);
      rmSync(folder, { recursive: true });
      resolve(said);
    });
  });
}

/** A difference without addresses, which are others in each build of a guest. */
const lasting = (line: string): string =>
  line.replace(/ ([0-9a-f]{5,16}), expected ([0-9a-f]{5,16})$/, (all, one: string, two: string) =>
    [one, two].some((each) => /^1[01][0-9a-f]{4}$/.test(each)) ? ' is another' : all,
  );

/** The same difference of several cases in one line: `what: case, case`. */
export function folded(lines: readonly string[]): readonly string[] {
  const groups = new Map<string, string[]>();
  for (const line of lines) {
    const cut = line.lastIndexOf(': ');
    const [name, what] = [line.slice(0, cut), line.slice(cut + 2)];
    groups.set(what, [...(groups.get(what) ?? []), name]);
  }
  return [...groups].map(([what, names]) => `${what}: ${[...new Set(names)].join(', ')}`);
}

/** The lines about cases in which an emulator differs, in the guest's order, without repetitions. */
export async function differencesOf(emulator: Emulator, guest: string): Promise<readonly string[]> {
  const file = readFileSync(join(here, `${guest}.elf`));
  const found: string[] = [];
  let from = 0;
  for (;;) {
    const said = await runOnce(emulator, file, from);
    const lines = said.split('\n').filter((line) => /^case |, expected |cases, /.test(line));
    const names = lines.filter((line) => line.startsWith('case '));
    found.push(...lines.filter((line) => line.includes(', expected ')).map(lasting));
    if (lines.some((line) => line.endsWith(' differences'))) break;
    if (names.length === 0) {
      found.push(`from case ${from} on: says nothing`);
      break;
    }
    found.push(`${names.at(-1)!.slice(5)}: ends the emulator, or hangs`);
    from += names.length;
  }
  return [...new Set(found)];
}

export const guestNames = (): readonly string[] =>
  readdirSync(here)
    .filter((name) => name.endsWith('.elf'))
    .map((name) => name.slice(0, -4))
    .sort();

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const words = process.argv.slice(2);
  const named = words.filter((word) => !word.startsWith('--'));
  const file = join(here, 'differences.txt');
  const known = new Set(words.includes('--known') ? readFileSync(file, 'utf8').split('\n') : []);
  const table: string[] = [];
  for (const emulator of emulators) {
    const version = versionOf(emulator);
    if (version === null) table.push(`# ${emulator.name} is not installed`);
    for (const guest of version === null ? [] : named.length > 0 ? named : guestNames()) {
      const lines = await differencesOf(emulator, guest);
      table.push(`# ${guest} in ${emulator.name} ${version}: ${lines.length} differences`, ...folded(lines));
    }
  }
  const shown = table.filter((line) => !known.has(line));
  process.stdout.write(`${shown.join('\n')}\n`);
  if (words.includes('--write')) writeFileSync(file, `${table.join('\n')}\n`);
  if (words.includes('--known') && shown.some((line) => !line.startsWith('#'))) process.exitCode = 1;
}
