/**
 * The bench's results as one page without any other file: figures, charts in inline SVG, the whole table. It follows the
 * reader's light or dark scheme, and needs no script.
 */
import { type BarGroup, barChart } from './bar-chart.ts';
import { type BenchResult, mips, overNative, speedup, summarize } from './bench-result.ts';
import { significant } from './bench-table.ts';
import { escapeMarkup } from './markup.ts';

const style = `
:root { color-scheme: light dark;
  --page: #f6f7f9; --card: #fff; --ink: #1b2430; --quiet: #667085; --line: #e3e7ed;
  --translated: #2563eb; --interpreted: #94a3b8; --ratio: #0d9488; --cost: #d97706; --bad: #c02626; }
@media (prefers-color-scheme: dark) { :root {
  --page: #10151d; --card: #18202b; --ink: #e6ebf2; --quiet: #93a0b4; --line: #2a3443;
  --translated: #60a5fa; --interpreted: #64748b; --ratio: #2dd4bf; --cost: #fbbf24; --bad: #f87171; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 40px 24px 64px; }
h1 { font-size: 28px; margin: 0; letter-spacing: -0.02em; }
h2 { font-size: 17px; margin: 0 0 4px; }
p { margin: 0; color: var(--quiet); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(220px, 1fr)); gap: 16px; margin: 28px 0; }
.card, section { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 20px 24px; }
.card h2 { font-size: 13px; color: var(--quiet); font-weight: 600; text-transform: uppercase; letter-spacing: 0.04em; }
.card b { font-size: 30px; font-weight: 650; letter-spacing: -0.02em; font-variant-numeric: tabular-nums; }
.card b small { font-size: 15px; font-weight: 500; color: var(--quiet); letter-spacing: 0; }
section { margin: 0 0 20px; overflow-x: auto; }
.charts { columns: 440px 2; column-gap: 20px; }
.charts section { break-inside: avoid; }
svg { display: block; width: 100%; height: auto; margin-top: 12px; font: 12px system-ui, sans-serif; }
svg text { fill: var(--ink); } svg .quiet { fill: var(--quiet); } svg .grid { stroke: var(--line); }
svg .translated { fill: var(--translated); } svg .interpreted { fill: var(--interpreted); }
svg .ratio { fill: var(--ratio); } svg .cost { fill: var(--cost); }
.legend { display: flex; gap: 18px; color: var(--quiet); font-size: 13px; margin-top: 6px; }
.legend i { display: inline-block; width: 11px; height: 11px; border-radius: 3px; margin-right: 6px; vertical-align: -1px; }
table { border-collapse: collapse; width: 100%; font-size: 13.5px; font-variant-numeric: tabular-nums; margin-top: 10px; }
th { text-align: right; font-weight: 600; color: var(--quiet); } td { text-align: right; }
th, td { padding: 5px 10px; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:nth-child(-n+3), td:nth-child(-n+3) { text-align: left; } tr:last-child td { border-bottom: 0; }
.failure { color: var(--bad); white-space: normal; text-align: left; }
`;

function card(title: string, value: string, unit: string, note: string): string {
  return (
    `<div class="card"><h2>${escapeMarkup(title)}</h2><b>${value} <small>${unit}</small></b>` +
    `<p>${escapeMarkup(note)}</p></div>`
  );
}

function section(
  title: string,
  note: string,
  body: string,
  legend: readonly (readonly [string, string])[] = [],
): string {
  const marks = legend.map(([name, text]) => `<span><i style="background:var(--${name})"></i>${text}</span>`).join('');
  return `<section><h2>${title}</h2><p>${note}</p>${marks === '' ? '' : `<div class="legend">${marks}</div>`}${body}</section>`;
}

const isNumber = (value: number | null): value is number => value !== null;

/** One chart of speeds per variant, so that a name stands once per chart. */
function speedChart(variant: string, results: readonly BenchResult[]): string {
  const groups: BarGroup[] = results.map(({ guest, interpreted, translated }) => ({
    label: guest,
    bars: [
      { series: 'translated', value: translated && mips(translated) },
      { series: 'interpreted', value: interpreted && mips(interpreted) },
    ],
  }));
  return section(
    `Speed, ${escapeMarkup(variant)}`,
    'Millions of guest instructions per second; longer is faster.',
    barChart({ title: `Speed of the ${variant} guests in MIPS`, groups, format: significant }),
    [
      ['translated', 'translated'],
      ['interpreted', 'interpreted'],
    ],
  );
}

/** A chart with one bar per guest and variant, longest first. */
function rankChart(
  title: string,
  note: string,
  series: string,
  results: readonly BenchResult[],
  value: (result: BenchResult) => number | null,
  format: (value: number) => string,
): string {
  const several = new Set(results.map(({ variant }) => variant)).size > 1;
  const groups = results
    .map((result) => ({
      label: several ? `${result.guest} · ${result.variant}` : result.guest,
      bars: [{ series, value: value(result) }],
    }))
    .filter(({ bars }) => isNumber(bars[0]!.value))
    .sort((a, b) => b.bars[0]!.value! - a.bars[0]!.value!);
  if (groups.length === 0) return '';
  return section(title, note, barChart({ title, groups, format }));
}

function table(results: readonly BenchResult[]): string {
  const head = [
    'guest',
    'kind',
    'built for',
    'instructions',
    'interpreted',
    'translated',
    'ratio',
    'over native',
    'regions',
    'bytes',
    'compile ms',
  ];
  const rows = results.map((result) => {
    const cells = [
      result.guest,
      result.kind,
      result.variant,
      (result.translated?.instructions ?? result.interpreted?.instructions ?? 0).toLocaleString('en'),
      significant(result.interpreted && mips(result.interpreted)),
      significant(result.translated && mips(result.translated)),
      significant(speedup(result)),
      significant(overNative(result)),
      result.regions.toLocaleString('en'),
      result.codeBytes.toLocaleString('en'),
      result.compileMillis.toFixed(0),
    ];
    const failure =
      result.failure === null
        ? ''
        : `<tr><td></td><td class="failure" colspan="10">${escapeMarkup(result.failure)}</td></tr>`;
    return `<tr>${cells.map((cell) => `<td>${escapeMarkup(cell)}</td>`).join('')}</tr>${failure}`;
  });
  return `<table><tr>${head.map((cell) => `<th>${cell}</th>`).join('')}</tr>${rows.join('\n')}</table>`;
}

/**
 * The page.
 *
 * @param host one line about what the figures were taken on
 */
export function benchPage(results: readonly BenchResult[], host: string): string {
  const summaries = summarize(results);
  const failed = results.filter(({ failure }) => failure !== null).length;
  const cards = summaries.map((row) =>
    card(
      row.name === 'all' ? 'All guests' : row.name,
      significant(row.translatedMips),
      'MIPS',
      `translated; ${significant(row.interpretedMips)} interpreted, ${significant(row.speedup)}× over ${row.guests} guests`,
    ),
  );
  const variants = [...new Set(results.map(({ variant }) => variant))];
  const charts = variants.map((variant) =>
    speedChart(
      variant,
      results.filter((result) => result.variant === variant),
    ),
  );
  const ranks = [
    rankChart(
      'Speed-up',
      'Translated over interpreted speed.',
      'ratio',
      results,
      speedup,
      (value) => `${significant(value)}×`,
    ),
    rankChart(
      'Time over native',
      'Translated over the same source compiled for this machine.',
      'native',
      results,
      overNative,
      (value) => `${significant(value)}×`,
    ),
    rankChart(
      'Cost of translating',
      'Milliseconds of compiling per guest, in the background.',
      'cost',
      results,
      ({ compileMillis, failure }) => (failure === null ? compileMillis : null),
      (value) => `${value.toFixed(0)} ms`,
    ),
  ];
  const failures = failed === 0 ? '' : ` <span style="color:var(--bad)">${failed} failed.</span>`;
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>jit86 bench</title>
<style>${style}</style>
<main>
<h1>jit86 bench</h1>
<p>${results.length} guests, geometric means. ${escapeMarkup(host)}.${failures}</p>
<div class="cards">${cards.join('\n')}</div>
<div class="charts">${[...charts, ...ranks].join('\n')}</div>
${section('All figures', 'Speeds in MIPS; the fastest of several calls.', table(results))}
</main>
</html>
`;
}
