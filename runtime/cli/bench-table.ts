/**
 * The bench's results as a table for a terminal.
 */
import { type BenchResult, mips, overNative, speedup, summarize } from './bench-result.ts';

/** A number with three significant digits and thousands separators; a dash where there is none. */
export function significant(value: number | null): string {
  if (value === null) return '-';
  if (value >= 1000) return Math.round(value).toLocaleString('en');
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

const count = (value: number) => value.toLocaleString('en');

/** Lays rows out in columns: the first `leftAligned` to the left, the others to the right. */
export function columns(rows: readonly (readonly string[])[], leftAligned: number): string[] {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows.map((row) =>
    row
      .map((cell, column) => (column < leftAligned ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!)))
      .join('  ')
      .trimEnd(),
  );
}

/** The whole report, ending in a line break. */
export function benchTable(results: readonly BenchResult[]): string {
  const head = [
    'guest',
    'kind',
    'variant',
    'instructions',
    'interp MIPS',
    'transl MIPS',
    'ratio',
    'over native',
    'regions',
    'bytes',
    'compile ms',
  ];
  const rows = results.map((result) => [
    result.guest,
    result.kind,
    result.variant,
    count(result.translated?.instructions ?? result.interpreted?.instructions ?? 0),
    significant(result.interpreted && mips(result.interpreted)),
    significant(result.translated && mips(result.translated)),
    significant(speedup(result)),
    significant(overNative(result)),
    count(result.regions),
    count(result.codeBytes),
    count(Math.round(result.compileMillis)),
  ]);
  const means = summarize(results).map((row) => [
    row.name,
    count(row.guests),
    significant(row.interpretedMips),
    significant(row.translatedMips),
    significant(row.speedup),
    significant(row.overNative),
  ]);
  const lines = [
    ...columns([head, ...rows], 3),
    '',
    ...columns([['geometric means', 'guests', 'interp MIPS', 'transl MIPS', 'ratio', 'over native'], ...means], 1),
  ];
  for (const { guest, variant, failure } of results)
    if (failure !== null) lines.push(`${guest} (${variant}): ${failure}`);
  return `${lines.join('\n')}\n`;
}
