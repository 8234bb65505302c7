/** A recorded run comes to the same state again, in every engine. */
import assert from 'node:assert/strict';
import type { Vm } from '../../runtime/index.ts';
import { Assembler, dword, to } from '../engines/assembler.ts';
import { giveIdt } from '../engines/system-code.ts';
import { randomNumbers } from '../isa/random.ts';
import { guest, hashOf, origin, type TestEngine, testEngines } from '../vm/vm-harness.ts';
import { record, replay } from './record-replay.ts';

const code = new Assembler(BigInt(origin))
  .put(0xfb, 0xbe, dword(0x10_0000)) // sti; mov esi, 100000h
  .label('next')
  .put(0xe4, 0x60, 0x69, 0xdb, dword(1103515245), 0x01, 0xc3, 0x89, 0x1e) // in al, 60h; imul ebx, …; add ebx, eax; mov [esi], ebx
  .put(0x83, 0xc6, 4, 0x81, 0xe6, dword(0x10_fffc), 0xb9, dword(50)) // add esi, 4; and esi, 10fffch; mov ecx, 50
  .label('work')
  .put(0x01, 0xc8, 0x49, 0x75, to('work', 1), 0xeb, to('next', 1)) // add eax, ecx; dec ecx; jnz work; jmp next
  .label('handler')
  .put(0x81, 0xc3, dword(0x1234567), 0xcf); // add ebx, 1234567h; iret

function prepared(engine: TestEngine): Vm {
  const vm = guest(engine, code.finish(), { clock: 'virtual' });
  const handler = code.addressOf('handler');
  giveIdt(vm, { 48: handler, 49: handler });
  return vm;
}

testEngines('a recorded run is had again', (engine) => {
  const below = randomNumbers(7);
  const world = {
    read: () => below(256),
    interrupt: () => (below(9) === 0 ? 0x30 + below(2) : null),
  };
  const first = prepared(engine);
  const inputs = record(first, 300_000, world);
  assert.ok(inputs.filter(({ kind }) => kind === 'interrupt').length > 20);
  for (const other of ['interpreter', 'translation', 'hot'] as const) {
    const again = prepared(other);
    replay(again, 300_000, inputs);
    assert.equal(hashOf(again), hashOf(first), other);
  }
  const changed = inputs.with(10, { kind: 'answer', value: 0xff - (inputs[10]!.kind === 'answer' ? 1 : 0) });
  const else_ = prepared(engine);
  try {
    replay(else_, 300_000, changed);
  } catch {
    return; // it read where the recorded run did not
  }
  assert.notEqual(hashOf(else_), hashOf(first), 'another input leads elsewhere');
});
