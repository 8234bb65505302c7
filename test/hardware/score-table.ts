/** The scores of several engines side by side: a line for each class and mode, the misses and their causes, the totals last. */
import type { Score } from './score.ts';

const modes = [64, 32, 16];

/** Causes of misses that are understood, by class and name ("alu adc"). */
export type KnownMisses = Readonly<Record<string, string>>;

const percent = (passed: number, run: number): string =>
  // never rounded up to 100 %
  run === 0 ? '-' : `${(Math.floor((passed / run) * 1e6) / 1e4).toFixed(4)} %`;

/**
 * The engines' passes of the vectors that each ran. A translating engine ran fewer than there are, because some instructions
 * are the interpreter's alone (far transfers and such, and what raises #UD).
 */
export function scoreTable(scores: readonly Score[], known: KnownMisses = {}): string {
  const classes = [...new Set(scores.flatMap((score) => score.classes))];
  const cells: string[][] = [['class', 'mode', 'vectors', ...scores.map(({ engine }) => engine)]];
  const most = (cls: string, mode: number): number => Math.max(...scores.map((s) => s.cell(cls, mode)?.run ?? 0));
  const vectors = new Map(modes.map((mode) => [mode, 0]));
  for (const cls of classes) {
    for (const mode of modes) {
      const count = most(cls, mode);
      if (count === 0) continue;
      vectors.set(mode, vectors.get(mode)! + count);
      const passes = scores.map((score) => {
        const { passed, run } = score.cell(cls, mode) ?? { passed: 0, run: 0 };
        return `${passed}/${run}`;
      });
      cells.push([cls, String(mode), String(count), ...passes]);
    }
  }
  const sum = (score: Score, mode: number, of: 'run' | 'passed'): number =>
    classes.reduce((total, cls) => total + (score.cell(cls, mode)?.[of] ?? 0), 0);
  const totals: string[][] = modes.map((mode) => [
    'total',
    String(mode),
    String(vectors.get(mode)),
    ...scores.map((score) => `${sum(score, mode, 'passed')}/${sum(score, mode, 'run')}`),
  ]);
  const all = [...vectors.values()].reduce((a, b) => a + b, 0);
  totals.push(['total', 'all', String(all), ...scores.map(({ passed, run }) => `${passed}/${run}`)]);
  totals.push(['', '', '', ...scores.map(({ passed, run }) => percent(passed, run))]);
  const widths = cells[0]!.map((_, i) => Math.max(...[...cells, ...totals].map((row) => row[i]!.length)));
  const line = (row: readonly string[]): string =>
    row.map((text, i) => (i === 0 ? text.padEnd(widths[i]!) : text.padStart(widths[i]! + 2))).join('');
  return [
    ...cells.map(line),
    '',
    ...misses(scores, known),
    '',
    ...marked(scores),
    '',
    ...tolerated(scores),
    '',
    ...totals.map(line),
  ].join('\n');
}

function misses(scores: readonly Score[], known: KnownMisses): string[] {
  const lines = scores.flatMap(({ engine, misses }) =>
    misses.map(({ cls, name, count, modes }) => {
      const where = [...modes].map(([mode, n]) => `${n} in mode ${mode}`).join(', ');
      return `  ${engine}: ${cls} ${name}: ${count} (${where}): ${known[`${cls} ${name}`] ?? 'cause not known'}`;
    }),
  );
  return lines.length === 0 ? ['misses: none'] : ['misses:', ...lines];
}

/** The vectors that expect what Intel documents where the CPU that recorded them did otherwise, or that Intel leaves open. */
function marked(scores: readonly Score[]): string[] {
  const causes = new Set(scores.flatMap((score) => [...score.marked.keys()]));
  const lines = [...causes].flatMap((cause) => {
    const each = scores.map((score) => {
      const { passed, run } = score.marked.get(cause) ?? { passed: 0, run: 0 };
      return `${score.engine} ${passed}/${run}`;
    });
    return [`  ${each.join(', ')}:`, `    ${cause}`];
  });
  return lines.length === 0 ? ['makers differ: in none'] : ['makers differ (passes above):', ...lines];
}

/** What counts as a pass because no processor promises those bits. */
function tolerated(scores: readonly Score[]): string[] {
  const kinds = new Set(scores.flatMap((score) => [...score.tolerated.keys()]));
  const lines = [...kinds].flatMap((what) => [
    `  ${scores.map((score) => `${score.engine} ${score.tolerated.get(what) ?? 0}`).join(', ')}:`,
    `    ${what}`,
  ]);
  return lines.length === 0
    ? ['not the same, implementation-defined: none']
    : ['not the same, implementation-defined (passes above):', ...lines];
}
