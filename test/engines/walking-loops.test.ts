/**
 * Loops that walk over memory with fixed steps, over the ends of pages, into pages that are not there and into their own
 * code: the same in all engines after any number of instructions.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { CODE_PAGES, codeStart, DATA_PAGES, dataStart, type GuestKind } from '../../runtime/lockstep/guest.ts';
import { Lockstep, type Plan } from '../../runtime/lockstep/lockstep.ts';
import { guestKinds } from '../../runtime/lockstep/program-fuzzer.ts';
import type { Block, Item } from '../../runtime/lockstep/program-items.ts';
import type { Random } from '../../runtime/lockstep/random-numbers.ts';
import type { Program } from '../../runtime/lockstep/random-program.ts';
import { randomNumbers } from '../isa/random.ts';
import { vmModules } from './modules.ts';

const item = (...bytes: number[]): Item => ({ bytes, fix: null });
const jump = (opcode: readonly number[], to: number): Item => {
  const end = opcode.length + 4;
  return {
    bytes: [...opcode, 0, 0, 0, 0],
    fix: { kind: 'relative', at: opcode.length, size: 4, end, to },
  };
};
const [rcx, rbx, rsi, rdi] = [1, 3, 6, 7];

/** Accesses through rsi, rdi and rbx + rcx * 4 or 8: loads, stores and both, of 1 to 16 bytes. */
const accesses: readonly ((displacement: number) => number[])[] = [
  (d) => [0x8b, 0x46, d], // mov eax, [rsi+d]
  (d) => [0x03, 0x46, d], // add eax, [rsi+d]
  (d) => [0x8a, 0x46, d], // mov al, [rsi+d]
  (d) => [0x89, 0x47, d], // mov [rdi+d], eax
  (d) => [0x01, 0x47, d], // add [rdi+d], eax
  (d) => [0x88, 0x47, d], // mov [rdi+d], al
  (d) => [0x8b, 0x44, 0x8b, d], // mov eax, [rbx+rcx*4+d]
  (d) => [0x11, 0x44, 0x8b, d], // adc [rbx+rcx*4+d], eax
  (d) => [0x0f, 0x10, 0x46, d], // movups xmm0, [rsi+d]
  (d) => [0x0f, 0x11, 0x47, d], // movups [rdi+d], xmm0
  (d) => [0x0f, 0x28, 0x46, d & 0x70], // movaps xmm0, [rsi+d]
  (d) => [0xf2, 0x0f, 0x58, 0x44, 0xcb, d], // addsd xmm0, [rbx+rcx*8+d]
  (d) => [0xf2, 0x0f, 0x11, 0x44, 0xcb, d], // movsd [rbx+rcx*8+d], xmm0
  (d) => [0x89, 0x5b, d], // mov [rbx+d], ebx
];

/** Block 0 is the loop, block 1 moves the pointers and goes back. */
function walk(random: Random, kind: GuestKind): Program {
  const wide = kind.mode === '64';
  const pick = <T>(list: readonly T[]): T => list[random(list.length)]!;
  const rex = (): number[] => (wide && random(5) > 0 ? [0x48] : []);
  /** add or sub register, step */
  const move = (register: number, step: number) =>
    item(...rex(), 0x83, (step < 0 ? 0xe8 : 0xc0) | register, Math.abs(step));
  const steps = [1, 2, 4, 8, 16, 24, -1, -4, -8, 64, 100, 127];
  const body: Item[] = [];
  const some = () => item(...pick(accesses)(random(4) === 0 ? random(128) : random(4) * 4));
  for (let i = 1 + random(4); i > 0; i--) body.push(some());
  if (random(3) === 0) {
    const skipped = some();
    body.push(item(0xa8, 1 << random(8)), item(0x74, skipped.bytes.length), skipped);
  }
  for (const register of [rsi, rdi, rcx]) {
    if (random(4) === 0) continue;
    const at = random(3) === 0 ? random(body.length + 1) : body.length;
    // Not between a test, its jump and what it skips.
    const free = at === body.length || body[at]!.bytes[0] !== 0x74 ? at : at + 2;
    body.splice(free > 0 && body[free - 1]!.bytes[0] === 0x74 ? free + 1 : free, 0, move(register, pick(steps)));
  }
  if (random(3) === 0) {
    // An address that is made before its registers move, and used behind that.
    body.unshift(item(...(wide ? [0x48] : []), 0x8d, 0x2c, 0x8b)); // lea rbp, [rbx+rcx*4]
    body.push(item(0x31, 0x45, 0)); // xor [rbp], eax
  }
  body.push(item(0xff, 0xca), jump([0x0f, 0x85], 0)); // dec edx; jnz
  const again: Block = [
    item(0xba, random(200), random(4), 0, 0), // mov edx, count
    ...[rsi, rdi, rcx, rbx].map((r) => move(r, random(2) === 0 ? random(128) : -random(128))),
    jump([0xe9], 0),
  ];
  const registers = new BigUint64Array(16);
  const [data, length] = [dataStart(kind), DATA_PAGES * 4096];
  const place = (): bigint =>
    pick([
      () => data + BigInt(random(length)),
      () => data + 4096n - BigInt(random(400)),
      () => data + BigInt(length) - BigInt(random(1000)),
      () => codeStart(kind) + BigInt(random(CODE_PAGES * 4096)),
    ])();
  for (const register of [0, rbx, 5, rsi, rdi]) registers[register] = place();
  registers[rcx] = BigInt(random(64));
  registers[2] = BigInt(1 + random(400));
  registers[4] = data + 0x3800n;
  const numbers = new Float64Array((DATA_PAGES * 4096) / 8).map(() => random(1000) / 8);
  return {
    kind,
    blocks: [body, again],
    start: random(256),
    registers,
    xmm: new Uint8Array(256),
    upperHalves: new Uint8Array(256),
    mxcsr: random(2) === 0 ? 0x1f80 : 0x1fa0,
    x87: { fcw: 0x37f, fsw: 0, ftw: 0, registers: new Uint8Array(128) },
    flags: 0,
    data: new Uint8Array(numbers.buffer),
  };
}

function plan(random: Random): Plan {
  const points: number[] = [];
  let at = 0;
  for (let i = 0; i < 8; i++) points.push((at += 1 + random(i < 4 ? 100 : 1500)));
  const stops = points.map((point) => point - random(12)).filter((stop) => stop > 0);
  return { points, stops: stops.sort((a, b) => a - b), choose: random(1 << 20), resumes: points.map(() => 0) };
}

for (const mode of ['64', '32'] as const) {
  test(`loops that walk over memory in mode ${mode} do the same in all engines`, () => {
    const random = randomNumbers(19780608);
    const locksteps = guestKinds(mode).map((kind) => ({ kind, lockstep: new Lockstep(kind, vmModules()) }));
    for (let i = 0; i < 80; i++) {
      const { kind, lockstep } = locksteps[i % locksteps.length]!;
      const program = walk(random, kind);
      const made = plan(random);
      if (lockstep.run(program, made) !== null) assert.fail(lockstep.report(program, made));
    }
    const translated = locksteps.reduce((n, { lockstep }) => n + lockstep.translatedInstructions, 0);
    assert.ok(translated > 20_000, `only ${translated} instructions were translated`);
  });
}
