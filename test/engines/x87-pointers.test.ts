/**
 * The x87 data pointer's selector is that of the segment register when the operand was used, whatever is loaded into it
 * afterwards. (SDM volume 1, 8.1.8.)
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { dataStart, type GuestKind } from '../../runtime/lockstep/guest.ts';
import { Lockstep } from '../../runtime/lockstep/lockstep.ts';
import { guestKinds } from '../../runtime/lockstep/program-fuzzer.ts';
import type { Item } from '../../runtime/lockstep/program-items.ts';
import type { Program } from '../../runtime/lockstep/random-program.ts';
import { vmModules } from './modules.ts';

const item = (...bytes: number[]): Item => ({ bytes, fix: null });
/** jmp $+2 */
const next = item(0xeb, 0);

/** Sixteen-bit code: an operand through DS, and DS afterwards another one. */
const changes: Readonly<Record<string, readonly Item[]>> = {
  'MOV to DS': [item(0xdd, 0x07), item(0xb8, 0x34, 0x52), item(0x8e, 0xd8)], // fld qword [bx]; mov ax, 5234h; mov ds, ax
  LDS: [item(0xdb, 0x17), item(0xc5, 0x1f)], // fist dword [bx]; lds bx, [bx]
  'POP DS': [item(0xd8, 0x07), item(0x1f)], // fadd dword [bx]; pop ds
};

function program(kind: GuestKind, items: readonly Item[]): Program {
  const registers = new BigUint64Array(16);
  registers[3] = dataStart(kind) + 0x148n;
  registers[4] = dataStart(kind) + 0x3800n;
  return {
    kind,
    // The first access to a page leaves the translation for the rest of a block: before the others, inc byte [bx], inc byte
    // [esp], and jumps to what follows.
    blocks: [[item(0xfe, 0x07), next, item(0x67, 0xfe, 0x04, 0x24), next, ...items, item(0xf4)]],
    start: 0x40,
    registers,
    xmm: new Uint8Array(256),
    upperHalves: new Uint8Array(256),
    mxcsr: 0x1f80,
    x87: { fcw: 0x37f, fsw: 0, ftw: 0x01, registers: new Uint8Array(128) },
    flags: 0,
    data: new Uint8Array(8 * 4096).fill(0x5a),
  };
}

for (const mode of ['v86', 'real'] as const) {
  test(`in mode ${mode} the data pointer keeps its selector when the segment register changes`, () => {
    for (const kind of guestKinds(mode)) {
      const lockstep = new Lockstep(kind, vmModules());
      for (const [name, items] of Object.entries(changes)) {
        const made = program(kind, items);
        // Some values of `choose` keep the block's translation from being used.
        for (let choose = 0; choose < 4; choose++) {
          const plan = { points: [items.length + 5], stops: [], choose, resumes: [] };
          if (lockstep.run(made, plan) !== null) assert.fail(`${name}\n${lockstep.report(made, plan)}`);
        }
      }
      assert.ok(lockstep.translatedInstructions > 0);
    }
  });
}
