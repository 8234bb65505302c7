/**
 * What the bench measures, as plain data: the table, the JSON and the page are three views of it.
 */

/** One guest in one engine. */
export interface EngineFigures {
  /** Guest instructions of the measured call, or of the measured part of it. */
  readonly instructions: number;
  /** Time of the measured call: of several, the fastest. */
  readonly seconds: number;
  /** Time of the first call, cold. */
  readonly firstSeconds: number;
}

/** One guest, interpreted and translated. */
export interface BenchResult {
  readonly guest: string;
  /** What bounds it: `integer`, `double`, `memory`, … or `other` for a guest that is not bundled. */
  readonly kind: string;
  /** What it is built for: `i386-x87`, `i386-sse2`, `x86_64`. */
  readonly variant: string;
  /** Null if the run failed. */
  readonly interpreted: EngineFigures | null;
  readonly translated: EngineFigures | null;
  /** The same call as a program of this machine; null where there is no compiler or no source. */
  readonly nativeSeconds: number | null;
  /** Regions that the translated run made or took from the cache. */
  readonly regions: number;
  readonly codeBytes: number;
  readonly compileMillis: number;
  /** One line; null if both runs ended well. */
  readonly failure: string | null;
}

/** Millions of guest instructions per second. */
export function mips({ instructions, seconds }: EngineFigures): number {
  return seconds > 0 ? instructions / seconds / 1e6 : 0;
}

/** How many times faster the translation is; null unless both engines have figures. */
export function speedup({ interpreted, translated }: BenchResult): number | null {
  if (interpreted === null || translated === null || mips(interpreted) === 0) return null;
  return mips(translated) / mips(interpreted);
}

/** How many times longer the translation takes than the same source as a program of this machine. */
export function overNative({ translated, nativeSeconds }: BenchResult): number | null {
  return translated === null || nativeSeconds === null ? null : translated.seconds / nativeSeconds;
}

/** The geometric mean of positive numbers; null of none. */
export function geometricMean(values: readonly number[]): number | null {
  if (values.length === 0) return null;
  return Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);
}

/** Geometric means over the results of one variant, or over all. */
export interface BenchSummary {
  readonly name: string;
  readonly guests: number;
  readonly interpretedMips: number | null;
  readonly translatedMips: number | null;
  readonly speedup: number | null;
  readonly overNative: number | null;
}

function summary(name: string, results: readonly BenchResult[]): BenchSummary {
  const figures = (pick: (result: BenchResult) => EngineFigures | null) =>
    geometricMean(results.map(pick).flatMap((engine) => (engine === null || mips(engine) === 0 ? [] : [mips(engine)])));
  return {
    name,
    guests: results.length,
    interpretedMips: figures(({ interpreted }) => interpreted),
    translatedMips: figures(({ translated }) => translated),
    speedup: geometricMean(results.flatMap((result) => speedup(result) ?? [])),
    overNative: geometricMean(results.flatMap((result) => overNative(result) ?? [])),
  };
}

/** One summary per variant and sort of arithmetic, in order of appearance, then one of all if there are several. */
export function summarize(results: readonly BenchResult[]): BenchSummary[] {
  const groupOf = ({ variant, kind }: BenchResult) => (kind === 'double' ? `${variant} double` : variant);
  const rows = [...new Set(results.map(groupOf))].map((name) =>
    summary(
      name,
      results.filter((result) => groupOf(result) === name),
    ),
  );
  if (rows.length > 1) rows.push(summary('all', results));
  return rows;
}
