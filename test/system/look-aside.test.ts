/** A look-aside table by itself: nothing that is to be forgotten is found again, and what is not stays. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { indexOf, LookAside } from '../../src/mmu/look-aside.ts';
import { CpuState } from '../../src/state/cpu-state.ts';
import { cpuBytes, tlbOffsets } from '../../src/state/layout.ts';

test('a page of the host that is forgotten is reached by no linear page, however many had reached it', () => {
  const state = new CpuState(new ArrayBuffer(cpuBytes), 0);
  const [bits, hostPages] = [4, 6];
  const table = new LookAside(state, tlbOffsets.supervisorWrite, bits, hostPages);
  const start = tlbOffsets.supervisorWrite >> 2;
  /** Pages of the host by the linear ones that lead there. */
  const reached = (): Map<number, number> => {
    const all = new Map<number, number>();
    for (let index = 0; index < 1 << bits; index++) {
      const [low, , addend] = state.u32.subarray(start + index * 4, start + index * 4 + 3);
      const own = indexOf(low!, bits);
      if (own === index || own === (index ^ (1 << (bits - 1)))) all.set(low!, ((low! + addend!) >>> 0) / 4096);
    }
    return all;
  };
  let seed = 7;
  const random = (below: number): number => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    return (seed >>> 8) % below;
  };
  let most = 0;
  for (let round = 0; round < 5000; round++) {
    const linear = (1 + random(40)) * 4096;
    const host = random(hostPages);
    const act = random(10);
    if (act < 7) table.set(linear, 0, (host * 4096 - linear) | 0, random(2) === 0);
    else if (act === 7) table.drop(linear, 0);
    else if (act === 8) table.recover(linear, 0);
    else {
      const before = reached();
      most = Math.max(most, [...before.values()].filter((page) => page === host).length);
      table.forget(host * 4096);
      assert.deepEqual(reached(), new Map([...before].filter(([, page]) => page !== host)));
    }
  }
  assert.ok(most > 3, 'pages with many linear ones were among them');
});
