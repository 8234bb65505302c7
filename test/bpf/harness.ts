/** Verifies a program, runs it in the interpreter and as a translation on equal memories, and holds the two together. */
import assert from 'node:assert/strict';
import { TranslatedBpfProgram } from '../../jit/bpf-program.ts';
import { translateBpf } from '../../jit/bpf-translate.ts';
import { assemble } from '../../src/bpf/assemble.ts';
import { type BpfEnvironment, type BpfMap, mapHelpers } from '../../src/bpf/environment.ts';
import { BpfInterpreter } from '../../src/bpf/interpreter.ts';
import { Arena, PlacedContext, PlacedMaps, placeRegions } from '../../src/bpf/placement.ts';
import type { BpfLinkage, BpfProgram, HelperCalls } from '../../src/bpf/program.ts';
import { type BpfProgramSource, type VerifiedProgram, verify } from '../../src/bpf/verifier.ts';

const limits = { initial: 2, maximum: 16, shared: true };
const number = { kind: 'number' } as const;

export const testMaps: readonly BpfMap[] = [
  { name: 'table', keySize: 4, valueSize: 16, maxEntries: 4, write: true, contents: null },
  {
    name: 'constants',
    keySize: 4,
    valueSize: 8,
    maxEntries: 1,
    write: false,
    contents: Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 0x88),
  },
];

/** A context of four numbers and a pointer to 64 bytes; helpers of every kind. */
export const testEnvironment: BpfEnvironment = {
  context: {
    name: 'test',
    size: 48,
    fields: [
      { name: 'a', offset: 0, size: 8, read: true, write: false },
      { name: 'b', offset: 8, size: 8, read: true, write: true },
      { name: 'c', offset: 16, size: 4, read: true, write: true },
      { name: 'd', offset: 20, size: 4, read: false, write: true },
      { name: 'state', offset: 24, size: 8, read: true, write: false, pointsTo: 'state' },
      { name: 'rom', offset: 32, size: 8, read: true, write: false, pointsTo: 'rom' },
    ],
  },
  regions: {
    state: { size: 64, read: true, write: true },
    rom: { size: 16, read: true, write: false },
    packet: { size: 32, read: true, write: true },
    port: { size: 8, read: false, write: true },
  },
  helpers: {
    ...mapHelpers,
    5: { name: 'time', arguments: [], result: number, by: 'number' },
    6: { name: 'add3', arguments: [number, number, number], result: number, by: 'bigint' },
    7: {
      name: 'index',
      arguments: [{ kind: 'number', max: 100n }],
      result: { kind: 'number', max: 15n },
      by: 'number',
    },
    8: {
      name: 'packet',
      arguments: [number],
      result: { kind: 'region', region: 'packet', nullable: true },
      by: 'number',
    },
    9: { name: 'port', arguments: [], result: { kind: 'region', region: 'port', nullable: false }, by: 'number' },
    10: {
      name: 'sum',
      arguments: [
        { kind: 'memory', access: 'read', nullable: true },
        { kind: 'size', min: 0, max: 64 },
      ],
      result: number,
      by: 'number',
    },
    11: {
      name: 'fill',
      arguments: [
        { kind: 'memory', access: 'write' },
        { kind: 'size', min: 1, max: 64 },
      ],
      result: { kind: 'none' },
      by: 'number',
    },
    12: { name: 'look', arguments: [{ kind: 'context' }], result: number, by: 'number' },
    13: { name: 'muldiv64', arguments: [number, number, number], result: number, by: 'muldiv64' },
    14: { name: 'nothing', arguments: [], result: { kind: 'none' }, by: 'number' },
  },
  result: { min: 0n, max: (1n << 64n) - 1n },
};

export const sourceOf = (text: string, maps: readonly BpfMap[] = testMaps): BpfProgramSource => ({
  name: 'test',
  bytes: assemble(text),
  maps,
});

/** A memory of its own with everything that a program needs. */
export class Place {
  readonly memory = new WebAssembly.Memory({ initial: limits.initial, maximum: limits.maximum, shared: limits.shared });
  readonly maps: PlacedMaps;
  readonly context: PlacedContext;
  readonly linkage: BpfLinkage;
  readonly stateAddress: number;

  constructor({ environment, maps }: { environment: BpfEnvironment; maps: readonly BpfMap[] }, calls?: HelperCalls) {
    const arena = new Arena(this.memory, 64, limits.initial * 65536);
    this.maps = new PlacedMaps(maps, arena);
    const regions = placeRegions(environment, arena);
    this.context = new PlacedContext(environment.context, regions, arena);
    this.stateAddress = regions.state?.address ?? 0;
    const bytes = () => new Uint8Array(this.memory.buffer);
    const own: HelperCalls = {
      time: () => 123456789,
      add3: (a: bigint, b: bigint, c: bigint) => a + b + c,
      index: (n: number) => n % 16,
      packet: (n: number) => n % 2 === 1,
      port: () => true,
      sum: (at: number, size: number) =>
        bytes()
          .subarray(at, at + size)
          .reduce((a, b) => a + b, 0),
      fill: (at: number, size: number) => void bytes().fill(0xa5, at, at + size),
      look: (at: number) => new DataView(this.memory.buffer).getUint8(at),
      nothing: () => {},
    };
    this.linkage = { memory: this.memory, maps: this.maps, regions, calls: calls ?? own };
  }
  interpreter(program: VerifiedProgram): BpfInterpreter {
    return new BpfInterpreter(program, this.linkage);
  }
  translation(program: VerifiedProgram): TranslatedBpfProgram {
    const bytes = translateBpf(program, { limits, maps: this.maps, regions: this.linkage.regions });
    return new TranslatedBpfProgram(program, this.linkage, new WebAssembly.Module(bytes as BufferSource));
  }
}

/** Both engines, each in a place of its own. */
export function engines(
  program: VerifiedProgram,
  calls?: HelperCalls,
): { name: string; place: Place; program: BpfProgram }[] {
  const [one, two] = [new Place(program, calls), new Place(program, calls)];
  return [
    { name: 'interpreter', place: one, program: one.interpreter(program) },
    { name: 'translation', place: two, program: two.translation(program) },
  ];
}

export interface Inputs {
  readonly a?: bigint;
  readonly b?: bigint;
  readonly c?: number;
}

export function setInputs({ context, memory }: Place, { a = 0n, b = 0n, c = 0 }: Inputs): void {
  const view = new DataView(memory.buffer);
  view.setBigUint64(context.address('a'), BigInt.asUintN(64, a), true);
  view.setBigUint64(context.address('b'), BigInt.asUintN(64, b), true);
  view.setUint32(context.address('c'), c, true);
}

/** Runs a program in both engines: r0, which they agree on, as they do on all memory but the stack. */
export function runBoth(program: VerifiedProgram, inputs: Inputs = {}): bigint {
  const [interpreter, translation] = engines(program).map(({ place, program: engine }) => {
    setInputs(place, inputs);
    const result = engine.run(place.context);
    const { stack } = place.context;
    new Uint8Array(place.memory.buffer).fill(0, stack.address, stack.address + stack.size);
    return { result, memory: Buffer.from(new Uint8Array(place.memory.buffer)) };
  });
  assert.equal(translation!.result, interpreter!.result, 'r0 of the translation');
  assert.ok(translation!.memory.equals(interpreter!.memory), 'memory after the translation');
  return interpreter!.result;
}

/** The result of a text's program, in both engines. */
export const result = (text: string, inputs: Inputs = {}, environment: BpfEnvironment = testEnvironment): bigint =>
  runBoth(verify(sourceOf(text), environment), inputs);
