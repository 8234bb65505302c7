/**
 * VEX-encoded instructions where no recorded vector goes: gathers, masked moves at the edge of memory, what the prefix
 * forbids, when they exist, and what becomes of the upper halves. Each in the interpreter and in a translation.
 * SDM volume 2, sections 2.3 and 2.4.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ABSENT_PAGE, codeStart, DATA_PAGES, dataStart, Guest, type GuestKind } from '../../runtime/lockstep/guest.ts';
import { IMAGE } from '../../runtime/lockstep/machine-image.ts';
import { offsetOf } from '../../src/state/layout.ts';
import { vmModules } from './modules.ts';

const kinds = {
  '64': { mode: '64', cpl: 3, paging: '4-level', code: 0x34500000n, data: 0x34567000n },
  '32': { mode: '32', cpl: 3, paging: '32-bit', code: 0x20000000n, data: 0x30000000n },
  segments: { mode: '32-segments', cpl: 3, paging: '32-bit', code: 0x20000000n, data: 0x30001000n },
  '16': { mode: '16', cpl: 3, paging: '32-bit', code: 0x20000000n, data: 0x30001000n },
  v86: { mode: 'v86', cpl: 3, paging: '32-bit', code: 0x50000n, data: 0x60000n },
  real: { mode: 'real', cpl: 0, paging: '32-bit', code: 0x50000n, data: 0x60000n },
} as const satisfies Record<string, GuestKind>;
type KindName = keyof typeof kinds;

const guests = new Map<string, Guest>();
function guestOf(kind: KindName, way: 'never' | 'first'): Guest {
  const key = `${kind} ${way}`;
  let guest = guests.get(key);
  if (guest === undefined) guests.set(key, (guest = new Guest(kinds[kind], way, vmModules())));
  guest.reset();
  return guest;
}
const ways = ['never', 'first'] as const;
const HLT = 0xf4;
const DATA_BYTES = ABSENT_PAGE * 4096;

/** All 32 bytes of a ymm register. */
function ymm(guest: Guest, index: number): Uint8Array {
  const { u8 } = guest.vcpu.fields;
  const [low, high] = [offsetOf(`xmm${index}`), offsetOf(`ymmHigh${index}`)];
  return Uint8Array.from([...u8.subarray(low, low + 16), ...u8.subarray(high, high + 16)]);
}
function setYmm(guest: Guest, index: number, bytes: Uint8Array): void {
  const { u8 } = guest.vcpu.fields;
  u8.set(bytes.subarray(0, 16), offsetOf(`xmm${index}`));
  u8.set(bytes.subarray(16, 32), offsetOf(`ymmHigh${index}`));
}
const filled = (seed: number): Uint8Array => Uint8Array.from({ length: 32 }, (_, i) => (seed * 37 + i * 11) & 0xff);
const lanes = (width: 32 | 64, values: readonly bigint[]): Uint8Array => {
  const view = new DataView(new ArrayBuffer(32));
  values.forEach((v, i) => {
    if (width === 64) view.setBigInt64(8 * i, v, true);
    else view.setInt32(4 * i, Number(BigInt.asIntN(32, v)), true);
  });
  return new Uint8Array(view.buffer);
};

/** Runs code at the start; the vector of the exception that ends it, or null if it halts. Twice, so that it is warm. */
function run(guest: Guest, code: readonly number[]): number | null {
  guest.write('code', 0, Uint8Array.from([...code, HLT, 0xcc]));
  const { fields: state } = guest.vcpu;
  state.set64('rip', codeStart(guest.kind));
  state.set64('rsp', dataStart(guest.kind) + 0x3800n);
  assert.ok(guest.run(1000), 'it ends');
  const rip = Number(state.get64('rip'));
  const base = guest.kind.mode === 'real' ? rip + Number(state.get64('csBase')) : rip;
  const vector = (base - 1 - IMAGE.handlers) / 16;
  // At CPL 3 HLT is #GP.
  if (vector === 13 && guest.kind.cpl === 3) return haltedAt(guest, code.length) ? null : 13;
  return Number.isInteger(vector) && vector >= 0 && vector < 256 ? vector : null;
}
/** The frame of #GP holds the address of the HLT behind the code. */
function haltedAt(guest: Guest, length: number): boolean {
  const { ram } = guest.vm;
  const view = new DataView(ram.buffer, ram.byteOffset, ram.byteLength);
  const rsp = Number(guest.vcpu.fields.get64('rsp'));
  const ip = guest.kind.paging === '4-level' ? view.getBigUint64(rsp + 8, true) : BigInt(view.getUint32(rsp + 4, true));
  return ip === codeStart(guest.kind) + BigInt(length);
}

interface Vex {
  readonly map: 1 | 2 | 3;
  readonly pp: 0 | 1 | 2 | 3;
  readonly w?: 0 | 1;
  readonly l?: 0 | 1;
  readonly vvvv?: number;
}
const vex = ({ map, pp, w = 0, l = 0, vvvv = 0 }: Vex, ...rest: readonly number[]): number[] => [
  0xc4,
  0xe0 | map,
  (w << 7) | ((~vvvv & 15) << 3) | (l << 2) | pp,
  ...rest,
];

// --- gathers: ymm1 = destination, ymm2 = indices, ymm3 = mask, rBX = base
const gathers = [
  ['VPGATHERDD', 0x90, 0, 32, 32],
  ['VPGATHERDQ', 0x90, 1, 32, 64],
  ['VPGATHERQD', 0x91, 0, 64, 32],
  ['VPGATHERQQ', 0x91, 1, 64, 64],
  ['VGATHERDPS', 0x92, 0, 32, 32],
  ['VGATHERQPD', 0x93, 1, 64, 64],
] as const;
const SCALE = 2; // times four
const DISPLACEMENT = 0x10;
const gatherCode = (opcode: number, w: 0 | 1, l: 0 | 1): number[] =>
  vex({ map: 2, pp: 1, w, l, vvvv: 3 }, opcode, 0x4c, (SCALE << 6) | (2 << 3) | 3, DISPLACEMENT);

function gatherCase(
  guest: Guest,
  indexWidth: 32 | 64,
  width: 32 | 64,
  count: number,
  places: readonly number[],
  mask: number,
): void {
  const base = dataStart(guest.kind) + 0x800n;
  guest.vcpu.fields.set64('rbx', base);
  const data = Uint8Array.from({ length: DATA_BYTES }, (_, i) => (i * 7 + (i >> 8)) & 0xff);
  guest.write('data', 0, data);
  setYmm(guest, 1, filled(1));
  setYmm(
    guest,
    2,
    lanes(
      indexWidth,
      places.map((p) => BigInt((p - 0x800 - DISPLACEMENT) >> SCALE)),
    ),
  );
  setYmm(
    guest,
    3,
    lanes(
      width,
      Array.from({ length: count }, (_, i) => ((mask >> i) & 1 ? -1n << BigInt(width - 1) : 5n)),
    ),
  );
}

for (const kind of ['64', '32', 'segments'] as const) {
  test(`gathers load the lanes that the mask selects, in mode ${kind}`, () => {
    for (const way of ways)
      for (const [name, opcode, w, indexWidth, width] of gathers)
        for (const l of [0, 1] as const) {
          const bits = l === 1 ? 256 : 128;
          const count = Math.min(bits / indexWidth, bits / width);
          for (const mask of [0, 1, 0xff, 0b0110_1010, 0b0000_1000]) {
            const guest = guestOf(kind, way);
            const places = Array.from({ length: count }, (_, i) => 0x40 + ((i * 0x5a4 + 0x13c) & 0x2ffc));
            // Lanes that are not selected may point anywhere.
            for (let i = 0; i < count; i++) if (((mask >> i) & 1) === 0) places[i] = ABSENT_PAGE * 4096 + 8;
            gatherCase(guest, indexWidth, width, count, places, mask);
            assert.equal(run(guest, gatherCode(opcode, w, l)), null, name);
            const wanted = new Uint8Array(32);
            const old = filled(1);
            const bytes = width / 8;
            for (let i = 0; i < count; i++) {
              const from =
                (mask >> i) & 1 ? guest.vm.ram.subarray(guest.physical('data', places[i]!)) : old.subarray(i * bytes);
              wanted.set(from.subarray(0, bytes), i * bytes);
            }
            const text = `${name} L${l} mask ${mask}, translated ${way}`;
            assert.deepEqual(ymm(guest, 1), wanted, text);
            assert.deepEqual(ymm(guest, 3), new Uint8Array(32), `the mask is cleared, ${text}`);
          }
        }
  });
}

test('a gather that faults names the lowest selected lane that does; those below it are done, and it can go on', () => {
  for (const way of ways) {
    const guest = guestOf('64', way);
    const absent = ABSENT_PAGE * 4096 + 0x20;
    gatherCase(guest, 32, 32, 8, [0x100, absent + 0x100, 0x200, absent, 0x300, 0x400, 0x500, 0x600], 0b1111_1000);
    const mask = ymm(guest, 3);
    assert.equal(run(guest, gatherCode(0x90, 0, 1)), 14);
    assert.equal(guest.vcpu.fields.get64('cr2'), dataStart(guest.kind) + BigInt(absent));
    assert.deepEqual(ymm(guest, 1), filled(1));
    assert.deepEqual(ymm(guest, 3), mask);

    const places = [0x100, 0x204, 0x308, 0x40c, 0x510, absent, 0x714, 0x818];
    guest.reset();
    gatherCase(guest, 32, 32, 8, places, 0b1111_1101);
    assert.equal(run(guest, gatherCode(0x90, 0, 1)), 14);
    assert.equal(guest.vcpu.fields.get64('cr2'), dataStart(guest.kind) + BigInt(absent));
    const at = (place: number) => guest.vm.ram.subarray(guest.physical('data', place)).subarray(0, 4);
    const partly = filled(1);
    for (const i of [0, 2, 3, 4]) partly.set(at(places[i]!), 4 * i);
    assert.deepEqual(ymm(guest, 1), partly);
    const left = lanes(32, [0n, 5n, 0n, 0n, 0n, ...new Array<bigint>(3).fill(-1n << 31n)]);
    assert.deepEqual(ymm(guest, 3), left, 'the mask says what is still to be done');
  }
});

test('a gather of one register in two roles, or without a vector index, is undefined', () => {
  const same = [
    vex({ map: 2, pp: 1, l: 1, vvvv: 1 }, 0x90, 0x0c, 0x93), // mask = destination
    vex({ map: 2, pp: 1, l: 1, vvvv: 2 }, 0x90, 0x0c, 0x93), // mask = index
    vex({ map: 2, pp: 1, l: 1, vvvv: 3 }, 0x90, 0x14, 0x93), // index = destination
    vex({ map: 2, pp: 1, l: 1, vvvv: 3 }, 0x90, 0x0b), // no SIB byte
    vex({ map: 2, pp: 1, l: 1, vvvv: 3 }, 0x90, 0xcc), // a register
  ];
  for (const way of ways) for (const code of same) assert.equal(run(guestOf('64', way), code), 6);
  assert.equal(run(guestOf('16', 'never'), vex({ map: 2, pp: 1, l: 1, vvvv: 3 }, 0x90, 0x0c)), 6, '16-bit addresses');
});

// --- masked moves: ymm1 = data, ymm3 = mask, rBX = address
const masked = [
  ['VMASKMOVPS', 0x2c, 0x2e, 0, 32],
  ['VMASKMOVPD', 0x2d, 0x2f, 0, 64],
  ['VPMASKMOVD', 0x8c, 0x8e, 0, 32],
  ['VPMASKMOVQ', 0x8c, 0x8e, 1, 64],
] as const;
test('masked moves touch the selected lanes alone', () => {
  for (const way of ways)
    for (const kind of ['64', 'segments'] as const)
      for (const [name, load, store, w, width] of masked)
        for (const l of [0, 1] as const) {
          const count = (l === 1 ? 256 : 128) / width;
          const bytes = width / 8;
          for (const mask of [0, 1, (1 << (count / 2)) - 1, 1 << (count / 2 - 1)]) {
            const text = `${name} L${l} mask ${mask} mode ${kind}, translated ${way}`;
            // The upper half of the operand lies behind the data, where nothing is.
            const place = DATA_PAGES * 4096 - (count / 2) * bytes;
            const set = (guest: Guest): void => {
              guest.vcpu.fields.set64('rbx', dataStart(guest.kind) + BigInt(place));
              guest.write('data', place, filled(9).subarray(0, (count / 2) * bytes));
              setYmm(guest, 1, filled(1));
              const signs = Array.from({ length: count }, (_, i) => ((mask >> i) & 1 ? -1n : 1n));
              setYmm(guest, 3, lanes(width, signs));
            };
            const guest = guestOf(kind, way);
            set(guest);
            assert.equal(run(guest, vex({ map: 2, pp: 1, w, l, vvvv: 3 }, load, 0x0b)), null, text);
            const wanted = new Uint8Array(32);
            for (let i = 0; i < count; i++)
              if ((mask >> i) & 1) wanted.set(filled(9).subarray(i * bytes, (i + 1) * bytes), i * bytes);
            assert.deepEqual(ymm(guest, 1), wanted, text);

            guest.reset();
            set(guest);
            assert.equal(run(guest, vex({ map: 2, pp: 1, w, l, vvvv: 3 }, store, 0x0b)), null, text);
            const memory = guest.vm.ram.slice(guest.physical('data', place)).subarray(0, (count / 2) * bytes);
            const stored = filled(9).slice(0, (count / 2) * bytes);
            for (let i = 0; i < count; i++)
              if ((mask >> i) & 1) stored.set(filled(1).subarray(i * bytes, (i + 1) * bytes), i * bytes);
            assert.deepEqual(memory, stored, text);
          }
        }
});

test('a masked store into a page that is not present changes nothing before it', () => {
  for (const way of ways) {
    const guest = guestOf('64', way);
    const place = DATA_PAGES * 4096 - 16;
    guest.vcpu.fields.set64('rbx', dataStart(guest.kind) + BigInt(place));
    guest.write('data', place, new Uint8Array(16).fill(0x77));
    setYmm(guest, 3, new Uint8Array(32).fill(0xff));
    assert.equal(run(guest, vex({ map: 2, pp: 1, l: 1, vvvv: 3 }, 0x2e, 0x0b)), 14);
    assert.equal(guest.vcpu.fields.get64('cr2'), dataStart(guest.kind) + BigInt(place + 16));
    const memory = guest.vm.ram.subarray(guest.physical('data', place)).subarray(0, 16);
    assert.deepEqual(Uint8Array.from(memory), new Uint8Array(16).fill(0x77));
    // The same of a plain store of 32 bytes.
    guest.reset();
    guest.vcpu.fields.set64('rbx', dataStart(guest.kind) + BigInt(place));
    guest.write('data', place, new Uint8Array(16).fill(0x77));
    assert.equal(run(guest, [0xc5, 0xfc, 0x11, 0x0b]), 14);
    assert.deepEqual(Uint8Array.from(memory), new Uint8Array(16).fill(0x77));
  }
});

// --- the prefix
const ADDPS = [0xc5, 0xe8, 0x58, 0xcb]; // vaddps xmm1, xmm2, xmm3
test('LOCK, 66, F2, F3 and REX before VEX, and vvvv where it is not used, are undefined', () => {
  for (const way of ways) {
    assert.equal(run(guestOf('64', way), ADDPS), null);
    for (const prefix of [0xf0, 0x66, 0xf2, 0xf3, 0x40, 0x48])
      assert.equal(run(guestOf('64', way), [prefix, ...ADDPS]), 6, `prefix ${prefix.toString(16)}`);
    assert.equal(run(guestOf('64', way), [0x3e, 0x67, ...ADDPS]), null, 'segment and address size are welcome');
    assert.equal(run(guestOf('64', way), [0xc5, 0xe8, 0x51, 0xcb]), 6, 'vsqrtps with vvvv');
    assert.equal(run(guestOf('64', way), [0xc5, 0xfc, 0x12, 0xcb]), 6, 'vmovhlps has no 256-bit form');
    assert.equal(run(guestOf('64', way), vex({ map: 3, pp: 1, w: 0, l: 1 }, 0x00, 0xcb, 0)), 6, 'vpermq wants W');
    assert.equal(run(guestOf('64', way), vex({ map: 3, pp: 1, w: 1, l: 0 }, 0x00, 0xcb, 0)), 6, 'and 256 bits');
    assert.equal(run(guestOf('64', way), [0xc4, 0xe4, 0x68, 0x58, 0xcb]), 6, 'there is no map 4');
  }
});

test('VEX exists in protected mode of every size, and in neither real nor virtual-8086 mode', () => {
  for (const way of ways) {
    for (const kind of ['32', 'segments', '16'] as const) assert.equal(run(guestOf(kind, way), ADDPS), null, kind);
    for (const kind of ['v86', 'real'] as const) assert.equal(run(guestOf(kind, way), ADDPS), 6, kind);
  }
});

test('the operating system switches AVX on by CR4.OSXSAVE and XCR0; CR0.TS makes it #NM; BMI does not depend on it', () => {
  const andn = vex({ map: 2, pp: 0, vvvv: 1 }, 0xf2, 0xc2);
  for (const way of ways) {
    const off = (change: (guest: Guest) => void): Guest => {
      const guest = guestOf('64', way);
      change(guest);
      guest.vcpu.cpu.stateReplaced();
      return guest;
    };
    const { fields: state } = guestOf('64', way).vcpu;
    const cr4 = state.get64('cr4');
    const cr0 = state.get64('cr0');
    for (const xcr0 of [1n, 3n]) {
      const guest = off((g) => g.vcpu.fields.set64('xcr0', xcr0));
      assert.equal(run(guest, ADDPS), 6);
      assert.equal(run(guest, andn), null);
    }
    assert.equal(
      run(
        off((g) => g.vcpu.fields.set64('cr4', cr4 & ~(1n << 18n))),
        ADDPS,
      ),
      6,
    );
    assert.equal(
      run(
        off((g) => g.vcpu.fields.set64('cr0', cr0 | 8n)),
        ADDPS,
      ),
      7,
    );
    assert.equal(
      run(
        off((g) => g.vcpu.fields.set64('cr0', cr0 | 4n)),
        ADDPS,
      ),
      null,
      'CR0.EM does not matter to it',
    );
  }
});

// --- upper halves
test('legacy instructions keep upper halves, VEX clears them, VZEROUPPER and VZEROALL clear what the mode has', () => {
  const zeros = new Uint8Array(16);
  for (const way of ways) {
    const guest = guestOf('64', way);
    const fill = (): void => {
      for (let i = 0; i < 16; i++) setYmm(guest, i, filled(i));
    };
    const after = (code: readonly number[], index: number): Uint8Array => {
      guest.reset();
      fill();
      assert.equal(run(guest, code), null);
      return ymm(guest, index);
    };
    for (const code of [
      [0x0f, 0x58, 0xcb], // addps xmm1, xmm3
      [0x66, 0x0f, 0x6e, 0xc8], // movd xmm1, eax
      [0xf3, 0x0f, 0x7e, 0xcb], // movq xmm1, xmm3
      [0x66, 0x0f, 0x38, 0x00, 0xcb], // pshufb xmm1, xmm3
    ])
      assert.deepEqual(after(code, 1).subarray(16), filled(1).subarray(16));
    for (const code of [
      ADDPS,
      [0xc5, 0xf9, 0x6e, 0xc8], // vmovd xmm1, eax
      [0xc5, 0xfa, 0x10, 0xcb], // vmovss xmm1, xmm0, xmm3
      vex({ map: 2, pp: 1, vvvv: 2 }, 0x00, 0xcb), // vpshufb xmm1, xmm2, xmm3
      vex({ map: 3, pp: 1 }, 0x19, 0xd9, 1).with(2, 0x7d), // vextractf128 xmm1, ymm3, 1
    ])
      assert.deepEqual(after(code, 1).subarray(16), zeros);
    assert.deepEqual(after([0xc5, 0xf8, 0x77], 15), Uint8Array.from([...filled(15).subarray(0, 16), ...zeros]));
    assert.deepEqual(after([0xc5, 0xfc, 0x77], 15), new Uint8Array(32));

    const short = guestOf('32', way);
    for (let i = 0; i < 16; i++) setYmm(short, i, filled(i));
    assert.equal(run(short, [0xc5, 0xfc, 0x77]), null);
    assert.deepEqual(ymm(short, 7), new Uint8Array(32));
    assert.deepEqual(ymm(short, 8), filled(8));
  }
});

test('256-bit operations raise what both halves raise, and #XM if one of it is not masked', () => {
  for (const way of ways) {
    const guest = guestOf('64', way);
    // vdivps ymm1, ymm2, ymm3: 1 / 3 below is inexact, 1 / 0 above divides by zero.
    const set = (mxcsr: number): void => {
      guest.reset();
      const single = (values: readonly number[]) => new Uint8Array(Float32Array.from(values).buffer);
      setYmm(guest, 1, filled(1));
      setYmm(guest, 2, single([1, 1, 1, 1, 1, 1, 1, 1]));
      setYmm(guest, 3, single([3, 1, 1, 1, 1, 1, 0, 1]));
      guest.vcpu.fields.set32('mxcsr', mxcsr);
    };
    const divide = [0xc5, 0xec, 0x5e, 0xcb];
    set(0x1f80);
    assert.equal(run(guest, divide), null);
    assert.equal(guest.vcpu.fields.get32('mxcsr'), 0x1fa4);
    const high = new Float32Array(ymm(guest, 1).buffer);
    assert.deepEqual([high[0], high[1], high[6]], [Math.fround(1 / 3), 1, Number.POSITIVE_INFINITY]);
    // A division by zero that is not masked keeps all lanes from being computed: no inexact flag.
    set(0x1d80);
    assert.equal(run(guest, divide), 19);
    assert.equal(guest.vcpu.fields.get32('mxcsr'), 0x1d84);
    assert.deepEqual(ymm(guest, 1), filled(1));
    // An inexact result that is not masked comes with the other's flag.
    set(0x0f80);
    assert.equal(run(guest, divide), 19);
    assert.equal(guest.vcpu.fields.get32('mxcsr'), 0x0fa4);
  }
});
