/** Random programs: both engines agree on those that are verified, and nothing makes the verifier fail or hang. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assemble } from '../../src/bpf/assemble.ts';
import { decode } from '../../src/bpf/decode.ts';
import { disassemble } from '../../src/bpf/disassemble.ts';
import { valueStride } from '../../src/bpf/environment.ts';
import { BpfError } from '../../src/bpf/errors.ts';
import { framePointer } from '../../src/bpf/instructions.ts';
import type { State, Value } from '../../src/bpf/machine-state.ts';
import { containsScalar, knownScalar } from '../../src/bpf/scalar.ts';
import { type VerifiedProgram, verify } from '../../src/bpf/verifier.ts';
import { Place, setInputs, testEnvironment, testMaps } from './harness.ts';
import { Random } from './random.ts';
import { RandomProgram } from './random-program.ts';

const seed = Number(process.env.BPF_FUZZ_SEED ?? 9669);
const seconds = Number(process.env.BPF_FUZZ_SECONDS ?? 4);
const environment = { ...testEnvironment, maxComplexity: 20_000 };

function attempt(bytes: Uint8Array): VerifiedProgram | BpfError {
  try {
    return verify({ name: 'random', bytes, maps: testMaps }, environment);
  } catch (error) {
    if (error instanceof BpfError) return error;
    throw error;
  }
}

/**
 * Runs in both engines. What a verified program must not read, registers before they are set, the stack, what calls leave,
 * is different garbage in the two.
 */
function compare(program: VerifiedProgram, random: Random): void {
  const [one, two] = [new Place(program), new Place(program)];
  const interpreter = one.interpreter(program);
  let [previous, depth] = [-1, 1];
  interpreter.trace = (at, registers, now) => {
    const list = registers as bigint[];
    const spoil = (...which: number[]) => {
      for (const r of which) list[r] = 0xdead_beef_0000_0000n | BigInt(r);
    };
    if (previous < 0) spoil(0, 2, 3, 4, 5, 6, 7, 8, 9);
    else if (now > depth) spoil(0, 6, 7, 8, 9);
    else if (now < depth || program.code[previous]!.kind === 'call') spoil(1, 2, 3, 4, 5);
    [previous, depth] = [at, now];
  };
  const translation = two.translation(program);
  for (let run = 0; run < 3; run++) {
    const inputs = { a: random.number(), b: random.number(), c: random.next() };
    const results = (
      [
        [one, interpreter, 0x5a],
        [two, translation, 0xc3],
      ] as const
    ).map(([place, engine, garbage]) => {
      const { stack } = place.context;
      const all = () => new Uint8Array(place.memory.buffer);
      setInputs(place, inputs);
      all().fill(garbage, stack.address, stack.address + stack.size);
      [previous, depth] = [-1, 1];
      const result = engine.run(place.context);
      all().fill(0, stack.address, stack.address + stack.size);
      return { result, memory: Buffer.from(all()) };
    });
    assert.equal(results[1]!.result, results[0]!.result, 'r0');
    assert.ok(results[1]!.memory.equals(results[0]!.memory), 'memory');
  }
}

/** Changes one to three instructions. */
function change(bytes: Uint8Array, random: Random): void {
  const view = new DataView(bytes.buffer);
  for (let changes = 1 + random.below(3); changes > 0; changes--) {
    const at = random.below(bytes.length / 8) * 8;
    switch (random.below(6)) {
      case 0:
        bytes[at + 1] = random.below(11) | (bytes[at + 1]! & 0xf0);
        break;
      case 1:
        bytes[at + 1] = (random.below(11) << 4) | (bytes[at + 1]! & 15);
        break;
      case 2:
        view.setInt16(at + 2, view.getInt16(at + 2, true) + random.below(64) - 32, true);
        break;
      case 3:
        view.setInt32(at + 4, Number(BigInt.asIntN(32, random.number())), true);
        break;
      case 4:
        bytes[at] = random.next() & 0xff;
        break;
      default:
        bytes.copyWithin(at, random.below(bytes.length / 8) * 8, random.below(bytes.length / 8) * 8);
    }
  }
}

const explained = (bytes: Uint8Array, check: () => void): void => {
  try {
    check();
  } catch (error) {
    throw new Error(`${error instanceof Error ? error.message : error}\n${disassemble(decode(bytes)).join('\n')}`, {
      cause: error,
    });
  }
};

test('interpreter and translation agree on random verified programs', () => {
  const random = new Random(seed);
  const end = performance.now() + seconds * 1000;
  const refused = new Map<string, number>();
  let accepted = 0;
  while (performance.now() < end) {
    const bytes = assemble(new RandomProgram(random).text());
    const program = attempt(bytes);
    if (program instanceof BpfError) refused.set(program.code, (refused.get(program.code) ?? 0) + 1);
    else {
      accepted++;
      explained(bytes, () => compare(program, random));
    }
  }
  const all = [...refused.values()].reduce((a, b) => a + b, accepted);
  process.stdout.write(`# ${accepted} of ${all} programs compared; refused: ${JSON.stringify([...refused])}\n`);
  assert.ok(accepted > all / 2, 'most random programs are accepted');
});

test('programs with a random change are refused, or are safe and agree', () => {
  const random = new Random(seed + 1);
  const end = performance.now() + seconds * 1000;
  let [accepted, all] = [0, 0];
  while (performance.now() < end) {
    const bytes = assemble(new RandomProgram(random).text());
    change(bytes, random);
    all++;
    const program = attempt(bytes);
    if (program instanceof BpfError) continue;
    accepted++;
    explained(bytes, () => compare(program, random));
  }
  process.stdout.write(`# ${accepted} of ${all} changed programs were accepted and compared\n`);
  assert.ok(accepted > 0);
});

test('to leave out paths that are known to be safe changes no verdict', () => {
  const random = new Random(seed + 3);
  const end = performance.now() + seconds * 1000;
  const outcome = (bytes: Uint8Array, everyPath: boolean): string => {
    try {
      verify({ name: 'random', bytes, maps: testMaps }, environment, { everyPath });
      return 'accepted';
    } catch (error) {
      if (error instanceof BpfError) return error.code === 'too-complex' ? error.code : error.message;
      throw error;
    }
  };
  const counts = { accepted: 0, refused: 0, open: 0 };
  while (performance.now() < end) {
    const bytes = assemble(new RandomProgram(random).text());
    if (random.below(4) > 0) change(bytes, random);
    const expected = outcome(bytes, true);
    const found = outcome(bytes, false);
    if (expected === 'too-complex') {
      counts.open++;
      continue;
    }
    explained(bytes, () => assert.equal(found, expected));
    counts[expected === 'accepted' ? 'accepted' : 'refused']++;
  }
  process.stdout.write(`# verdicts compared: ${JSON.stringify(counts)}\n`);
  assert.ok(counts.accepted > 0 && counts.refused > 0);
});

/** A register's value is one that the verifier thought possible. */
function admits(known: Value, concrete: bigint, place: Place): boolean {
  if (known === null) return true;
  if (known.kind === 'number') return containsScalar(known.scalar, knownScalar(concrete));
  if (known.origin !== 0 && concrete === 0n) return true;
  const { maps, linkage, context } = place;
  const bases = {
    context: () => [context.area],
    stack: () => [],
    value: (map: number) =>
      Array.from({ length: testMaps[map]!.maxEntries }, (_, n) => ({
        address: maps.values[map]!.address + n * valueStride(testMaps[map]!),
      })),
    map: (map: number) => [maps.descriptors[map]!],
    region: (name: string) => [linkage.regions[name]!],
  };
  const { to } = known;
  if (to.kind === 'stack') return concrete > 0n;
  const places =
    to.kind === 'context' ? bases.context() : to.kind === 'region' ? bases.region(to.region) : bases[to.kind](to.map);
  return places.some(({ address }) => containsScalar(known.offset, knownScalar(concrete - BigInt(address))));
}

test('at each instruction the registers are what the verifier thought possible there', () => {
  const random = new Random(seed + 4);
  const end = performance.now() + seconds * 1000;
  let [programs, instructions] = [0, 0];
  while (performance.now() < end) {
    const bytes = assemble(new RandomProgram(random).text());
    if (random.below(2) === 0) change(bytes, random);
    const known = new Map<number, Value[][]>();
    let program: VerifiedProgram;
    try {
      const observe = (at: number, { frame }: State): void => {
        const list = known.get(at);
        if (list === undefined) known.set(at, [frame.registers.slice()]);
        else if (list.length < 200) list.push(frame.registers.slice());
        else throw new BpfError('too-complex', at, 'more states than this test keeps');
      };
      program = verify(
        { name: 'random', bytes, maps: testMaps },
        { ...environment, maxComplexity: 3000 },
        { everyPath: true, observe },
      );
    } catch (error) {
      if (error instanceof BpfError) continue;
      throw error;
    }
    programs++;
    const place = new Place(program);
    const interpreter = place.interpreter(program);
    interpreter.trace = (at, registers) => {
      instructions++;
      const states = known.get(at) ?? [];
      const found = states.some((state) => state.every((value, r) => admits(value, registers[r]!, place)));
      if (!found) throw new Error(`instruction ${at}: ${registers.join(' ')} was not thought possible`);
    };
    for (let run = 0; run < 5; run++) {
      setInputs(place, { a: random.number(), b: random.number(), c: random.next() });
      explained(bytes, () => interpreter.run(place.context));
    }
  }
  process.stdout.write(`# ${instructions} instructions of ${programs} programs\n`);
  assert.ok(programs > 0);
});

test('random bytes are refused or verified, never anything else', () => {
  const random = new Random(seed + 2);
  const opcodes: number[] = [];
  for (let opcode = 0; opcode < 256; opcode++) {
    try {
      decode(
        Uint8Array.of(
          opcode,
          0,
          0,
          0,
          opcode === 0xd4 || opcode === 0xdc || opcode === 0xd7 ? 16 : 0,
          0,
          0,
          0,
          0,
          0,
          0,
          0,
          0,
          0,
          0,
          0,
        ),
      );
      opcodes.push(opcode);
    } catch (error) {
      if (error instanceof BpfError && error.instruction === 1) opcodes.push(opcode);
    }
  }
  assert.ok(opcodes.length > 90, `${opcodes.length} opcodes`);
  const end = performance.now() + (seconds * 1000) / 2;
  const codes = new Set<string>();
  while (performance.now() < end) {
    const bytes = new Uint8Array(8 * (1 + random.below(24)));
    const wild = random.below(4) === 0;
    for (let at = 0; at < bytes.length; at += 8) {
      const word = random.next();
      bytes[at] = wild ? word : random.pick(opcodes);
      bytes[at + 1] = wild ? word >> 8 : random.below(11) | (random.below(3) === 0 ? random.below(11) << 4 : 0);
      if (random.below(3) === 0) new DataView(bytes.buffer).setInt16(at + 2, random.below(16) - 8, true);
      if (random.below(3) === 0) new DataView(bytes.buffer).setInt32(at + 4, random.below(200) - 100, true);
    }
    bytes[bytes.length - 8] = 0x95;
    bytes.fill(0, bytes.length - 7);
    const found = attempt(bytes);
    codes.add(found instanceof BpfError ? found.code : 'accepted');
  }
  process.stdout.write(`# outcomes: ${[...codes].sort().join(' ')}\n`);
  assert.ok(codes.size > 8);
});

test('the verifier ends soon on programs made to keep it busy', () => {
  const started = performance.now();
  const nested = [
    'r0 = 0',
    ...[2, 3, 4, 5, 6, 7].flatMap((r) => [`r${r} = 0`, `l${r}: r0 += 1`]),
    ...[7, 6, 5, 4, 3, 2].flatMap((r) => [`r${r} += 1`, `if r${r} < 1000 goto l${r}`]),
    'exit',
  ];
  assert.throws(() => verify({ name: 'nested', bytes: assemble(nested.join('\n')), maps: [] }, testEnvironment), {
    code: 'too-complex',
  });
  const diamonds = ['r6 = *(u64 *)(r1 + 0)', 'r7 = 0'];
  for (let bit = 0; bit < 64; bit++)
    diamonds.push(
      `r2 = r6`,
      `r2 >>= ${bit}`,
      'r2 &= 1',
      `if r2 == 0 goto n${bit}`,
      `r7 |= ${1 << (bit & 15)}`,
      `n${bit}: r3 = 1`,
    );
  diamonds.push('if r7 == 5 goto +0', 'r0 = 0', 'exit');
  const outcome = attempt(assemble(diamonds.join('\n')));
  assert.ok(!(outcome instanceof BpfError) || outcome.code === 'too-complex');
  const branches = Array.from({ length: 3000 }, (_, n) => `if r1 == r10 goto +${n % 3 === 0 ? 0 : 1}`);
  assert.doesNotThrow(() =>
    verify(
      { name: 'b', bytes: assemble([...branches, 'r0 = 0', 'r0 = 0', 'exit'].join('\n')), maps: [] },
      testEnvironment,
    ),
  );
  assert.ok(performance.now() - started < 60_000);
  assert.equal(framePointer, 10);
});
