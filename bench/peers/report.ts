/** The comparison as text: a row for each guest, means of groups, and what became of the targets. */
import { geometricMean } from '../../runtime/cli/bench-result.ts';
import { columns, significant } from '../../runtime/cli/bench-table.ts';
import { type Figure, groups, interpreterTarget, type Row, type Run, targets, worstTarget } from './summary.ts';

const milliseconds = (seconds: number) => (seconds * 1000).toFixed(1);

/** The interpreter is read as a speed, all others as time over native. */
function cell(name: string, figure: Figure | undefined): string {
  if (figure === undefined) return '-';
  if (name === 'native') return milliseconds(figure.seconds);
  return name === 'interpreter' ? significant(figure.mips) : significant(figure.overNative);
}

function heading(name: string): string {
  return name === 'native' ? 'native ms' : name === 'interpreter' ? 'interpr MIPS' : name;
}

/** A figure's mean over rows; null where none has it. */
function mean(rows: readonly Row[], name: string, pick: (figure: Figure) => number | null): number | null {
  return geometricMean(
    rows.flatMap(({ figures }) => {
      const figure = figures.get(name);
      const value = figure === undefined ? null : pick(figure);
      return value === null ? [] : [value];
    }),
  );
}

const overNative = ({ overNative }: Figure) => overNative;
const mips = ({ mips }: Figure) => mips;

function verdicts(rows: readonly Row[]): string[] {
  const lines: string[] = [];
  const verdict = (what: string, value: number | null, target: number, met: boolean, sign: string) => {
    if (value !== null)
      lines.push(`${met ? 'met   ' : 'MISSED'}  ${what}: ${significant(value)} (target ${sign} ${target})`);
  };
  for (const word of ['i386', 'x86_64']) {
    const value = mean(
      rows.filter(({ variant }) => variant.startsWith(word)),
      'interpreter',
      mips,
    );
    verdict(`interpreter, MIPS on ${word}`, value, interpreterTarget, (value ?? 0) >= interpreterTarget, '>=');
  }
  for (const { group, contender, atMost } of targets) {
    const held = rows.filter(groups.find(({ name }) => name === group)!.holds);
    const value = mean(held, contender, overNative);
    verdict(`${contender}, ${group}, over native`, value, atMost, (value ?? 0) <= atMost, '<=');
  }
  const others = rows.filter((row) => !groups.find(({ name }) => name === 'x87')!.holds(row));
  const worst = others.flatMap(({ guest, variant, figures }) => {
    const value = figures.get('jit86')?.overNative ?? null;
    return value === null ? [] : [{ what: `${guest}/${variant}`, value }];
  });
  worst.sort((a, b) => b.value - a.value);
  if (worst.length > 0) {
    const { what, value } = worst[0]!;
    verdict(`slowest without x87, ${what}, over native`, value, worstTarget, value <= worstTarget, '<=');
    const slow = worst
      .filter((each) => each.value > worstTarget)
      .map((each) => `${each.what} ${significant(each.value)}`);
    if (slow.length > 1) lines.push(`        over ${worstTarget}: ${slow.join(', ')}`);
  }
  return lines;
}

/** The whole report. `contenders` are the names of the columns. */
export function report(rows: readonly Row[], contenders: readonly string[], runs: readonly Run[]): string {
  const head = ['guest', 'kind', 'variant', ...contenders.map(heading)];
  const body = rows.map(({ guest, kind, variant, figures }) => [
    guest,
    kind,
    variant,
    ...contenders.map((name) => cell(name, figures.get(name))),
  ]);
  const means = groups.flatMap(({ name, holds }) => {
    const held = rows.filter(holds);
    if (held.length === 0) return [];
    const cells = contenders.map((contender) =>
      contender === 'native' ? '' : significant(mean(held, contender, contender === 'interpreter' ? mips : overNative)),
    );
    return [[name, '', `${held.length} guests`, ...cells]];
  });
  const empty = head.map(() => '');
  const lines = [...columns([head, ...body, empty, ...means], 3), '', ...verdicts(rows)];
  for (const { guest, variant, contender, failure } of runs)
    if (failure !== null) lines.push(`${contender}, ${guest}/${variant}: ${failure}`);
  return `${lines.join('\n')}\n`;
}
