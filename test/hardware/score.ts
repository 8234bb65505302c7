/**
 * Counts how an engine fares on the vectors: a table by class and mode, and the misses grouped by instruction name, each with
 * its first example.
 */
import type { ActualState } from './compare.ts';
import { compare } from './compare.ts';
import type { State, Vector } from './vectors.ts';

interface Cell {
  run: number;
  passed: number;
  /** of those run: vectors in which makers differ */
  vendor: number;
}
/** The vectors that are marked with one cause (`vendor.ts`). */
interface Marked {
  run: number;
  passed: number;
}
/** The misses of one instruction name in one class. */
export interface Miss {
  readonly cls: string;
  readonly name: string;
  count: number;
  readonly modes: Map<number, number>;
  readonly example: Vector;
  readonly differences: readonly string[];
}

export class Score {
  readonly engine: string;
  readonly #cells = new Map<string, Map<number, Cell>>();
  readonly #misses = new Map<string, Miss>();
  readonly #marked = new Map<string, Marked>();
  readonly #tolerated = new Map<string, number>();

  constructor(engine: string) {
    this.engine = engine;
  }

  /** Compares and counts; returns true when the vector passed. */
  add(vector: Vector, actual: ActualState): boolean {
    const passed = this.count(vector, compare(vector, actual));
    if (passed) for (const what of toleratedDifferences(vector, actual)) this.#tolerate(what);
    return passed;
  }
  #tolerate(what: string): void {
    this.#tolerated.set(what, (this.#tolerated.get(what) ?? 0) + 1);
  }

  /** Counts a vector with the differences found elsewhere, such as the text of a host error. */
  count(vector: Vector, differences: readonly string[]): boolean {
    const { cls, name, mode } = vector;
    let row = this.#cells.get(cls);
    if (!row) this.#cells.set(cls, (row = new Map()));
    let cell = row.get(mode);
    if (!cell) row.set(mode, (cell = { run: 0, passed: 0, vendor: 0 }));
    const passed = differences.length === 0;
    cell.run++;
    if (vector.vendor !== undefined) {
      cell.vendor++;
      let marked = this.#marked.get(vector.vendor);
      if (!marked) this.#marked.set(vector.vendor, (marked = { run: 0, passed: 0 }));
      marked.run++;
      if (passed) marked.passed++;
    }
    if (passed) {
      cell.passed++;
      return true;
    }
    const key = `${cls} ${name}`;
    let miss = this.#misses.get(key);
    if (!miss) this.#misses.set(key, (miss = { cls, name, count: 0, modes: new Map(), example: vector, differences }));
    miss.count++;
    miss.modes.set(mode, (miss.modes.get(mode) ?? 0) + 1);
    return false;
  }

  /** The counts of a class in a mode, or undefined if none of its vectors ran. */
  cell(cls: string, mode: number): Readonly<Cell> | undefined {
    return this.#cells.get(cls)?.get(mode);
  }
  /** In how many of the vectors that passed the engine and the CPU differ where the architecture allows it, by what differs. */
  get tolerated(): ReadonlyMap<string, number> {
    return this.#tolerated;
  }
  get classes(): string[] {
    return [...this.#cells.keys()];
  }
  /** What the vectors in which makers differ came to, by cause. */
  get marked(): ReadonlyMap<string, Readonly<Marked>> {
    return this.#marked;
  }

  get run(): number {
    return this.#sum((cell) => cell.run);
  }
  get passed(): number {
    return this.#sum((cell) => cell.passed);
  }
  /** Most frequent first. */
  get misses(): Miss[] {
    return [...this.#misses.values()].sort((a, b) => b.count - a.count);
  }

  /** Passes of vectors run, by class and mode. */
  table(): string {
    const modes = [64, 32, 16];
    const line = (name: string, cells: string[]): string => name.padEnd(8) + cells.map((x) => x.padStart(15)).join('');
    const lines = [line(this.engine, modes.map((mode) => `mode ${mode}`).concat('all'))];
    const text = (cells: Cell[]): string => {
      const [passed, run] = [cells.reduce((n, x) => n + x.passed, 0), cells.reduce((n, x) => n + x.run, 0)];
      return run === 0 ? '-' : `${passed}/${run}`;
    };
    for (const [cls, row] of this.#cells) {
      const cells = modes.map((mode) => text([row.get(mode)].filter((cell) => cell !== undefined)));
      lines.push(line(cls, cells.concat(text([...row.values()]))));
    }
    const rows = [...this.#cells.values()];
    const total = modes.map((mode) => text(rows.flatMap((row) => row.get(mode) ?? [])));
    lines.push(line('total', total.concat(text(rows.flatMap((row) => [...row.values()])))));
    const vendor = this.#sum((cell) => cell.vendor);
    if (vendor > 0)
      lines.push(`${vendor} of these pass by Intel's manual where the recording CPU has its own behaviour`);
    return lines.join('\n');
  }

  /** The misses, at most `limit` names, each with its first example. */
  report(limit = 20): string {
    return this.misses
      .slice(0, limit)
      .map((miss) => {
        const modes = [...miss.modes].map(([mode, count]) => `${count} in mode ${mode}`).join(', ');
        return `${miss.cls} ${miss.name}: ${miss.count} (${modes})\n${describe(miss.example, miss.differences)}`;
      })
      .join('\n');
  }

  #sum(count: (cell: Cell) => number): number {
    return [...this.#cells.values()].flatMap((row) => [...row.values()]).reduce((sum, cell) => sum + count(cell), 0);
  }
}

/** What the comparison lets pass although engine and CPU differ. */
function toleratedDifferences(vector: Vector, actual: ActualState): string[] {
  const { approximate, undefinedFlags, fswUndefined, out, fp } = vector;
  const found: string[] = [];
  if (approximate && compare({ ...vector, approximate: false }, actual).length > 0)
    found.push(fp === 'x87' ? 'x87 transcendental function: the last digit' : 'reciprocal estimate: its precision');
  if (((actual.flags ^ out.flags) & undefinedFlags) !== 0) found.push('flags that the instruction leaves undefined');
  if (((actual.fsw ^ out.fsw) & fswUndefined) !== 0)
    found.push('x87 condition codes that the instruction leaves undefined');
  return found;
}

const hexBytes = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

/** A vector in words: what it is, the state before, and what differed. */
export function describe(vector: Vector, differences: readonly string[]): string {
  const { in: before } = vector;
  const bytes = [...vector.bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
  return [
    `  ${vector.id} mode ${vector.mode} ${vector.name} [${vector.encoding}] ${bytes} at 0x${vector.ip.toString(16)}`,
    ...(vector.vendor === undefined ? [] : [`    (${vector.vendor})`]),
    `    in: ${describeState(vector, before)}`,
    ...differences.map((difference) => `    ${difference}`),
  ].join('\n');
}

function describeState(vector: Vector, { gpr, flags, window, fcw, fsw, ftw, st, mxcsr, xmm }: State): string {
  const registers = vector.mode === 64 ? 16 : 8;
  const parts = [
    `gpr ${[...gpr.subarray(0, registers)].map((x) => x.toString(16)).join(' ')}`,
    `flags ${flags.toString(16)}`,
  ];
  if (vector.fp === 'x87') {
    const stack = Array.from({ length: 8 }, (_, i) => hexBytes(st.slice(10 * i, 10 * i + 10).reverse()));
    parts.push(`fcw ${fcw.toString(16)} fsw ${fsw.toString(16)} ftw ${ftw.toString(16)}`, `st ${stack.join(' ')}`);
  }
  if (vector.fp === 'sse' || vector.fp === 'avx') {
    const all = Array.from({ length: registers }, (_, i) => hexBytes(xmm.slice(16 * i, 16 * i + 16).reverse()));
    parts.push(`mxcsr ${mxcsr.toString(16)}`, `xmm ${all.join(' ')}`);
  }
  parts.push(`window ${hexBytes(window)}`);
  return parts.join('\n        ');
}
