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
  vendorPassed: number;
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

  constructor(engine: string) {
    this.engine = engine;
  }

  /** Compares and counts; returns true when the vector passed. */
  add(vector: Vector, actual: ActualState): boolean {
    return this.count(vector, compare(vector, actual));
  }

  /** Counts a vector with the differences found elsewhere, such as the text of a host error. */
  count(vector: Vector, differences: readonly string[]): boolean {
    const { cls, name, mode } = vector;
    let row = this.#cells.get(cls);
    if (!row) this.#cells.set(cls, (row = new Map()));
    let cell = row.get(mode);
    if (!cell) row.set(mode, (cell = { run: 0, passed: 0, vendor: 0, vendorPassed: 0 }));
    cell.run++;
    if (vector.vendor !== undefined) cell.vendor++;
    if (differences.length === 0) {
      cell.passed++;
      if (vector.vendor !== undefined) cell.vendorPassed++;
      return true;
    }
    const key = `${cls} ${name}`;
    let miss = this.#misses.get(key);
    if (!miss) this.#misses.set(key, (miss = { cls, name, count: 0, modes: new Map(), example: vector, differences }));
    miss.count++;
    miss.modes.set(mode, (miss.modes.get(mode) ?? 0) + 1);
    return false;
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
