/** binutils' disassembler as a second opinion: many byte strings per run, each in a slot of its own. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface Opinion {
  readonly length: number;
  readonly bad: boolean;
  /** Lower case, blanks normalised, comments kept. */
  readonly text: string;
}

/** Longest prefix of bytes that is looked at, and the room for it. */
export const SLOT = 32;
const NOP = 0x90;
const machines = { 16: 'i8086', 32: 'i386', 64: 'i386:x86-64' } as const;

export const objdumpIsThere = (): boolean => spawnSync('objdump', ['--version']).status === 0;

/** Bytes padded with NOPs to a slot's length. */
export function padded(bytes: Uint8Array): Uint8Array {
  const slot = new Uint8Array(SLOT).fill(NOP);
  slot.set(bytes.subarray(0, SLOT));
  return slot;
}

/** Address of the i-th byte string, for relative targets. */
export const addressOf = (i: number): bigint => BigInt(i * SLOT);

/** What objdump makes of the beginning of each byte string. Prefixes that it prints apart are added to what follows. */
export function opinions(all: readonly Uint8Array[], mode: 16 | 32 | 64): Opinion[] {
  const directory = mkdtempSync(join(tmpdir(), 'jit86-objdump-'));
  try {
    const file = join(directory, 'code');
    const image = new Uint8Array(all.length * SLOT);
    for (const [i, bytes] of all.entries()) image.set(padded(bytes), i * SLOT);
    writeFileSync(file, image);
    const run = spawnSync(
      'objdump',
      ['-D', '-b', 'binary', '-m', machines[mode], '-M', 'intel,intel64', '-w', '-z', '--insn-width=16', file],
      {
        encoding: 'utf8',
        maxBuffer: 1 << 30,
        timeout: 60_000,
      },
    );
    if (run.status !== 0) throw new Error(`objdump: ${run.stderr}`);
    return gather(run.stdout, all.length);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

const lonePrefix = /^(?:(?:rex(?:\.\w+)?|data16|data32|addr16|addr32|lock|repz|repnz|rep|repne|repe|[cdefgs]s) ?)+$/;

function gather(output: string, count: number): Opinion[] {
  const lines = new Map<number, { length: number; text: string }>();
  for (const line of output.split('\n')) {
    const match = /^\s*([0-9a-f]+):\t((?:[0-9a-f]{2} )+)\s*(?:\t(.*))?$/.exec(line);
    if (match === null) continue;
    const [, address, bytes, text] = match;
    lines.set(Number.parseInt(address!, 16), {
      length: bytes!.trim().split(' ').length,
      text: (text ?? '').toLowerCase().replace(/\s+/g, ' ').trim(),
    });
  }
  const made: Opinion[] = [];
  for (let i = 0; i < count; i++) {
    let length = 0;
    let text = '';
    // An instruction before it that ran over the border hides a slot: NOPs make that impossible.
    for (;;) {
      const line = lines.get(i * SLOT + length);
      if (line === undefined) break;
      length += line.length;
      text = `${text} ${line.text}`.trim();
      if (!lonePrefix.test(line.text)) break;
    }
    made.push({ length, bad: text.includes('(bad)'), text });
  }
  return made;
}
