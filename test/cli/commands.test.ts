import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { defaultCacheDirectory } from '../../runtime/hosts/node.ts';
import type { RunEnd } from '../../runtime/machines/machine.ts';
import { bzImage, elf, multibootHeader } from '../loaders/images.ts';
import { runScripted } from './script-machine.ts';

const folder = mkdtempSync(join(tmpdir(), 'jit86-cli-'));
after(() => rmSync(folder, { recursive: true }));

function file(name: string, bytes: Uint8Array | readonly number[]): string {
  const path = join(folder, name);
  writeFileSync(path, Uint8Array.from(bytes));
  return path;
}

const kernel = file(
  'kernel.elf',
  elf({
    bits: 32,
    entry: 0x10_000c,
    segments: [{ virtual: 0x10_0000, physical: 0x10_0000, data: [...multibootHeader(3), 0xf4] }],
  }),
);
const plain = file(
  'plain.elf',
  elf({ bits: 64, entry: 0x10_0000, segments: [{ virtual: 0x10_0000, physical: 0x10_0000, data: [0xf4] }] }),
);
const text = file('notes.txt', new TextEncoder().encode('no guest at all'));
const quiet = ['--serial', 'none', '--debugcon', 'none'];

test('a Linux kernel gets a PC, anything else the bare machine, and --machine the one that it names', async () => {
  const linux = file('vmlinuz', bzImage());
  const machineOf = async (...args: string[]) => {
    const { machines, status, error } = await runScripted(['run', ...args, ...quiet]);
    assert.equal(status, 0, error);
    return [machines[0]!.options.machine, machines[0]!.options.clock];
  };
  assert.deepEqual(await machineOf(linux), ['pc', 'virtual']);
  assert.deepEqual(await machineOf(kernel), ['bare', 'virtual']);
  assert.deepEqual(await machineOf(linux, '--machine', 'bare'), ['bare', 'virtual']);
  assert.deepEqual(await machineOf(kernel, '--machine', 'pc', '--clock', 'host'), ['pc', 'host']);
  assert.deepEqual(await machineOf(linux, '--flat', '0x8000'), ['bare', 'virtual']);
  assert.deepEqual(await machineOf(kernel, '--test-device'), ['pc', 'virtual']);
  const note = [4, 0, 0, 0, 4, 0, 0, 0, 18, 0, 0, 0, ...Buffer.from('Xen\0'), 0, 0, 0x10, 0];
  const code = { virtual: 0x10_0000, physical: 0x10_0000, data: [0xf4] };
  const segments = [code, { type: 4, virtual: 0, physical: 0, data: note }];
  const pvh = file('pvh.elf', elf({ bits: 64, entry: 0x10_0000, segments }));
  assert.deepEqual(await machineOf(pvh), ['pc', 'virtual']);
});

test('a power-off is status 0, a reset status 3 with a line', async () => {
  const off = await runScripted(['run', kernel, ...quiet], () => ({ reason: 'power-off' }));
  assert.deepEqual([off.status, off.error], [0, '']);
  const reset = await runScripted(['run', kernel, ...quiet], () => ({ reason: 'reset' }));
  assert.deepEqual([reset.status, reset.error], [3, 'jit86: the guest reset the machine\n']);
});

test('whatever is wrong with a command line is one line that names it, and status 2', async () => {
  const missing = join(folder, 'missing.elf');
  const truncated = file('truncated.elf', readFileSync(kernel).subarray(0, 60));
  const foreign = file('arm.elf', elf({ bits: 32, entry: 0, machine: 40, segments: [] }));
  const cases: [string[], RegExp][] = [
    [[], /no command/],
    [['fly'], /unknown command fly/],
    [['--fly'], /unknown option --fly/],
    [['run'], /run needs a GUEST/],
    [['run', kernel, 'more'], /unexpected argument more/],
    [['run', kernel, '--fast'], /unknown option --fast/],
    [['run', kernel, '-x'], /unknown option -x/],
    [['run', kernel, '--fast=1'], /unknown option --fast/],
    [['run', kernel, '--stats=yes'], /--stats=yes: the option takes no value/],
    [['run', kernel, '--stats', '--stats'], /--stats is given twice/],
    [['run', kernel, '--memory'], /--memory needs a value: --memory SIZE/],
    [['run', kernel, '--memory', '--stats'], /--memory needs a value/],
    [['run', kernel, '--memory', '1M', '--memory', '2M'], /--memory is given twice: 1M and 2M/],
    [['run', kernel, '--memory', 'lots'], /--memory lots: not a size such as 256M/],
    [['run', kernel, '--memory', '1.5G'], /--memory 1.5G: not a size/],
    [['run', kernel, '--memory', '4097'], /--memory 4097: not a multiple of 4096/],
    [['run', kernel, '--memory', '512K'], /--memory 512K: the least is 1M/],
    [['run', kernel, '--memory', '99999999999999G'], /--memory 99999999999999G/],
    [['run', kernel, '--cpus', '0'], /--cpus 0: the least is 1/],
    [['run', kernel, '--cpus', '256'], /--cpus 256: the most is 255/],
    [['run', kernel, '--cpus', 'two'], /--cpus two: not a whole number/],
    [['run', kernel, '--machine', 'laptop'], /--machine laptop: it must be one of bare, pc/],
    [['run', kernel, '--machine', 'bare', '--test-device'], /--test-device is a pc's, not for --machine bare/],
    [['run', kernel, '--clock', 'sun'], /--clock sun: it must be one of virtual, host/],
    [['run', kernel, '--engine', 'warp'], /--engine warp: it must be one of auto, interpreter, jit/],
    [['run', kernel, '--x87', 'slow'], /--x87 slow: it must be one of exact, fast/],
    [['run', kernel, '--max-instructions', '1e6'], /--max-instructions 1e6: not a whole number/],
    [['run', kernel, '--timeout', '0'], /--timeout 0: not a time/],
    [['run', kernel, '--timeout', '-1'], /--timeout -1: not a time/],
    [['run', kernel, '--timeout', '1s'], /--timeout 1s: not a time/],
    [['run', kernel, '--cache', 'x', '--no-cache'], /--cache x and --no-cache/],
    [['run', kernel, '--cache', join(kernel, 'c')], /--cache .*c: ENOTDIR/],
    [['run', kernel, '--mode', 'long'], /--mode long is for a file loaded with --flat/],
    [['run', kernel, '--flat', '0x10000', '--mode', 'vm86'], /--mode vm86: it must be one of/],
    [['run', kernel, '--serial', join(folder, 'no', 'such')], /--serial .*no.such: ENOENT/],
    [['run', kernel, '--initrd', missing], /missing\.elf: no such file/],
    [['run', plain, '--initrd', kernel], /plain\.elf: modules are for multiboot and PVH kernels/],
    [['run', missing], /missing\.elf: no such file/],
    [['run', folder], /it is a folder/],
    [['run', text], /notes\.txt: a file that begins with 6e 6f 20 67 is no ELF/],
    [['run', truncated], /truncated\.elf: .*do not fit the file of 60 bytes/],
    [['run', foreign], /arm\.elf: .*machine 40 \(ARM\)/],
    [['run', kernel, '--memory', '1M'], /kernel\.elf: .*outside of the RAM of 0x100000 bytes/],
    [['diff'], /jit86 diff needs a GUEST, or --random or --hostile/],
    [['diff', kernel, '--random'], /jit86 diff needs a GUEST, or --random or --hostile/],
    [['diff', kernel, '--seed', '1'], /--seed is for random programs/],
    [['diff', '--random', '--interval', '1'], /--interval is for a guest/],
    [['diff', '--random', '--guests', '8'], /--guests 8: it must be one of 64, /],
    [['disasm', kernel, '--at', 'main'], /--at main: not a whole number/],
    [['disasm', kernel, '--count', '0'], /--count 0: the least is 1/],
    [['disasm', kernel, '--engine', 'jit'], /unknown option --engine/],
  ];
  for (const [args, message] of cases) {
    const { status, out, error, machines } = await runScripted(args);
    assert.equal(status, 2, `${args.join(' ')}: ${error}`);
    assert.equal(out, '');
    assert.match(error, message);
    assert.match(error, /^jit86: [^\n]+\n$/, 'one line');
    assert.ok(
      machines.every(({ closed }) => closed),
      'a machine that was made is closed',
    );
  }
});

test('help and version come with status 0, for each command too', async () => {
  for (const args of [['--help'], ['run', '--help'], ['bench', '--help'], ['disasm', '--help'], ['diff', '--help']]) {
    const { status, out, error } = await runScripted(args);
    assert.equal(status, 0, error);
    assert.match(out, /jit86/);
    assert.ok(
      out.split('\n').every((line) => line.length <= 120),
      'no line is longer than a terminal',
    );
  }
  assert.match((await runScripted(['--version'])).out, /^jit86 \d+\.\d+\.\d+\n$/);
});

test('every option of run is in its help', async () => {
  const { out } = await runScripted(['run', '--help']);
  for (const option of [
    '--append',
    '--initrd',
    '--memory',
    '--cpus',
    '--engine',
    '--x87',
    '--serial',
    '--debugcon',
    '--max-instructions',
    '--timeout',
    '--save',
    '--restore',
    '--cache',
    '--no-cache',
    '--stats',
    '--json',
  ])
    assert.ok(out.includes(`${option} `), option);
});

test("the exit status is the guest's, or says what ended the run", async () => {
  const cases: [RunEnd, number, RegExp][] = [
    [{ reason: 'exit', status: 33 }, 33, /^$/],
    [{ reason: 'exit', status: 0 }, 0, /^$/],
    [{ reason: 'halt', rip: 0 }, 0, /^$/],
    [{ reason: 'instructions' }, 124, /--max-instructions/],
    [{ reason: 'shutdown', rip: 0x1234, vector: 13 }, 134, /triple fault at 0x1234, exception 13/],
    [{ reason: 'internal-error', rip: 0x1234, message: 'lost' }, 70, /internal error at 0x1234: lost/],
  ];
  for (const [end, expected, message] of cases) {
    const { status, error, machines } = await runScripted(['run', kernel, ...quiet], () => end);
    assert.equal(status, expected);
    assert.match(error, message);
    assert.equal(machines[0]!.closed, true);
  }
});

test('a write to the exit port ends with code*2+1', async () => {
  const { status } = await runScripted(['run', kernel, ...quiet], ({ out }) => {
    out(0xf4, 0x10);
    return undefined;
  });
  assert.equal(status, 0x21);
});

test('--timeout aborts the run, and the status is that of a limit', async () => {
  const { status, error } = await runScripted(['run', kernel, ...quiet, '--timeout', '0.01'], async ({ limits }) => {
    await new Promise((done) => limits.signal!.addEventListener('abort', done));
    return { reason: 'aborted' };
  });
  assert.equal(status, 124);
  assert.match(error, /--timeout 0\.01 is over/);
});

test('a run that a limit ended is saved, and goes on from there', async () => {
  const saved = join(folder, 'saved');
  const args = [...quiet, '--memory', '2M', '--save', saved];
  const first = await runScripted(['run', kernel, ...args, '--max-instructions', '77'], ({ retire, ram }) => {
    ram[3] = 99;
    retire(77);
    return { reason: 'instructions' };
  });
  assert.deepEqual([first.status, first.error], [124, 'jit86: stopped: --max-instructions are executed\n']);
  let sawByte = 0;
  const again = ['run', '--restore', saved, ...args];
  const second = await runScripted(again, ({ ram, retire, options }) => {
    assert.equal(options.machine, 'pc');
    sawByte = ram[3]!;
    retire(3);
    return { reason: 'power-off' };
  });
  assert.equal(second.status, 0);
  assert.equal(sawByte, 99);
  assert.match(second.error, /nothing is saved, the guest has ended/);
  for (const [wrong, message] of [
    [[...again, kernel], /--restore .*: its guest is in it, so .* cannot be given/],
    [[...again, '--append', 'quiet'], /so append cannot be given/],
    [['run', '--restore', join(folder, 'none')], /none: no such file/],
    [['run', ...quiet], /run needs a GUEST/],
    [['run', kernel, ...quiet, '--max-instructions', '1', '--save', folder], /--save .*: EISDIR/],
  ] as const) {
    const { status, error } = await runScripted([...wrong], () => ({ reason: 'instructions' }));
    assert.equal(status, 2, error);
    assert.match(error, message);
  }
});

test('the options reach the machine', async () => {
  const place = join(folder, 'cache');
  const args = ['--memory', '8M', '--cpus', '2', '--engine', 'jit', '--x87', 'fast', '--cache', place];
  const { machines } = await runScripted(
    ['run', kernel, ...quiet, ...args, '--max-instructions', '0x10'],
    ({ limits }) => {
      assert.equal(limits.maxInstructions, 16);
      return undefined;
    },
  );
  const { memory, cpus, engine, x87, cache } = machines[0]!.options;
  assert.deepEqual([memory, cpus, engine, x87, cache], [8 * 2 ** 20, 2, 'jit', 'fast', place]);
  const plainRun = await runScripted(['run', kernel, ...quiet]);
  assert.deepEqual(
    [plainRun.machines[0]!.options.memory, plainRun.machines[0]!.options.cache],
    [256 * 2 ** 20, defaultCacheDirectory()],
  );
  assert.equal((await runScripted(['run', kernel, ...quiet, '--no-cache'])).machines[0]!.options.cache, null);
});

test('the cache lies under XDG_CACHE_HOME if that is an absolute path, else under the home folder', () => {
  assert.equal(defaultCacheDirectory({ XDG_CACHE_HOME: '/var/c' }), '/var/c/jit86');
  assert.match(defaultCacheDirectory({ XDG_CACHE_HOME: 'relative' }), /^\/.*\/\.cache\/jit86$/);
  assert.match(defaultCacheDirectory({}), /\.cache\/jit86$/);
});

test('command line and modules reach a multiboot guest', async () => {
  const first = file('first.img', [1, 2, 3]);
  const second = file('second.img', [4]);
  const args = ['--append', 'a=1', '--initrd', first, '--initrd', `${second} with words`];
  const { status, error } = await runScripted(['run', kernel, ...quiet, ...args], ({ ram, state }) => {
    const view = new DataView(ram.buffer);
    const info = state.gpr[3]!;
    const string = (at: number) => new TextDecoder().decode(ram.subarray(at, ram.indexOf(0, at)));
    assert.equal(string(view.getUint32(info + 16, true)), 'kernel.elf a=1');
    assert.equal(view.getUint32(info + 20, true), 2);
    const modules = view.getUint32(info + 24, true);
    assert.deepEqual([...ram.subarray(view.getUint32(modules, true), view.getUint32(modules + 4, true))], [1, 2, 3]);
    assert.equal(string(view.getUint32(modules + 24, true)), `${second} with words`);
    return undefined;
  });
  assert.equal(status, 0, error);
});

test('--flat loads any file where and how it is told', async () => {
  const { status, error } = await runScripted(
    ['run', text, ...quiet, '--flat', '0x8000', '--mode', 'protected'],
    ({ ram, state }) => {
      assert.equal(state.mode, 'protected');
      assert.equal(state.rip, 0x8000);
      assert.equal(ram[0x8000], 'n'.charCodeAt(0));
      return undefined;
    },
  );
  assert.equal(status, 0, error);
});

test('serial port and debug console write to the files they are given', async () => {
  const serial = join(folder, 'serial.txt');
  const debugcon = join(folder, 'debugcon.txt');
  await runScripted(['run', kernel, '--serial', serial, '--debugcon', debugcon], ({ out }) => {
    for (const byte of new TextEncoder().encode('hello')) out(0x3f8, byte);
    for (let count = 0; count < 10_000; count++) out(0xe9, 0x30 + (count % 10));
    return undefined;
  });
  assert.equal(readFileSync(serial, 'utf8'), 'hello');
  assert.equal(readFileSync(debugcon, 'utf8'), '0123456789'.repeat(1000));
});

test('--json prints one line with the end and the figures, --stats two lines of prose', async () => {
  const { out, error } = await runScripted(['run', kernel, ...quiet, '--json', '--stats'], ({ retire }) => {
    retire(1000);
    return { reason: 'exit', status: 7 };
  });
  assert.match(out, /^[^\n]+\n$/);
  const report = JSON.parse(out);
  assert.equal(report.reason, 'exit');
  assert.equal(report.status, 7);
  assert.equal(report.instructions, 1000);
  assert.equal(report.format, 'multiboot');
  assert.equal(report.regions, 3);
  assert.match(
    error,
    /1,000 instructions in .* MIPS\), 100\.0 % translated\n.*3 regions \(1 from the cache\), 4,567 bytes/,
  );
});

test('disasm prints instructions, micro-ops and wasm from the address on, or from the entry', async () => {
  const { out, status } = await runScripted(['disasm', kernel, '--at', '0x10000c', '--count', '2']);
  assert.equal(status, 0);
  assert.equal(
    out,
    [
      'block 0010000c',
      '  0010000c  f4                       hlt',
      '      %0 = call halt',
      '  0010000d  00                       hlt',
      '      %0 = call halt',
      '',
      '(module)',
      '',
    ].join('\n'),
  );
  assert.match((await runScripted(['disasm', plain])).out, /^block 00100000\n/);
});
