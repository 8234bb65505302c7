/**
 * Runs one guest twice, interpreted and translated, and compares all that it can see after every interval; a difference is
 * narrowed down to the instruction that made it. Both runs must be functions of their inputs: time is virtual.
 */
import { describePlace, differingPlaces, type Place, type Side, Trace } from './differences.ts';

/** A guest on a machine, from its start. */
export interface GuestRun {
  readonly side: Side;
  /** Instructions retired. */
  readonly retired: number;
  /** How it has ended, if it has. */
  readonly end: string | null;
  /** What its devices were told, as text. */
  readonly said: string;
  /** Runs until so many instructions have been retired in all, or to the guest's end. */
  runTo(instructions: number): Promise<void>;
}

export interface GuestDiffOptions {
  /** The guest at its start. */
  readonly start: (how: 'interpreted' | 'translated') => Promise<GuestRun>;
  /** Instructions between two comparisons. */
  readonly interval: number;
  readonly maxInstructions: number;
  /** Told of every comparison that found nothing. */
  readonly progress?: (instructions: number) => void;
}

export interface GuestDiffResult {
  /** Instructions that both have executed. */
  readonly instructions: number;
  readonly translated: number;
  /** How the guest has ended, if it has. */
  readonly end: string | null;
  /** Lines about the difference; null: there is none. */
  readonly difference: readonly string[] | null;
}

/** Into how many parts an interval is divided in the next pass. */
const parts = 32;
/** Instructions that are looked at one by one before a difference. */
const window = 400;

/** Both runs. */
class Pair {
  readonly reference: GuestRun;
  readonly translated: GuestRun;

  constructor(reference: GuestRun, translated: GuestRun) {
    this.reference = reference;
    this.translated = translated;
  }
  static async start({ start }: GuestDiffOptions): Promise<Pair> {
    return new Pair(await start('interpreted'), await start('translated'));
  }
  async runTo(instructions: number): Promise<void> {
    await this.reference.runTo(instructions);
    await this.translated.runTo(instructions);
  }
  places(): Place[] {
    return differingPlaces(this.translated.side, this.reference.side);
  }
  /** Lines about all that differs now. */
  compare(): string[] {
    const { reference, translated } = this;
    const lines = this.places().map((place) => describePlace(place, translated.side, reference.side));
    if (translated.retired !== reference.retired)
      lines.push(`instructions: got ${translated.retired}, expected ${reference.retired}`);
    if (translated.end !== reference.end) lines.push(`end: got ${translated.end}, expected ${reference.end}`);
    if (translated.said !== reference.said) lines.push('the devices were told other bytes');
    return lines;
  }
}

/** A difference, and after how many instructions. */
interface Found {
  readonly lines: readonly string[];
  readonly at: number;
}

/** The points at which runs were stopped so far, and the last one at which they were the same. */
class Search {
  private readonly options: GuestDiffOptions;
  /** Where every run from the start is stopped, so that it goes as the one before. */
  private readonly stops: number[] = [];

  constructor(options: GuestDiffOptions) {
    this.options = options;
  }

  /** Compares from now on every `step` instructions. */
  private async pass(pair: Pair, step: number, end: number): Promise<{ lines: readonly string[]; at: number } | null> {
    for (;;) {
      const at = Math.min(pair.reference.retired + step, end);
      await pair.runTo(at);
      const lines = pair.compare();
      if (lines.length > 0) return { lines, at };
      this.stops.push(at);
      this.options.progress?.(at);
      if (pair.reference.end !== null || at >= end) return null;
    }
  }
  private async restart(): Promise<Pair> {
    const pair = await Pair.start(this.options);
    for (const stop of this.stops) await pair.runTo(stop);
    return pair;
  }

  async run(): Promise<GuestDiffResult> {
    const { options } = this;
    let pair = await Pair.start(options);
    let found = await this.pass(pair, options.interval, options.maxInstructions);
    const { retired: instructions, end } = pair.reference;
    const { translated } = pair.translated.side.vcpu.engine;
    if (found === null) return { instructions, translated, end, difference: null };
    for (let step = options.interval; step > 1; ) {
      step = Math.ceil(step / parts);
      const [known, stops] = [found, this.stops.length];
      pair = await this.restart();
      found = await this.pass(pair, step, known.at);
      if (found !== null) continue;
      // Translations do not come to run in steps as short as this.
      this.stops.length = stops;
      [pair, found] = await this.bisect(known.at);
      if (found === null) {
        const text = `after ${known.at} instructions, and not again:`;
        return { instructions, translated, end: null, difference: [text, ...known.lines.map((line) => `  ${line}`)] };
      }
      break;
    }
    const lines = [`after ${found.at} instructions:`, ...found.lines.map((line) => `  ${line}`)];
    return { instructions, translated, end: null, difference: [...lines, ...(await this.culprit(pair, found.at))] };
  }

  /** Runs from the start, each with one more stop, for the earliest that shows a difference. */
  private async bisect(end: number): Promise<[Pair, Found | null]> {
    const at = async (stop: number): Promise<[Pair, Found | null]> => {
      const pair = await this.restart();
      await pair.runTo(stop);
      const lines = pair.compare();
      return [pair, lines.length > 0 ? { lines, at: stop } : null];
    };
    let best = await at(end);
    let same = this.stops.at(-1) ?? 0;
    while (best[1] !== null && best[1].at - same > 1) {
      const middle = Math.floor((same + best[1].at) / 2);
      const tried = await at(middle);
      if (tried[1] === null) same = middle;
      else best = tried;
    }
    return best;
  }

  /** Looks at the reference's last instructions one by one. */
  private async culprit(pair: Pair, at: number): Promise<string[]> {
    const trace = new Trace(pair.places());
    const run = await this.options.start('interpreted');
    await run.runTo(Math.max(0, at - window));
    while (run.end === null && run.retired < at) {
      const before = run.retired;
      trace.before(run.side);
      await run.runTo(before + 1);
      trace.after(run.side);
    }
    return trace.report();
  }
}

/** Compares until a difference, the guest's end or the limit. */
export function diffGuest(options: GuestDiffOptions): Promise<GuestDiffResult> {
  return new Search(options).run();
}
