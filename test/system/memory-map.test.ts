/**
 * Maps of guest-physical memory and their dirty logs against a model that keeps everything page by page: random maps of both
 * spaces, with holes and memory that is shown twice, several readers with random logs, writes and collections.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LogReader } from '../../src/mmu/dirty-logs.ts';
import { changedPages, MemoryMap, type MemoryRegion } from '../../src/mmu/memory-map.ts';
import { PageLog, withoutRange, withRange } from '../../src/mmu/page-log.ts';
import { type AddressSpace, PhysicalMemory } from '../../src/mmu/physical-memory.ts';
import { randomNumbers } from '../isa/random.ts';

const spaces = ['normal', 'smm'] as const;
const pages = 96;
const hostPages = 64;

/** A page of a space, as the model sees it. */
interface Shown {
  readonly kind: MemoryRegion['kind'];
  readonly host: number;
}
/** What one reader of the logs should find. */
class Model {
  readonly shown: Record<AddressSpace, Map<number, Shown>> = { normal: new Map(), smm: new Map() };
  readonly on: Record<AddressSpace, Set<number>> = { normal: new Set(), smm: new Set() };
  readonly dirty: Record<AddressSpace, Set<number>> = { normal: new Set(), smm: new Set() };

  replace(space: AddressSpace, regions: readonly MemoryRegion[]): [number, number][] {
    const old = this.shown[space];
    const now = new Map<number, Shown>();
    for (const { kind, start, length, hostOffset } of regions)
      for (let at = 0; at < length; at += 4096) now.set((start + at) / 4096, { kind, host: (hostOffset + at) / 4096 });
    this.shown[space] = now;
    const removed: [number, number][] = [];
    for (const page of [...this.dirty[space]].sort((a, b) => a - b)) {
      const [a, b] = [old.get(page)!, now.get(page)];
      if (b !== undefined && a.host === b.host && a.kind === b.kind) continue;
      removed.push([page, a.host * 4096]);
      this.dirty[space].delete(page);
    }
    return removed;
  }
  /** What a processor of the space meets at a page. */
  at(space: AddressSpace, page: number): Shown | undefined {
    return (space === 'smm' ? this.shown.smm.get(page) : undefined) ?? this.shown.normal.get(page);
  }
  written(host: number): void {
    for (const space of spaces)
      for (const [page, shown] of this.shown[space])
        if (shown.host === host && this.on[space].has(page)) this.dirty[space].add(page);
  }
}

test('maps, logs, writes and collections of both spaces are what a model says', () => {
  let writes = 0;
  let removals = 0;
  for (let seed = 1; seed <= 24; seed++) {
    const random = randomNumbers(seed);
    const memory = new PhysicalMemory(new ArrayBuffer(hostPages * 4096));
    const readers = Array.from({ length: 1 + (seed % 3) }, () => {
      const removed: [number, number][] = [];
      const note = (_space: AddressSpace, { pages, hosts }: { pages: readonly number[]; hosts: readonly number[] }) =>
        removed.push(...pages.map((page, i): [number, number] => [page, hosts[i]!]));
      return { model: new Model(), log: new LogReader(memory.logs, note), removed };
    });
    // One more reads pages of the buffer, whatever maps show of it.
    const whole = new LogReader(memory.logs);
    const wholeDirty = new Set<number>();
    whole.start('memory', { from: 1, to: hostPages });
    // Sometimes without memory that is shown twice, and with the last page always there: then maps change in part.
    const sharing = seed % 2 === 0;
    const base = seed % 5 === 0 ? 2 ** 22 - 50 : 0; // about 16 GiB
    const into = new Uint32Array(pages);
    const map = (): MemoryRegion[] => {
      const regions: MemoryRegion[] = [];
      let free = random(4);
      for (let page = 0; page < pages; ) {
        const length = Math.min(1 + random(12), pages - page);
        const host = sharing ? random(hostPages - length) : free;
        if (random(3) !== 0 && host + length < hostPages - 1) {
          const kind = random(5) === 0 ? 'rom' : 'ram';
          regions.push({ kind, start: (base + page) * 4096, length: length * 4096, hostOffset: host * 4096 });
          free += length;
        }
        page += length;
      }
      if (!sharing) {
        const last = { kind: 'ram', start: (base + pages) * 4096, length: 4096, hostOffset: (hostPages - 1) * 4096 };
        regions.push(last as MemoryRegion);
      }
      return regions;
    };
    for (let step = 0; step < (base === 0 ? 600 : 150); step++) {
      const space = sharing && random(3) === 0 ? 'smm' : 'normal';
      const from = base + random(pages);
      const range = { from, to: Math.min(base + pages, from + 1 + random(40)) };
      const { model, log } = readers[random(readers.length)]!;
      const inRange = [...model.shown[space].keys()].filter((page) => page >= range.from && page < range.to);
      const action = random(20);
      if (action === 0) {
        const regions = map();
        memory.replace(regions, space);
        for (const { model, removed } of readers) {
          const wanted = model.replace(space, regions);
          removals += wanted.length;
          assert.deepEqual(removed.splice(0), wanted, `seed ${seed}, step ${step}`);
        }
      } else if (action === 1) {
        const dirty = random(3) === 0;
        log.start(space, range, dirty);
        for (let page = range.from; page < range.to; page++) model.on[space].add(page);
        if (dirty) for (const page of inRange) model.dirty[space].add(page);
      } else if (action === 2) {
        log.stop(space, range);
        for (let page = range.from; page < range.to; page++) {
          model.on[space].delete(page);
          model.dirty[space].delete(page);
        }
      } else if (action < 6) {
        const most = random(8) === 0 ? random(5) : pages;
        const clear = random(4) !== 0;
        const count = log.collect(space, range.from, range.to, into, most, clear);
        const wanted = inRange
          .filter((page) => model.dirty[space].has(page))
          .sort((a, b) => a - b)
          .slice(0, most);
        assert.deepEqual([...into.subarray(0, count)], wanted, `seed ${seed}, step ${step}`);
        if (clear) for (const page of wanted) model.dirty[space].delete(page);
      } else {
        const page = base + random(pages);
        const address = page * 4096 + random(4093);
        const shown = model.at(space, page);
        const place = space === 'smm' ? memory.inSmm(address) : address;
        assert.equal(memory.hostOf(Math.floor(place / 4096)), shown === undefined ? -1 : shown.host * 4096);
        const mapped = random(2) === 0 && shown?.kind === 'ram' && memory.mapWrites(Math.floor(place / 4096));
        if (mapped)
          // A look-aside table may write to it: then it is clean in no log that is on for it.
          for (const { model } of readers)
            for (const other of spaces)
              for (const [at, { host }] of model.shown[other])
                assert.ok(host !== shown?.host || !model.on[other].has(at) || model.dirty[other].has(at));
        memory.write32(place, step);
        if (shown?.kind === 'ram') {
          writes++;
          assert.equal(memory.view.getUint32(shown.host * 4096 + (address % 4096), true), step);
          for (const { model } of readers) model.written(shown.host);
          if (shown.host > 0) wholeDirty.add(shown.host);
        }
      }
      for (const { model, log } of readers)
        for (const each of spaces) assert.equal(log.count(each), model.dirty[each].size, `seed ${seed}, step ${step}`);
      assert.equal(whole.count('memory'), wholeDirty.size);
      if (random(10) === 0) {
        const count = whole.collect('memory', 0, hostPages, into, pages, true);
        assert.deepEqual(
          [...into.subarray(0, count)],
          [...wholeDirty].sort((a, b) => a - b),
          `seed ${seed}, step ${step}`,
        );
        wholeDirty.clear();
      }
    }
  }
  assert.ok(writes > 1000 && removals > 100, `${writes} writes, ${removals} removals`);
});

test('a pile of bitmaps finds, takes and clears what a set holds', () => {
  const random = randomNumbers(5);
  for (const size of [0, 1, 31, 32, 33, 1023, 1024, 1025, 40_000]) {
    const length = Math.max(size, 1);
    const log = new PageLog(new MemoryMap([{ kind: 'ram', start: 0, length: length * 4096, hostOffset: 0 }]), []);
    const set = new Set<number>();
    const into = new Uint32Array(length);
    for (let step = 0; step < 300; step++) {
      for (let n = random(40); n > 0; n--) {
        const index = random(length);
        log.set(index);
        set.add(index);
      }
      const from = random(length);
      const to = from + random(length - from + 1);
      const wanted = [...set].filter((n) => n >= from && n < to).sort((a, b) => a - b);
      assert.equal(log.next(from), [...set].filter((n) => n >= from).sort((a, b) => a - b)[0] ?? -1);
      const most = random(3) === 0 ? random(10) : length;
      const clear = random(2) === 0;
      const end = log.take(from, to, 7, clear, into, 0, Math.min(most, length));
      assert.deepEqual(
        [...into.subarray(0, end)],
        wanted.slice(0, most).map((n) => n + 7),
      );
      if (clear) for (const n of wanted.slice(0, most)) set.delete(n);
      else if (random(4) === 0) {
        log.clearAll(from, to);
        for (const n of wanted) set.delete(n);
      }
      assert.equal(log.count, set.size);
    }
  }
});

test('ranges are joined and cut', () => {
  let ranges = withRange([], { from: 10, to: 20 });
  ranges = withRange(ranges, { from: 30, to: 40 });
  ranges = withRange(ranges, { from: 0, to: 5 });
  assert.deepEqual(ranges, [
    { from: 0, to: 5 },
    { from: 10, to: 20 },
    { from: 30, to: 40 },
  ]);
  assert.deepEqual(withRange(ranges, { from: 20, to: 30 }), [
    { from: 0, to: 5 },
    { from: 10, to: 40 },
  ]);
  assert.deepEqual(withRange(ranges, { from: 3, to: 50 }), [{ from: 0, to: 50 }]);
  assert.deepEqual(withoutRange(ranges, { from: 4, to: 35 }), [
    { from: 0, to: 4 },
    { from: 35, to: 40 },
  ]);
  assert.deepEqual(withoutRange(ranges, { from: 12, to: 13 })[1], { from: 10, to: 12 });
});

test('maps that are cut differently and show the same do not differ', () => {
  const ram = (start: number, length: number, hostOffset: number): MemoryRegion => ({
    ...{ kind: 'ram', start: start * 4096, length: length * 4096, hostOffset: hostOffset * 4096 },
  });
  const whole = new MemoryMap([ram(0, 10, 5)]);
  assert.deepEqual(changedPages(whole, new MemoryMap([ram(4, 6, 9), ram(0, 4, 5)])), []);
  assert.deepEqual(changedPages(whole, new MemoryMap([ram(0, 4, 5), ram(6, 6, 11)])), [
    { from: 4, to: 6 },
    { from: 10, to: 12 },
  ]);
  assert.deepEqual(changedPages(whole, new MemoryMap([])), [{ from: 0, to: 10 }]);
});
