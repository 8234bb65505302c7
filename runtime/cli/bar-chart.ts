/**
 * Horizontal bars in SVG, grouped: one group per label, one bar per series. The colours are classes named as the series.
 */
import { escapeMarkup } from './markup.ts';

export interface Bar {
  readonly series: string;
  /** Null: nothing was measured; the bar is left out and a dash stands in its place. */
  readonly value: number | null;
}

export interface BarGroup {
  readonly label: string;
  readonly bars: readonly Bar[];
}

export interface BarChart {
  /** What the chart shows, for readers who cannot see it. */
  readonly title: string;
  readonly groups: readonly BarGroup[];
  readonly format: (value: number) => string;
}

const width = 520;
const barHeight = 11;
const barGap = 2;
const groupGap = 9;
const axisHeight = 20;
const characterWidth = 6.4;

/** A round step (1, 2 or 5 times a power of ten) that divides `most` into three to seven parts. */
export function axisStep(most: number): number {
  const power = 10 ** Math.floor(Math.log10(most / 3));
  for (const factor of [1, 2, 5]) if (most / (power * factor) <= 6) return power * factor;
  return power * 10;
}

/** The chart as an SVG element. */
export function barChart({ title, groups, format }: BarChart): string {
  const longest = Math.max(0, ...groups.map(({ label }) => label.length));
  const left = Math.min(210, Math.ceil(longest * characterWidth) + 12);
  const right = 58;
  const plot = width - left - right;
  const greatest = Math.max(0, ...groups.flatMap(({ bars }) => bars.map(({ value }) => value ?? 0)));
  const most = greatest > 0 ? greatest : 1;
  const scale = (value: number) => (value / most) * plot;
  const groupHeight = (group: BarGroup) => group.bars.length * (barHeight + barGap) - barGap;
  const height = axisHeight + groups.reduce((sum, group) => sum + groupHeight(group) + groupGap, 0);
  const parts: string[] = [];

  const step = axisStep(most);
  for (let value = 0; value <= most * 1.0001; value += step) {
    const x = (left + scale(value)).toFixed(1);
    parts.push(`<line class="grid" x1="${x}" y1="${axisHeight - 4}" x2="${x}" y2="${height - groupGap / 2}"/>`);
    const text = Number(value.toPrecision(6)).toLocaleString('en');
    parts.push(`<text class="quiet" x="${x}" y="11" text-anchor="middle" font-size="11">${text}</text>`);
  }
  let y = axisHeight;
  for (const group of groups) {
    const middle = y + groupHeight(group) / 2 + 4;
    parts.push(`<text x="${left - 8}" y="${middle.toFixed(1)}" text-anchor="end">${escapeMarkup(group.label)}</text>`);
    for (const { series, value } of group.bars) {
      const baseline = (y + barHeight - 1.5).toFixed(1);
      if (value === null) {
        parts.push(`<text class="quiet" x="${left + 5}" y="${baseline}" font-size="11">–</text>`);
      } else {
        const length = Math.max(1, scale(value));
        parts.push(
          `<rect class="${series}" x="${left}" y="${y}" width="${length.toFixed(1)}" height="${barHeight}" rx="2"/>`,
        );
        parts.push(
          `<text class="quiet" x="${(left + length + 5).toFixed(1)}" y="${baseline}" font-size="11">${escapeMarkup(format(value))}</text>`,
        );
      }
      y += barHeight + barGap;
    }
    y += groupGap - barGap;
  }
  return `<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${escapeMarkup(title)}">${parts.join('')}</svg>`;
}
