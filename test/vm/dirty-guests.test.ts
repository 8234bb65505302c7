/**
 * Whole guests under a dirty log: those of test/guests, which go through every exception, gate, task switch, mode and page
 * table. Whatever differs in memory from one look to the next was dirty at the second: row 7 of the VM API.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { nodeHost } from '../../runtime/hosts/node.ts';
import { createPcMachine, loadGuest } from '../../runtime/index.ts';

const memory = 16 << 20;
const pages = memory / 4096;
/** Instructions from one look to the next: random, most of them few. */
const longest = 20_000;

for (const [name, cases] of [
  ['exceptions64', 0x70],
  ['tasks32', 0x85],
  ['modes32', 0x61],
  ['messages32', 8],
  ['protection64', 0x41],
] as const)
  for (const engine of ['interpreter', 'jit'] as const)
    test(`row 7: nothing that ${name} changes in memory is missing in the log, in the ${engine}`, async () => {
      const output: number[] = [];
      const machine = await createPcMachine(
        {
          memory,
          cpus: 2,
          engine,
          x87: 'exact',
          cache: null,
          serial: () => {},
          debugcon: (byte) => void output.push(byte),
        },
        nodeHost,
      );
      try {
        const { dirty, ram } = machine.vm;
        const file = readFileSync(new URL(`../guests/${name}.elf`, import.meta.url));
        machine.start(loadGuest(file, machine.ram, { name, commandLine: '', modules: [] }).state);
        dirty.start();
        const into = new Uint32Array(pages);
        const before = Buffer.from(ram);
        let state = 12345;
        let [looks, found, changed] = [0, 0, 0];
        for (let limit = 0; ; looks++) {
          state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
          limit += 1 + Math.floor((state / 2 ** 32) ** 3 * longest);
          const { reason } = await machine.run({ maxInstructions: limit, signal: AbortSignal.timeout(200_000) });
          const { count } = dirty.collect({ into });
          const logged = new Set(into.subarray(0, count));
          found += count;
          for (let page = 0; page < pages; page++) {
            const now = ram.subarray(page * 4096, page * 4096 + 4096);
            if (before.compare(now, 0, 4096, page * 4096, page * 4096 + 4096) === 0) continue;
            assert.ok(logged.has(page), `page ${page.toString(16)} has changed before instruction ${limit}`);
            before.set(now, page * 4096);
            changed++;
          }
          if (reason !== 'instructions') {
            assert.equal(reason, 'exit');
            break;
          }
        }
        assert.equal(String.fromCharCode(...output), `${cases.toString(16)} cases, 0 differences\n`);
        assert.ok(looks > 10 && changed > 50 && found < changed * 20, `${looks} looks, ${changed} of ${found} changed`);
      } finally {
        await machine.close();
      }
    });
