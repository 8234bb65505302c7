/** Which states of a processor share their code: what runs in one context is translated once. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Contexts } from '../../src/execute/context.ts';
import { CpuState } from '../../src/state/cpu-state.ts';
import { cpuBytes } from '../../src/state/layout.ts';

const LMA = 0x400;
const LONG = 1 << 13;
const BIG = 1 << 14;

/** The number of the context with these attributes of CS and SS, in ring 0 of protected mode. */
function contextOf(contexts: Contexts, efer: number, csAccess: number, ssAccess: number): number {
  const state = new CpuState(new ArrayBuffer(cpuBytes), 0);
  state.set32('cr0', 1);
  state.set32('efer', efer);
  state.set32('csAccess', csAccess);
  state.set32('ssAccess', ssAccess);
  const { id } = contexts.current(state);
  assert.equal(state.get32('context'), id);
  return id;
}

test('64-bit code is in one context after SYSCALL, which sets B of SS, and after an interrupt, which clears it', () => {
  const contexts = new Contexts();
  assert.equal(contextOf(contexts, LMA, LONG, BIG), contextOf(contexts, LMA, LONG, 0));
});

test('outside 64-bit code B of SS says how wide the stack pointer is: two contexts', () => {
  const contexts = new Contexts();
  for (const efer of [0, LMA])
    assert.notEqual(contextOf(contexts, efer, BIG, BIG), contextOf(contexts, efer, BIG, 0), `EFER ${efer}`);
});
