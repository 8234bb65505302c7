/**
 * Translations that are made on another thread: the guest computes the same as without, and code that changes while it is
 * being translated is never run as it was.
 */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { BackgroundCompiler } from '../jit/background-compiler.ts';
import { serveCompiler } from '../jit/compiler.ts';
import type { CompilerPort, CompilerRequest } from '../jit/compiler-protocol.ts';
import { TranslationCache } from '../jit/translation-cache.ts';
import type { HostWorker } from '../runtime/hosts/host.ts';
import { nodeHost } from '../runtime/hosts/node.ts';
import { loadGuest } from '../runtime/loaders/load.ts';
import { createMachine } from '../runtime/machines/bare-machine.ts';
import type { Engine } from '../runtime/machines/machine.ts';
import { Vm } from '../runtime/vm/vm.ts';
import { openBus } from '../src/mmu/physical-memory.ts';
import { vmModules } from './engines/modules.ts';

const mebibyte = 2 ** 20;

async function run(path: string, engine: Engine) {
  const output: number[] = [];
  const machine = await createMachine(
    {
      memory: 128 * mebibyte,
      cpus: 1,
      engine,
      x87: 'exact',
      cache: null,
      serial: (byte) => output.push(byte),
      debugcon() {},
    },
    nodeHost,
  );
  try {
    const image = readFileSync(new URL(`../bench/guests/built/${path}.elf`, import.meta.url));
    machine.start(loadGuest(image, machine.ram, { name: 'guest', commandLine: 'repeat=12', modules: [] }).state);
    const end = await machine.run({ signal: AbortSignal.timeout(120_000) });
    const { instructions, regions } = machine.statistics();
    return { end, output: Buffer.from(output).toString(), instructions, regions };
  } finally {
    await machine.close();
  }
}

for (const path of ['x86_64/quicksort', 'i386-sse2/mergesort']) {
  test(`${path} computes the same interpreted, translated at once, and translated on another thread`, async () => {
    const interpreted = await run(path, 'interpreter');
    assert.deepEqual(interpreted.end, { reason: 'exit', status: 1 });
    assert.match(interpreted.output, / ok\n$/);
    for (const engine of ['jit', 'auto'] as const) {
      const translated = await run(path, engine);
      assert.deepEqual(translated.end, interpreted.end, engine);
      assert.equal(translated.output, interpreted.output, engine);
      assert.equal(translated.instructions, interpreted.instructions, engine);
      assert.ok(translated.regions > 0, `${engine}: nothing was translated`);
    }
  });
}

/** The compiler on this thread, each of whose requests and answers waits until it is let through. */
class HeldCompiler implements CompilerPort {
  private toTranslator: (message: unknown) => void = () => {};
  private toCompiler: (message: unknown) => void = () => {};
  private requests: unknown[] = [];
  protected readonly answers: unknown[] = [];

  constructor() {
    serveCompiler({
      post: (message) => this.answers.push(structuredClone(message)),
      onMessage: (listener) => {
        this.toCompiler = listener;
      },
    });
  }
  post(message: unknown): void {
    this.requests.push(structuredClone(message));
  }
  onMessage(listener: (message: unknown) => void): void {
    this.toTranslator = listener;
  }
  /** Regions that are asked for and not yet made. */
  translations(): number {
    return this.requests.filter((request) => (request as CompilerRequest).kind === 'translate').length;
  }
  compile(): void {
    for (const request of this.requests.splice(0)) this.toCompiler(request);
  }
  deliver(): void {
    for (const answer of this.answers.splice(0)) this.toTranslator(answer);
  }
}

/** Compiles when it is looked at. */
class PromptCompiler extends HeldCompiler {
  receive(): unknown {
    this.compile();
    return this.answers.shift();
  }
}

const origin = 0x10000;
/** The immediate operand of the function that the guest calls and overwrites. */
const operand = origin + 0x41;
const guestOptions = {
  name: 'guest',
  commandLine: '',
  modules: [],
  flat: { address: origin, mode: 'protected' },
} as const;
const calls = 10_000;
const rounds = 50;
const selfModifyingSum = Array.from({ length: rounds }, (_, round) => calls * (5 + round)).reduce((a, b) => a + b);

/** Sums what a function returns; after each ten thousand calls the function's constant is incremented in place. */
function selfModifyingGuest(): Uint8Array {
  const image = new Uint8Array(0x100);
  image.set([0xbc, 0, 0x80, 0, 0]); // mov esp, 0x8000
  image.set([0xbd, rounds, 0, 0, 0], 0x05); // mov ebp, rounds
  image.set([0x31, 0xf6], 0x0a); // xor esi, esi
  image.set([0xb9, calls & 0xff, calls >> 8, 0, 0], 0x0c); // again: mov ecx, calls
  image.set([0xe8, 0x40 - 0x16, 0, 0, 0], 0x11); // next: call function
  image.set([0x01, 0xc6], 0x16); // add esi, eax
  image.set([0x49], 0x18); // dec ecx
  image.set([0x75, 0x11 - 0x1b], 0x19); // jnz next
  image.set([0x83, 0x05, operand & 0xff, (operand >> 8) & 0xff, operand >> 16, 0, 1], 0x1b); // add dword [operand], 1
  image.set([0x4d], 0x22); // dec ebp
  image.set([0x75, 0x0c - 0x25], 0x23); // jnz again
  image.set([0xf4], 0x25); // hlt
  image.set([0xb8, 5, 0, 0, 0, 0xc3], 0x40); // function: mov eax, 5; ret
  return image;
}

/** A machine whose translations are made when the test says so. */
function heldMachine(
  guest: Uint8Array,
  loads = true,
  cache: TranslationCache | null = null,
  port = new HeldCompiler(),
) {
  const mode = { shared: false, x87: 'exact' } as const;
  const compiler = new BackgroundCompiler(() => port, mode);
  if (loads) compiler.load();
  const vm = new Vm({
    mmio: openBus,
    memory: mebibyte,
    cpus: 1,
    modules: vmModules(),
    ports: { read: () => 0xffffffff, write() {} },
    tsc: { read: () => 0n, hertz: 1e9 },
    translate: { way: { kind: 'background', compiler }, cache, mode },
  });
  vm.start(0, loadGuest(guest, { bytes: vm.ram }, guestOptions).state);
  return { port, compiler, vm, vcpu: vm.vcpu(0), translator: vm.translators[0]! };
}

test('what has become hot while it waited, and is part of a region by then, is not translated once more', () => {
  const image = new Uint8Array(0x40);
  image.set([0xb9, 0, 0, 16, 0]); // mov ecx, 0x100000
  image.set([0xf6, 0xc1, 1], 0x05); // again: test cl, 1
  image.set([0x74, 1], 0x08); // jz even
  image.set([0x40], 0x0a); // inc eax
  image.set([0x49], 0x0b); // even: dec ecx
  image.set([0x75, 0x05 - 0x0e], 0x0c); // jnz again
  image.set([0xf4], 0x0e); // hlt
  const { port, compiler, vcpu, translator } = heldMachine(image);
  vcpu.enter(40_000);
  assert.equal(port.translations(), 0, 'the compiler is being loaded');
  port.compile();
  port.deliver();
  assert.equal(port.translations(), 1, 'three blocks are hot, one of them is asked for');
  while (compiler.pending) {
    port.compile();
    port.deliver();
    vcpu.enter(10_000);
  }
  assert.equal(translator.statistics.regions, 1);
  const before = vcpu.engine.translated;
  vcpu.enter(100_000);
  assert.ok(vcpu.engine.translated - before > 90_000, 'the loop runs in the region that there is');
});

test('a compiler that is not loaded is loaded for code that goes on to be hot', () => {
  const image = new Uint8Array(0x40);
  image.set([0xb9, 0, 0, 16, 0]); // mov ecx, 0x100000
  image.set([0x49], 0x05); // again: dec ecx
  image.set([0x75, 0x05 - 0x08], 0x06); // jnz again
  image.set([0xf4], 0x08); // hlt
  const { compiler, vcpu } = heldMachine(image, false);
  vcpu.enter(10_000);
  assert.equal(compiler.isLoading, false, 'the loop is hot, and may end soon');
  vcpu.enter(400_000);
  assert.equal(compiler.isLoading, true);
});

test('a region made while the inexact flag is clear is made for a set one, too, before that is needed', () => {
  const image = new Uint8Array(0x50);
  image.set([0x0f, 0x20, 0xe0, 0x80, 0xcc, 2, 0x0f, 0x22, 0xe0]); // mov eax, cr4; or ah, 2; mov cr4, eax: OSFXSAVE
  image.set([0xb9, 0, 0, 1, 0], 0x09); // again: mov ecx, 0x10000
  image.set([0xf2, 0x0f, 0x58, 0xc1], 0x0e); // next: addsd xmm0, xmm1
  image.set([0x49], 0x12); // dec ecx
  image.set([0x75, 0x0e - 0x15], 0x13); // jnz next
  image.set([0x0f, 0xae, 0x15, 0x40, 0, 1, 0], 0x15); // ldmxcsr [origin + 0x40]
  image.set([0xeb, 0x09 - 0x1e], 0x1c); // jmp again
  image.set([0xa0, 0x1f], 0x40); // everything masked, the inexact flag set
  const cache = new TranslationCache('this build');
  const { port, compiler, vcpu, translator } = heldMachine(image, true, cache);
  const { engine } = vcpu;
  const key = origin + 0x0e;
  do {
    vcpu.enter(40_000);
    port.compile();
    port.deliver();
  } while (compiler.pending);
  const context = engine.contexts.current(vcpu.fields);
  assert.deepEqual(
    cache.candidates(context.id, BigInt(key)).map(({ inexact }) => inexact),
    ['set', 'clear'],
  );
  assert.equal(translator.statistics.regions, 1, 'the other one is only kept');
  while (translator.statistics.fromCache === 0) vcpu.enter(10_000);
  const before = engine.translated;
  vcpu.enter(100_000);
  assert.ok(engine.translated - before > 90_000, 'runs on as soon as the flag is set');
  assert.equal(translator.statistics.regions, 2);
});

test('code that is overwritten while it is being translated runs as it is, not as it was', () => {
  const { port, compiler, vm, vcpu, translator } = heldMachine(selfModifyingGuest());
  const { engine } = vcpu;
  const context = engine.contexts.current(vcpu.fields);
  const functionAt = origin + 0x40;
  const runToRound = (round: number) => {
    while (vm.ram[operand]! < 5 + round) assert.equal(vcpu.enter(100).kind, 'budget');
  };

  vcpu.enter(3 * calls);
  assert.ok(compiler.pending, 'the function is hot');
  port.compile(); // is loaded
  port.deliver();
  assert.ok(compiler.pending, 'the function is asked for');
  runToRound(1);
  port.compile(); // from the bytes of round 0
  port.deliver();
  assert.equal(translator.find(context, functionAt), null, 'what was translated is gone');

  vcpu.enter(3 * calls);
  port.compile();
  runToRound(2);
  port.deliver(); // translated in round 1, received in round 2
  assert.equal(translator.find(context, functionAt), null, 'what was translated is gone again');

  vcpu.enter(3 * calls);
  port.compile();
  port.deliver();
  assert.notEqual(translator.find(context, functionAt), null, 'a translation of the code as it is');
  runToRound(3);
  assert.equal(translator.find(context, functionAt), null, 'the guest has overwritten what was translated');
  const before = engine.translated;
  for (let round = 4; round < rounds; round++) {
    vcpu.enter(3 * calls);
    port.compile();
    port.deliver();
    runToRound(round);
  }
  assert.ok(engine.translated > before, 'translations run');
  assert.equal(vcpu.enter(1e6).kind, 'halt');
  assert.equal(vcpu.fields.get64('rsi'), BigInt(selfModifyingSum));
  assert.equal(compiler.failure, null);
});

test('translations that can be had without a turn of the event loop come in the middle of a run', () => {
  const { vcpu, translator } = heldMachine(selfModifyingGuest(), true, null, new PromptCompiler());
  assert.equal(vcpu.enter(1e7).kind, 'halt');
  assert.equal(vcpu.fields.get64('rsi'), BigInt(selfModifyingSum));
  assert.ok(translator.statistics.regions > 0 && vcpu.engine.translated > 0, 'translations run');
  const interpreted = heldMachine(selfModifyingGuest());
  interpreted.vcpu.enter(1e7);
  assert.equal(interpreted.vcpu.engine.translated, 0);
  assert.equal(interpreted.vcpu.left, vcpu.left, 'as many instructions');
});

test('a compiler that dies leaves the guest to the interpreter', async () => {
  let die: (error: Error) => void = () => {};
  const startCompiler = (): HostWorker => ({
    post: () => die(new Error('out of memory')),
    onMessage() {},
    onError: (listener) => {
      die = listener;
    },
    terminate: async () => {},
  });
  const machine = await createMachine(
    { memory: mebibyte, cpus: 1, engine: 'auto', x87: 'exact', cache: null, serial() {}, debugcon() {} },
    { ...nodeHost, startCompiler },
  );
  machine.start(loadGuest(selfModifyingGuest(), machine.ram, guestOptions).state);
  assert.equal((await machine.run({})).reason, 'halt');
  const { regions, instructions, interpreted } = machine.statistics();
  assert.deepEqual([regions, interpreted], [0, instructions]);
  await machine.close();
});
