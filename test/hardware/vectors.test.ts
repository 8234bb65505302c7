/** The recorded hardware vectors hold together: they decode to the oracle's states, and the comparer tells right from wrong. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { buildMachine, IMAGE, type Machine } from '../../runtime/lockstep/machine-image.ts';
import { BlockMaker } from './blocks.ts';
import { compare } from './compare.ts';
import { deliveredException, ending } from './machine.ts';
import { oracleUnavailable, RECORDED, withOracle } from './oracle.ts';
import { Score } from './score.ts';
import { SectionReader, sectionChecksum } from './section-reader.ts';
import { type Outcome, openVectors, readVectors, type Section, type Vector, vectorFiles } from './vectors.ts';

const copyOutcome = (out: Outcome): Outcome => ({
  ...out,
  gpr: out.gpr.slice(),
  window: out.window.slice(),
  st: out.st.slice(),
  xmm: out.xmm.slice(),
  exception: out.exception && { ...out.exception },
});

test('at least 200,000 vectors of every recorded class are there, in the modes that have them', () => {
  const files = vectorFiles();
  assert.deepEqual([...files.keys()].sort(), [...RECORDED.classes].sort());
  let total = 0;
  for (const [cls, url] of files) {
    const { sections, seed } = openVectors(url);
    assert.equal(seed, RECORDED.seed);
    const modes = new Set(sections.map((section) => section.mode));
    assert.deepEqual(modes, new Set(cls === 'bcd' ? [32, 16] : [64, 32, 16]), cls);
    assert.ok(
      sections.every((section) => section.form.cls === cls && section.count >= 10),
      cls,
    );
    total += sections.reduce((sum, section) => sum + section.count, 0);
  }
  assert.ok(total >= 200_000, `${total} vectors`);
});

test('every state is drawn and patched here as the oracle had it', () => {
  for (const url of vectorFiles().values()) {
    const file = openVectors(url);
    for (const section of file.sections) {
      const { form, mode, checksum } = section;
      assert.equal(sectionChecksum(file, section), checksum, `${form.name} ${form.encoding} in mode ${mode}`);
    }
  }
});

test('all vectors are read within ten seconds of processor time, each passes against itself and fails with one bit changed', () => {
  const started = process.cpuUsage(); // not the clock: the machine may be busy with other things
  const all = new Score('itself');
  let reading = 0;
  for (const url of vectorFiles().values()) {
    for (const vector of readVectors(url)) {
      reading += 1;
      if (reading % 7 !== 0) continue; // reading all of them is timed; comparing a seventh says enough
      all.add(vector, vector.out);
      const changed = copyOutcome(vector.out);
      changed.gpr[reading % 8]! ^= 1n << BigInt(reading % 16);
      assert.equal(compare(vector, changed).length, 1, `${vector.cls} ${vector.name}`);
    }
  }
  const { user, system } = process.cpuUsage(started);
  assert.ok(user + system < 10e6, `${user + system} microseconds`);
  assert.equal(all.passed, all.run);
});

/** Changes that any vector of the kind must notice. */
const changes: Record<string, (out: Outcome, vector: Vector) => void> = {
  'the instruction pointer': (out) => {
    out.rip += 1n;
  },
  'the direction flag': (out) => {
    out.flags ^= 0x400;
  },
  'a byte of memory': (out) => {
    out.window[200]! ^= 0x80;
  },
  'an exception that is not there or another one': (out) => {
    out.exception = out.exception ? undefined : { vector: 13, errorCode: 0, cr2: 0n };
  },
};

test('the comparer notices a change in each part of the state', () => {
  for (const [cls, url] of vectorFiles()) {
    for (const vector of readVectors(url, { every: 40 })) {
      for (const [what, change] of Object.entries(changes)) {
        const changed = copyOutcome(vector.out);
        change(changed, vector);
        assert.equal(compare(vector, changed).length, 1, `${cls} ${vector.name}: ${what}`);
      }
      const changed = copyOutcome(vector.out);
      if (vector.fp === 'sse' || vector.fp === 'avx') changed.xmm[15]! ^= 0x80;
      if (vector.fp === 'x87') changed.ftw ^= 0x10;
      if (vector.fp !== 'none') assert.notDeepEqual(compare(vector, changed), [], `${cls} ${vector.name}`);
    }
  }
});

test('undefined flags, empty x87 registers and the upper half of ESP in mode 16 do not matter', () => {
  const of = (cls: string): Vector[] => [...readVectors(vectorFiles().get(cls)!, { every: 5 })];
  const multiply = of('muldiv').find(({ name, out }) => name === 'mul' && out.exception === undefined)!;
  const flags = { ...copyOutcome(multiply.out), flags: multiply.out.flags ^ 0xd4 };
  assert.deepEqual(compare(multiply, flags), []);
  const push = of('stack').find(({ mode }) => mode === 16)!;
  const stack = copyOutcome(push.out);
  stack.gpr[4]! ^= 0x10000n;
  assert.deepEqual(compare(push, stack), []);
  stack.gpr[4]! ^= 0x1n;
  assert.equal(compare(push, stack).length, 1);
  const someEmpty = of('x87').find(({ out }) => out.ftw !== 0 && out.ftw !== 0xff)!;
  const isEmpty = (i: number): boolean => !((someEmpty.out.ftw >> (((someEmpty.out.fsw >> 11) + i) & 7)) & 1);
  for (let i = 0; i < 8; i++) {
    const changed = copyOutcome(someEmpty.out);
    changed.st[10 * i]! ^= 1;
    assert.equal(compare(someEmpty, changed).length, isEmpty(i) ? 0 : 1);
  }
});

test('results of implementation-defined precision are compared with a tolerance', () => {
  const one = [...readVectors(vectorFiles().get('x87t')!, { modes: [64] })].find(
    ({ name, in: before, out, fswUndefined }) =>
      name === 'f2xm1' && out.ftw !== 0 && before.fcw === 0x37f && out.fsw & 0x20 && fswUndefined && out.st[7]! & 0x80,
  )!;
  const near = copyOutcome(one.out);
  near.st[0]! ^= 1;
  assert.deepEqual(compare(one, near), []);
  near.st[4]! ^= 1;
  assert.equal(compare(one, near).length, 1);
});

test('a vector in which makers differ says so, and LOCK MOV CR0 expects what Intel documents', () => {
  const marked = ['fault', 'string', 'sse'].flatMap((cls) =>
    [...readVectors(vectorFiles().get(cls)!)].filter(({ vendor }) => vendor !== undefined),
  );
  const { cpu } = openVectors(vectorFiles().get('fault')!);
  if (cpu.vendor === 'AuthenticAMD') assert.ok(marked.length > 0);
  for (const { cls, name, bytes, in: before, out } of marked) {
    if (cls === 'string') assert.equal(out.gpr[6], before.gpr[6]);
    if (cls !== 'fault') continue;
    assert.equal(name, 'movcr');
    assert.ok(bytes.includes(0xf0));
    assert.equal(out.exception?.vector, 6);
  }
});

test('the score groups misses by name and keeps the first example of each', () => {
  const score = new Score('broken');
  for (const vector of readVectors(vectorFiles().get('bcd')!, { every: 50 })) {
    score.add(vector, vector.name === 'daa' ? { ...vector.out, rip: 0n } : vector.out);
  }
  assert.equal(score.misses.length, 1);
  assert.equal(score.misses[0]!.count, score.run - score.passed);
  assert.match(score.report(), /bcd daa: \d+ .*\n.*27 .*\n(.*\n)+ {4}rip: got 0x0, expected 0x/);
  assert.match(score.table(), /^total +- +\d+\/\d+ +\d+\/\d+ +\d+\/\d+$/m);
});

test('the page tables of the machine lead to its pages in every kind of paging', () => {
  const ram = new Uint8Array(IMAGE.size);
  const view = new DataView(ram.buffer);
  const walk = (
    machine: Machine,
    linear: number,
  ): { physical: number; user: boolean; noExecute: boolean } | undefined => {
    const [levels, bits, size] = { '32-bit': [2, 10, 4], pae: [3, 9, 8], '4-level': [4, 9, 8], '5-level': [5, 9, 8] }[
      machine.paging
    ] as [number, number, number];
    let table = machine.cr3;
    let user = true;
    for (let level = levels - 1; ; level--) {
      const index = Math.floor(linear / 2 ** (12 + bits * level)) % (levels === 3 && level === 2 ? 4 : 2 ** bits);
      const at = table + size * index;
      const entry = view.getUint32(at, true);
      if (!(entry & 1)) return undefined;
      if (levels !== 3 || level !== 2) user &&= (entry & 4) !== 0;
      table = entry & ~0xfff;
      if (level === 0)
        return { physical: table, user, noExecute: size === 8 && view.getUint32(at + 4, true) >>> 31 === 1 };
    }
  };
  const pages = {
    64: [
      [0x34500000, 0x34567000],
      [0x1234500000, 0x1234567000],
    ],
    32: [[0x20000000, 0x30000000]],
    16: [[0x20000000, 0x30000000]],
  } as const;
  for (const [mode, paging] of [
    [64, '4-level'],
    [32, '4-level'],
    [32, 'pae'],
    [32, '32-bit'],
    [16, '4-level'],
    [16, 'pae'],
    [16, '32-bit'],
  ] as const) {
    const machine = buildMachine(ram, mode, paging);
    for (const [code, data] of pages[mode]) {
      assert.deepEqual(walk(machine, code), { physical: IMAGE.code, user: true, noExecute: false });
      assert.deepEqual(walk(machine, data), { physical: IMAGE.data, user: true, noExecute: paging !== '32-bit' });
      assert.equal(walk(machine, data + 0x1000), undefined);
    }
    assert.deepEqual(walk(machine, IMAGE.gdt), { physical: IMAGE.gdt, user: false, noExecute: false });
  }
  assert.throws(() => buildMachine(ram, 64, 'pae'), /mode 64 under pae/);
});

test('an exception frame is read from the kernel stack, and #BP means that the vector completed', () => {
  const ram = new Uint8Array(IMAGE.size);
  const view = new DataView(ram.buffer);
  const machine = buildMachine(ram, 32);
  const pushed = [4, 0x20000800, 0x23, 0x246, 0x30000f40, 0x2b];
  for (const [i, value] of pushed.entries()) view.setUint32(IMAGE.stackTop - 24 + 4 * i, value, true);
  const frame = deliveredException(ram, machine, IMAGE.handlers + 16 * 14 + 1, IMAGE.stackTop - 24)!;
  assert.equal(frame.errorCode, 4);
  assert.deepEqual(ending(frame, 0x1234n), {
    rip: 0x20000800n,
    exception: { vector: 14, errorCode: 4, cr2: 0x1234n },
  });
  const breakpoint = deliveredException(ram, machine, IMAGE.handlers + 16 * 3 + 1, IMAGE.stackTop - 20)!;
  assert.deepEqual(ending(breakpoint, 0n), { rip: 0x200007ffn, exception: undefined });
  assert.equal(deliveredException(ram, machine, 0x20000801, IMAGE.stackTop), undefined);
});

test('random blocks join instructions of one mode and code page, and the seed decides them', () => {
  const vectors = [...vectorFiles().values()].flatMap((url) => [...readVectors(url, { every: 30 })]);
  const [one, two] = [new BlockMaker(vectors, 7), new BlockMaker(vectors, 7)];
  let instructions = 0;
  for (let i = 0; i < 200; i++) {
    const [block, same] = [one.next(6), two.next(6)];
    assert.deepEqual(block.bytes, same.bytes);
    assert.ok(block.parts.every(({ mode, code }) => mode === block.mode && code === block.code));
    assert.deepEqual(
      [...block.bytes],
      block.parts.flatMap(({ bytes }) => [...bytes]),
    );
    // what the first part needs is never taken from it
    const [first] = block.parts;
    for (let r = 0; r < 16; r++) if ((first!.chosen >> r) & 1) assert.equal(block.in.gpr[r], first!.in.gpr[r]);
    instructions += block.parts.length;
  }
  assert.ok(instructions > 800, `${instructions} instructions in 200 blocks`);
});

const unavailable = oracleUnavailable();
test('the oracle makes the recorded vectors again', { skip: unavailable ?? false }, () => {
  let compared = 0;
  withOracle((run) => {
    for (const [cls, url] of vectorFiles()) {
      const recorded = openVectors(url);
      const made = openVectors(run(cls, 1));
      const sameCpu = made.cpu.vendor === recorded.cpu.vendor && made.cpu.family === recorded.cpu.family;
      const key = ({ form, mode }: Section): string => `${form.hash} ${mode}`;
      const sections = new Map(recorded.sections.map((section) => [key(section), section]));
      for (const section of made.sections) {
        const old = new SectionReader(recorded, sections.get(key(section))!);
        const again = new SectionReader(made, section);
        for (let i = 0; i < section.count; i++, compared++) {
          const [before, after] = [old.skip(), again.skip()];
          const where = `${cls} ${section.form.name} ${section.form.encoding} mode ${section.mode}`;
          // Another CPU may discard other attempts: then records stop lining up, and the rest says nothing.
          if (!sameCpu && before.skipped !== after.skipped) break;
          assert.deepEqual(after.inputs, before.inputs, where);
          if (sameCpu) assert.deepEqual(after.outcome, before.outcome, where);
        }
      }
    }
  });
  assert.ok(compared >= 2000, `${compared} vectors`);
});
