/** Regions as they are formed from code, wherever it lies, and what the compiler's thread keeps from request to request. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isMarked, type SentPage } from '../../jit/code-snapshot.ts';
import { serveCompiler } from '../../jit/compiler.ts';
import type { CompilerReply, CompilerRequest } from '../../jit/compiler-protocol.ts';
import { type RecordBlock, RecordedBlocks } from '../../jit/recorded-blocks.ts';
import { formRegion, unbounded } from '../../jit/region.ts';
import { besideInstructions } from '../../jit/region-ends.ts';
import { packRequest, type TranslateRequest, unpackRequest } from '../../jit/translate-request.ts';
import type { Context } from '../../src/execute/context.ts';
import { recordBlock } from '../../src/execute/frontend.ts';
import { userContext } from '../isa/vector-run.ts';

const user: Context = {
  ...userContext(64),
  id: 7,
  stable: true,
  csBase: 0,
  csLimit: 0xffffffff,
  lacks: [],
  watched: false,
};
const kernel: Context = { ...user, id: 8, cpl: 0 };
const mode = { shared: false, x87: 'exact' } as const;

/** A page with code at its start, all of it executed. */
function pageAt(linear: bigint, ...code: number[]): SentPage {
  const bytes = new Uint8Array(4096).fill(0xcc);
  bytes.set(code);
  return { linear, bytes, executed: new Uint8Array(512).fill(0xff) };
}
/** entry: test cl, 1; jz even; call entry; even: dec ecx; jnz entry; ret */
const recursive = [0xf6, 0xc1, 1, 0x74, 5, 0xe8, -10 & 0xff, 0xff, 0xff, 0xff, 0xff, 0xc9, 0x75, -14 & 0xff, 0xc3];

function shapeAt(base: bigint) {
  const page = pageAt(base, ...recursive);
  const source = {
    page: (linear: bigint) => ((linear & ~0xfffn) === base ? page.bytes : null),
    executed: (linear: bigint) => (linear & ~0xfffn) === base && isMarked(page.executed, linear),
  };
  const region = formRegion(source, kernel, base)!;
  return region.blocks.map(({ rip, terminator, successors }) => ({
    at: rip >> 64n === 1n ? 'dispatch' : rip - base,
    ends: terminator.kind,
    to: successors.map((s) => s.order),
  }));
}

test('code in the upper half of the address space makes the same regions as in the lower one', () => {
  const low = shapeAt(0x40_0000n);
  assert.equal(low.filter(({ at }) => at === 0n).length, 1, 'the loop comes back to the entry');
  for (const base of [-0x7f00_0000n, -0x1000n, -0x7780_0000_0000n]) assert.deepEqual(shapeAt(base), low);
});

test('a region ends where others begin, but where it begins itself', () => {
  const base = 0x40_0000n;
  // head: dec ecx; jz out; inc eax; jmp head; out: ret
  const page = pageAt(base, 0xff, 0xc9, 0x74, 4, 0xff, 0xc0, 0xeb, -8 & 0xff, 0xc3);
  const source = { page: (linear: bigint) => ((linear & ~0xfffn) === base ? page.bytes : null) };
  const placesOf = (rip: bigint, ends: readonly bigint[]) =>
    formRegion(source, kernel, rip, undefined, undefined, undefined, { ...unbounded, ends: new Set(ends) })!
      .blocks.map((block) => block.rip - base)
      .sort((a, b) => Number(a - b));
  assert.deepEqual(placesOf(base, []), [0n, 4n, 8n]);
  assert.deepEqual(placesOf(base + 4n, []), [0n, 4n, 8n]);
  assert.deepEqual(placesOf(base + 4n, [base]), [4n]);
  assert.deepEqual(placesOf(base, [base]), [0n, 4n, 8n]);
  assert.deepEqual(placesOf(base, [base + 4n]), [0n, 8n]);
});

test('a region beside others is smaller: what is far from it is theirs', () => {
  const base = 0x40_0000n;
  // 400 times: jz next; inc eax
  const page = pageAt(base, ...Array.from({ length: 400 }, () => [0x74, 0, 0xff, 0xc0]).flat(), 0xc3);
  const source = { page: (linear: bigint) => ((linear & ~0xfffn) === base ? page.bytes : null) };
  const sizeOf = (instructions: number) =>
    formRegion(source, kernel, base, undefined, undefined, undefined, { ...unbounded, instructions })!.instructions;
  const [alone, beside] = [sizeOf(unbounded.instructions), sizeOf(besideInstructions)];
  assert.ok(beside >= 100 && beside < 264 && alone > 1.5 * beside, `${alone} and ${beside} instructions`);
});

test('a request is the same when it has been packed', () => {
  const request: TranslateRequest = {
    id: 5,
    context: 8,
    rip: -0x7f00_0000n,
    inexact: 'set',
    afresh: true,
    pages: [
      pageAt(-0x7f00_0000n, 0xc3),
      { linear: 0x1000n, bytes: null, executed: null },
      { linear: 0x2000n, bytes: new Uint8Array(4096).fill(9), executed: null },
    ],
    seen: new Map([
      [-0x7f00_0000n, [1n, -2n]],
      [3n, []],
    ]),
    apart: new Set([-4n, 5n]),
    bounds: { ends: new Set([-9n, 0x400000n, 7n]), instructions: 20 },
  };
  assert.deepEqual(unpackRequest(packRequest(request)), request);
});

for (const [name, context] of [
  ['a kernel', kernel],
  ['a process', user],
] as const)
  test(`a page that a region of ${name} goes on in is asked for ${context === kernel ? 'once' : 'each time'}`, () => {
    const replies: CompilerReply[] = [];
    let ask: (message: unknown) => void = () => {};
    serveCompiler({
      post: (message) => void replies.push(message as CompilerReply),
      onMessage: (listener) => {
        ask = listener;
      },
    });
    const base = context === kernel ? -0x7f00_0000n : 0x40_0000n;
    const there = base + 0x10_0000n;
    const from = pageAt(base, 0xe9, 0xfb, 0xff, 0x0f, 0); // jmp there
    const to = pageAt(there, 0xff, 0xc0, 0xc3); // inc eax; ret
    const translate = (id: number, pages: readonly SentPage[], afresh = false) => {
      const parts = { id, context: context.id, rip: base, inexact: 'either', afresh, pages } as const;
      const request = packRequest({ ...parts, seen: new Map(), apart: new Set(), bounds: unbounded });
      ask({ kind: 'translate', mode, request } satisfies CompilerRequest);
      return replies.at(-1)!;
    };
    ask({ kind: 'context', context } satisfies CompilerRequest);
    assert.deepEqual(translate(1, [from]), { kind: 'pages', id: 1, linear: [there] });
    const first = translate(1, [from, to]);
    assert.ok(first.kind === 'made' && first.kept.length === 0);
    const second = translate(2, [from]);
    if (context === user) return assert.equal(second.kind, 'pages');
    assert.ok(second.kind === 'made');
    assert.deepEqual(second.kept, [{ linear: there, request: 1 }]);
    assert.deepEqual(second.bytes, first.bytes);
    assert.equal(translate(3, [from], true).kind, 'pages', 'kept pages may be what does not fit');
    ask({ kind: 'forget' } satisfies CompilerRequest);
    assert.equal(translate(4, [from]).kind, 'pages');
  });

test('a block that was recorded before stands for the same bytes only', () => {
  const base = 0x40_0000n;
  const blocks = new RecordedBlocks();
  const blockAt = (pages: readonly SentPage[], at = base, record: RecordBlock = blocks.record) => {
    const source = { page: (linear: bigint) => pages.find((p) => p.linear === (linear & ~0xfffn))?.bytes ?? null };
    return record(source, user, at);
  };
  const one = pageAt(base, 0xb8, 1, 0, 0, 0, 0xc3); // mov eax, 1; ret
  const two = pageAt(base, 0xb8, 2, 0, 0, 0, 0xc3);
  const first = blockAt([one]);
  assert.equal(blockAt([pageAt(base, 0xb8, 1, 0, 0, 0, 0xc3)]), first);
  assert.deepEqual(blockAt([two]), blockAt([two], base, recordBlock));
  assert.equal(blockAt([one]), first, 'both are kept');
  assert.deepEqual(blockAt([one], base + 5n), blockAt([one], base + 5n, recordBlock), 'another place');

  const edge = pageAt(base);
  edge.bytes!.set([0x90, 0xb8], 0xffe); // nop; mov eax, what the next page says
  const next = (n: number) => pageAt(base + 0x1000n, n, 0, 0, 0, 0xc3);
  for (const at of [base + 0xffen, base + 0xfffn]) {
    for (const pages of [[edge], [edge, next(1)], [edge, next(2)]])
      assert.deepEqual(blockAt(pages, at), blockAt(pages, at, recordBlock));
  }
});
