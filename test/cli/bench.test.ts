import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { axisStep, barChart } from '../../runtime/cli/bar-chart.ts';
import { benchPage } from '../../runtime/cli/bench-page.ts';
import { type BenchResult, geometricMean, speedup, summarize } from '../../runtime/cli/bench-result.ts';
import { benchTable, significant } from '../../runtime/cli/bench-table.ts';
import { elf, multibootHeader } from '../loaders/images.ts';
import { runScripted, type Script } from './script-machine.ts';

const folder = mkdtempSync(join(tmpdir(), 'jit86-bench-'));
after(() => rmSync(folder, { recursive: true }));

function result(
  guest: string,
  variant: string,
  interpreted: number | null,
  translated: number | null,
  kind = 'integer',
): BenchResult {
  const figures = (mips: number | null) =>
    mips === null ? null : { instructions: mips * 1e6, seconds: 1, firstSeconds: 1.5 };
  return {
    guest,
    kind,
    variant,
    interpreted: figures(interpreted),
    translated: figures(translated),
    nativeSeconds: kind === 'integer' ? 0.5 : null,
    regions: 12,
    codeBytes: 34_567,
    compileMillis: 89.4,
    failure: translated === null ? 'translated: exit status 3' : null,
  };
}

const results = [
  result('sieve', 'i386', 50, 800),
  result('sha256', 'i386', 80, 1800),
  result('sieve', 'x86_64', 60, 600),
  result('a<b>&"c"', 'x86_64', 60, null),
  result('n-body', 'x86_64', 60, 300, 'double'),
];

test('means are geometric, per variant and over all, and leave out what failed', () => {
  assert.equal(geometricMean([]), null);
  assert.ok(Math.abs(geometricMean([2, 8])! - 4) < 1e-12);
  assert.equal(speedup(results[0]!), 16);
  assert.equal(speedup(results[3]!), null);
  const rows = summarize(results);
  assert.deepEqual(
    rows.map(({ name, guests }) => [name, guests]),
    [
      ['i386', 2],
      ['x86_64', 2],
      ['x86_64 double', 1],
      ['all', 5],
    ],
  );
  assert.ok(Math.abs(rows[0]!.translatedMips! - 1200) < 1e-9);
  assert.ok(Math.abs(rows[1]!.translatedMips! - 600) < 1e-9);
  assert.deepEqual(
    rows.slice(0, 3).map(({ overNative }) => overNative),
    [2, 2, null],
  );
  assert.equal(summarize(results.slice(0, 2)).length, 1, 'one variant needs no line for all');
});

test('the table has a row per guest, means below it, and a line per failure', () => {
  const lines = benchTable(results).split('\n');
  assert.match(
    lines[0]!,
    /^guest +kind +variant +instructions +interp MIPS +transl MIPS +ratio +over native +regions +bytes +compile ms$/,
  );
  assert.match(lines[1]!, /^sieve +integer +i386 +800,000,000 +50\.0 +800 +16\.0 +2\.00 +12 +34,567 +89$/);
  assert.match(lines[4]!, / 60\.0 +- +- +- +12 /);
  assert.match(lines[8]!, /^i386 +2 +63\.2 +1,200 +19\.0 +2\.00$/);
  assert.ok(lines.includes('a<b>&"c" (x86_64): translated: exit status 3'));
});

test('numbers keep three digits', () => {
  assert.deepEqual([null, 0.5, 12.345, 123.4, 12345.6].map(significant), ['-', '0.50', '12.3', '123', '12,346']);
});

test('the page is whole in itself: no other file, no script, all text escaped', () => {
  const page = benchPage(results, 'Node <24>');
  assert.doesNotMatch(page, /<script|<link|<img|https?:|url\(|@import/);
  assert.match(page, /^<!doctype html>/);
  assert.ok(page.includes('a&lt;b&gt;&amp;&quot;c&quot;') && !page.includes('a<b>'));
  assert.ok(page.includes('Node &lt;24&gt;'));
  assert.equal(page.match(/<svg/g)!.length, 5, 'two variants, speed-up, over native, cost');
  assert.ok(page.includes('translated: exit status 3'));
  for (const tag of ['section', 'svg', 'table', 'main', 'div']) {
    assert.equal(
      page.match(new RegExp(`<${tag}[ >]`, 'g'))!.length,
      page.match(new RegExp(`</${tag}>`, 'g'))!.length,
      tag,
    );
  }
});

test('a page of no results, or of failures alone, is still a page', () => {
  assert.match(benchPage([], 'host'), /<\/html>/);
  assert.match(benchPage([result('x', 'v', null, null)], 'host'), /1 failed/);
});

test('bars are as long as their values say, within the chart', () => {
  const svg = barChart({
    title: 't',
    groups: [
      { label: 'one', bars: [{ series: 'a', value: 10 }] },
      {
        label: 'two',
        bars: [
          { series: 'a', value: 5 },
          { series: 'b', value: null },
        ],
      },
    ],
    format: String,
  });
  assert.doesNotMatch(
    barChart({ title: 'zero', groups: [{ label: 'a', bars: [{ series: 'a', value: 0 }] }], format: String }),
    /NaN|Infinity/,
  );
  const lengths = [...svg.matchAll(/<rect[^>]* width="([\d.]+)"/g)].map((match) => Number(match[1]));
  assert.equal(lengths.length, 2);
  assert.ok(Math.abs(lengths[0]! / lengths[1]! - 2) < 0.01);
  assert.ok(lengths[0]! < 520);
  assert.doesNotMatch(svg, /NaN|Infinity/);
});

test('the axis has a few round steps at every magnitude', () => {
  for (let most = 0.013; most < 1e7; most *= 1.37) {
    const steps = most / axisStep(most);
    assert.ok(steps >= 2 && steps <= 7, `${most}: ${steps}`);
    assert.match(axisStep(most).toExponential(3), /^[125]\.000e/);
  }
});

/** A guest that works as the bundled ones do: marks around each call, three times as fast when translated. */
function markedGuest({ out, retire, ram, state, options }: Script): undefined {
  const view = new DataView(ram.buffer);
  const at = view.getUint32(state.gpr[3]! + 16, true);
  const line = new TextDecoder().decode(ram.subarray(at, ram.indexOf(0, at)));
  const repeat = Number(/repeat=(\d+)/.exec(line)![1]);
  assert.match(line, /marks=1/);
  retire(12_345); // start-up, which must not count
  for (let call = 0; call < repeat; call++) {
    const mark = (letter: string) => {
      for (const character of `${letter}${String(call).padStart(3, '0')}`) out(0xe9, character.charCodeAt(0));
    };
    mark('S');
    retire(3_000_000);
    const until = performance.now() + (options.engine === 'interpreter' ? 30 : call === 0 ? 60 : 10);
    while (performance.now() < until);
    mark('E');
  }
  out(0xf4, 0);
}

const builtGuest = new URL('../../bench/guests/built/x86_64/sieve.elf', import.meta.url);

test('a bundled guest is measured between its marks, and the fastest translated call counts', async (t) => {
  if (!existsSync(builtGuest)) return t.skip('the guests are not built');
  const { status, out, error } = await runScripted(
    ['bench', 'sieve/x86_64', '--json', '--repeat', '3', '--no-native'],
    markedGuest,
  );
  assert.equal(status, 0, error);
  const report = JSON.parse(out);
  assert.equal(report.results.length, 1);
  const [row] = report.results;
  assert.equal(row.interpreted.instructions, 3_000_000);
  assert.equal(row.translated.instructions, 3_000_000);
  assert.ok(row.interpreted.seconds >= 0.03);
  assert.ok(row.translated.seconds >= 0.01 && row.translated.seconds < row.translated.firstSeconds);
  assert.equal(row.failure, null);
  assert.equal(row.nativeSeconds, null);
});

test('translations are made anew for the bench unless it is told where older ones are', async () => {
  const caches = async (...more: string[]) => {
    const { machines } = await runScripted(['bench', kernel, '--no-native', ...more]);
    return machines.map(({ options }) => options.cache);
  };
  assert.deepEqual(await caches(), [null, null]);
  assert.deepEqual(await caches('--cache', folder), [folder, folder]);
});

test('of an interpreted guest that takes long a part of its first call is measured', async (t) => {
  if (!existsSync(builtGuest)) return t.skip('the guests are not built');
  const { status, out } = await runScripted(
    ['bench', 'sieve/x86_64', '--json', '--repeat', '1', '--no-native'],
    async (guest) => {
      const { options, limits, out, retire } = guest;
      if (options.engine !== 'interpreter') {
        markedGuest(guest);
        return { reason: 'exit', status: 1 };
      }
      for (const character of 'S000') out(0xe9, character.charCodeAt(0));
      while (limits.signal?.aborted !== true) {
        retire(1000);
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
      return { reason: 'aborted' };
    },
  );
  assert.equal(status, 0, out);
  const { interpreted } = JSON.parse(out).results[0];
  assert.ok(interpreted.seconds > 0.3 && interpreted.seconds < 10);
  assert.ok(interpreted.instructions > 0);
});

test('the demo runs its guests in both engines, as 32-bit and as 64-bit code', async (t) => {
  if (!existsSync(builtGuest)) return t.skip('the guests are not built');
  const { status, out, machines } = await runScripted(
    ['bench', '--demo', '--repeat', '1', '--no-native'],
    ({ out }) => {
      out(0xf4, 0);
      return undefined;
    },
  );
  assert.equal(status, 0);
  assert.equal(machines.length, 12);
  assert.ok(machines.every(({ closed }) => closed));
  assert.match(out, /sha256 .*i386-sse2/);
  assert.match(out, /n-body .*x86_64/);
});

const kernel = join(folder, 'own.elf');
writeFileSync(
  kernel,
  elf({
    bits: 32,
    entry: 0x10_000c,
    segments: [{ virtual: 0x10_0000, physical: 0x10_0000, data: [...multibootHeader(3), 0xf4] }],
  }),
);

test('a guest of the user is measured as a whole, and written to the page', async () => {
  const page = join(folder, 'report.html');
  const { status, out } = await runScripted(['bench', kernel, '--no-native', '--html', page], ({ retire }) => {
    retire(5000);
    return { reason: 'halt', rip: 0 };
  });
  assert.equal(status, 0);
  assert.match(out, /own\.elf +other +file +5,000/);
  assert.match(readFileSync(page, 'utf8'), /own\.elf/);
});

test('a guest that fails is reported with its last words, and the status is 1', async () => {
  const { status, out } = await runScripted(['bench', kernel, '--no-native'], ({ out }) => {
    for (const byte of new TextEncoder().encode('checksum=0 WRONG\n')) out(0x3f8, byte);
    out(0xf4, 1);
    return undefined;
  });
  assert.equal(status, 1);
  assert.match(
    out,
    /own\.elf \(file\): interpreted: exit status 3 after "checksum=0 WRONG"; translated: exit status 3/,
  );
});

test('what bench does not know is one line and status 2', async () => {
  for (const [args, message] of [
    [['bench', 'no-such-guest'], /no-such-guest: neither a bundled guest nor a file/],
    [['bench', '--demo', 'sieve'], /--demo chooses the guests itself, so sieve has no place/],
    [['bench', '--html', join(folder, 'no', 'page.html')], /--html .*page\.html: ENOENT/],
    [['bench', '--repeat', '0'], /--repeat 0: the least is 1/],
  ] as const) {
    const { status, error } = await runScripted(args);
    assert.equal(status, 2);
    assert.match(error, message);
    assert.match(error, /^jit86: [^\n]+\n$/);
  }
});
