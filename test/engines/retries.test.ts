/** Instructions that regions leave to the interpreter: it goes on with a block there, and mostly the core does not return. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { codeStart, dataStart, Guest, type GuestKind } from '../../runtime/lockstep/guest.ts';
import { hotThreshold, leave, retriesPerLeave } from '../../src/execute/leave.ts';
import { vmModules } from './modules.ts';

const kind: GuestKind = { mode: '64', cpl: 0, paging: '4-level', code: 0x34500000n, data: 0x34567000n };
/** More than make a loop hot, and fewer than make the block hot as well that is run in the middle of it. */
const rounds = hotThreshold + 900;
const instructions = 4 + rounds * 6;

/** A loop whose store lies over the end of a page: no look-aside table answers that. Returns the region's guest. */
function run(translate: 'never' | 'hot'): Guest {
  const guest = new Guest(kind, translate, vmModules());
  guest.reset();
  const code = [
    ...[0x50, 0x58], // push rax; pop rax: regions begin with the stack's page
    ...[0xb9, rounds & 0xff, rounds >> 8, 0, 0], // mov ecx, rounds
    ...[0x31, 0xc0], // xor eax, eax
    ...[0x01, 0xc8], // add eax, ecx
    ...[0x89, 0x83, 0xfe, 0x0f, 0, 0], // mov [rbx+0xffe], eax
    ...[0x03, 0x83, 0xfe, 0x0f, 0, 0], // add eax, [rbx+0xffe]
    ...[0x01, 0xca], // add edx, ecx
    ...[0xff, 0xc9], // dec ecx
    ...[0x75, 0xec], // jnz -20
    0xf4,
  ];
  guest.write('code', 0, Uint8Array.from(code));
  const { fields: state } = guest.vcpu;
  state.set64('rip', codeStart(kind));
  state.set64('rbx', dataStart(kind));
  state.set64('rdx', 0n);
  state.set64('rsp', dataStart(kind) + 0x3800n);
  guest.run(instructions);
  return guest;
}

test('a region that leaves one instruction in each round goes on within the core', () => {
  const [interpreted, translated] = [run('never'), run('hot')];
  for (const name of ['rax', 'rcx', 'rdx', 'rip'])
    assert.equal(translated.vcpu.fields.get64(name), interpreted.vcpu.fields.get64(name), name);
  assert.equal(interpreted.vcpu.fields.get64('rcx'), 0n);
  const { engine } = translated.vcpu;
  assert.ok(engine.translated > 800, `${engine.translated} instructions in regions`);
  const retries = engine.leaves[leave.retry]!;
  assert.ok(retries > 0 && retries <= 1000 / retriesPerLeave, `${retries} times to the engine`);
});
