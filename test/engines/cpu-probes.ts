/** An instruction for each bit of CPUID, and whether a guest can execute it. */
import assert from 'node:assert/strict';
import { codeStart, dataStart, Guest, type GuestKind } from '../../runtime/lockstep/guest.ts';
import { IMAGE } from '../../runtime/lockstep/machine-image.ts';
import type { CpuModelName } from '../../src/system/cpu-models.ts';
import { cpuidLeaf } from '../../src/system/cpuid.ts';
import type { CpuidPolicy } from '../../src/system/cpuid-policy.ts';
import { dword } from './assembler.ts';
import { vmModules } from './modules.ts';
import { rdmsr, setControl } from './system-code.ts';

export const kinds = {
  '32': { mode: '32', cpl: 0, paging: '32-bit', code: 0x20000000n, data: 0x30000000n },
  '64': { mode: '64', cpl: 0, paging: '4-level', code: 0x34500000n, data: 0x34567000n },
} as const satisfies Record<string, GuestKind>;
export type Mode = keyof typeof kinds;

export interface Probe {
  readonly mode: Mode;
  readonly code: readonly number[];
}
type Bytes = readonly (number | readonly number[])[];
const probe = (...bytes: Bytes): Probe => ({ mode: '32', code: bytes.flat() });
const probe64 = (...bytes: Bytes): Probe => ({ mode: '64', code: bytes.flat() });
/** Nothing to execute: the bit says how something behaves that other tests look at. */
const nothing = null;

/** Sets a bit of CR4, through rAX. */
const cr4 = (bit: number) => setControl(4, 2 ** bit);
/** CR4.OSXSAVE, and XCR0 for x87, SSE and AVX. */
const avxState: Bytes = [...cr4(18), 0x31, 0xc9, 0x31, 0xd2, 0xb8, dword(7), 0x0f, 0x01, 0xd1];
const AT_DATA = 0x07; // ModRM of [rDI], register 0

/** By leaf (with its subleaf, if that is not 0), register and bit. */
export const probes: Readonly<Record<string, Probe | null>> = {
  '1 edx 0': probe(0xd9, 0xe8),
  '1 edx 1': probe(cr4(0)),
  '1 edx 2': probe(cr4(3)),
  '1 edx 3': probe(cr4(4)),
  '1 edx 4': probe(0x0f, 0x31),
  '1 edx 5': probe(rdmsr(0x10)),
  '1 edx 6': nothing,
  '1 edx 7': probe(cr4(6)),
  '1 edx 8': probe(0x0f, 0xc7, 0x08 | AT_DATA),
  '1 edx 9': nothing,
  '1 edx 11': probe(rdmsr(0x174)),
  '1 edx 12': probe(rdmsr(0xfe)),
  '1 edx 13': probe(cr4(7)),
  '1 edx 14': probe(rdmsr(0x179)),
  '1 edx 15': probe(0x0f, 0x44, 0xc0),
  '1 edx 16': probe(rdmsr(0x277)),
  '1 edx 17': nothing,
  '1 edx 19': probe(0x0f, 0xae, 0x38 | AT_DATA),
  '1 edx 23': probe(0x0f, 0x77),
  '1 edx 24': probe(0x0f, 0xae, AT_DATA),
  '1 edx 25': probe(0x0f, 0x57, 0xc0),
  '1 edx 26': probe(0x66, 0x0f, 0x57, 0xc0),
  '1 edx 28': nothing,
  '1 ecx 0': probe(0xf2, 0x0f, 0x7c, 0xc0),
  '1 ecx 1': probe(0x66, 0x0f, 0x3a, 0x44, 0xc0, 0),
  '1 ecx 3': nothing,
  '1 ecx 9': probe(0x66, 0x0f, 0x38, 0x1c, 0xc0),
  '1 ecx 12': probe(avxState.flat(), 0xc4, 0xe2, 0x79, 0x98, 0xc0),
  '1 ecx 13': probe64(0x48, 0x0f, 0xc7, 0x08 | AT_DATA),
  '1 ecx 17': probe64(cr4(17)),
  '1 ecx 19': probe(0x66, 0x0f, 0x38, 0x20, 0xc0),
  '1 ecx 20': probe(0x66, 0x0f, 0x38, 0x37, 0xc0),
  '1 ecx 21': nothing,
  '1 ecx 22': probe(0x0f, 0x38, 0xf0, AT_DATA),
  '1 ecx 23': probe(0xf3, 0x0f, 0xb8, 0xc0),
  '1 ecx 24': nothing,
  '1 ecx 25': probe(0x66, 0x0f, 0x38, 0xdc, 0xc0),
  '1 ecx 26': probe(cr4(18), 0x31, 0xc9, 0x0f, 0x01, 0xd0),
  '1 ecx 27': nothing,
  '1 ecx 28': probe(avxState.flat(), 0xc5, 0xfc, 0x57, 0xc0),
  '1 ecx 29': probe(avxState.flat(), 0xc4, 0xe2, 0x79, 0x13, 0xc0),
  '1 ecx 30': probe(0x0f, 0xc7, 0xf0),
  '1 ecx 31': nothing,
  '7 ebx 0': probe64(cr4(16), 0xf3, 0x0f, 0xae, 0xc0),
  '7 ebx 1': probe(rdmsr(0x3b)),
  '7 ebx 3': probe(0xc4, 0xe2, 0x78, 0xf2, 0xc0),
  '7 ebx 5': probe(avxState.flat(), 0xc5, 0xfd, 0xfc, 0xc0),
  '7 ebx 7': probe(cr4(20)),
  '7 ebx 8': probe(0xc4, 0xe2, 0x79, 0xf7, 0xc0),
  '7 ebx 9': nothing,
  '7 ebx 10': probe(0xb8, dword(2), 0x66, 0x0f, 0x38, 0x82, AT_DATA),
  '7 ebx 18': probe(0x0f, 0xc7, 0xf8),
  '7 ebx 19': probe(0x66, 0x0f, 0x38, 0xf6, 0xc0),
  '7 ebx 20': probe(0x0f, 0x01, 0xcb),
  '7 ebx 23': probe(0x66, 0x0f, 0xae, 0x38 | AT_DATA),
  '7 ebx 24': probe(0x66, 0x0f, 0xae, 0x30 | AT_DATA),
  '7 ebx 29': probe(0x0f, 0x38, 0xc8, 0xc0),
  '7 ecx 2': probe(cr4(11)),
  '7 ecx 3': probe64(cr4(22), 0x31, 0xc9, 0x0f, 0x01, 0xee),
  '7 ecx 4': nothing,
  '7 ecx 5': probe(0x31, 0xc9, 0x66, 0x0f, 0xae, 0xf1),
  '7 ecx 9': probe(avxState.flat(), 0xc4, 0xe2, 0x7d, 0xdc, 0xc0),
  '7 ecx 10': probe(avxState.flat(), 0xc4, 0xe3, 0x7d, 0x44, 0xc0, 0),
  // mov eax, cr4; bts eax, 12; mov cr4, eax
  '7 ecx 16': probe(cr4(12)),
  '7 ecx 22': probe(0xf3, 0x0f, 0xc7, 0xf8),
  '7 ecx 27': probe(0x0f, 0x38, 0xf9, AT_DATA),
  '7 ecx 28': probe(0x66, 0x0f, 0x38, 0xf8, AT_DATA),
  '7 edx 4': nothing,
  '7 edx 14': probe(0x0f, 0x01, 0xe8),
  '7 edx 26': probe(rdmsr(0x48)),
  '7 edx 27': nothing,
  '7 edx 29': probe(rdmsr(0x10a)),
  '7.2 edx 4': probe(0x31, 0xd2, 0xb8, dword(0x400), 0xb9, dword(0x48), 0x0f, 0x30),
  '80000001 edx 11': probe64(rdmsr(0xc000_0081)),
  '80000001 edx 20': probe(rdmsr(0xc000_0080), 0x0f, 0xba, 0xe8, 11, 0x0f, 0x30),
  '80000001 edx 26': nothing,
  '80000001 edx 27': probe(0x0f, 0x01, 0xf9),
  '80000001 edx 29': nothing,
  '80000001 ecx 0': probe64(0x9f),
  '80000001 ecx 5': nothing,
  '80000001 ecx 8': probe(0x0f, 0x0d, 0x08 | AT_DATA),
  '80000007 edx 8': nothing,
};

/** The vector of the exception that the code ends in, or null. */
export function run(guest: Guest, { code }: Probe): number | null {
  guest.reset();
  const { fields: state } = guest.vcpu;
  guest.write('code', 0, Uint8Array.from([...code, 0xf4]));
  state.set64('rip', codeStart(guest.kind));
  state.set64('rsp', dataStart(guest.kind) + 0x3000n);
  state.set64('rdi', dataStart(guest.kind));
  assert.ok(guest.run(100), 'it ends');
  const rip = Number(state.get64('rip'));
  return rip > IMAGE.handlers && rip <= IMAGE.handlers + 4096 ? (rip - 1 - IMAGE.handlers) / 16 : null;
}

export function advertised(guest: Guest): Set<string> {
  const { processor } = guest.vcpu.cpu;
  const found = new Set<string>();
  const limit = (leaf: number) => cpuidLeaf(processor, (leaf & 0x8000_0000) >>> 0, 0)[0] >>> 0;
  const places = [[1], [7], [7, 2], [0x8000_0001], [0x8000_0007]] as const;
  for (const [leaf, subleaf = 0] of places) {
    const top = limit(leaf);
    if (leaf > top || leaf >>> 31 !== top >>> 31) continue;
    if (subleaf > cpuidLeaf(processor, leaf, 0)[0]) continue;
    const values = cpuidLeaf(processor, leaf, subleaf);
    const name = subleaf === 0 ? leaf.toString(16) : `${leaf.toString(16)}.${subleaf}`;
    for (const [i, register] of ['eax', 'ebx', 'ecx', 'edx'].entries()) {
      if (i === 0 || (leaf === 1 && i === 1)) continue; // numbers, not features
      for (let bit = 0; bit < 32; bit++) if (((values[i]! >>> bit) & 1) !== 0) found.add(`${name} ${register} ${bit}`);
    }
  }
  return found;
}

/** All advertised bits work, and the others do not; how many there are. */
export function check(model: CpuModelName, way: 'never' | 'first', cpuid: CpuidPolicy = {}): Set<string> {
  const guests = new Map<Mode, Guest>();
  const guestOf = (mode: Mode): Guest => {
    let guest = guests.get(mode);
    if (guest === undefined)
      guests.set(mode, (guest = new Guest(kinds[mode], way, vmModules(), model, undefined, cpuid)));
    return guest;
  };
  const bits = advertised(guestOf('32'));
  for (const bit of advertised(guestOf('64'))) bits.add(bit); // SYSCALL is shown there alone
  for (const bit of bits) assert.ok(bit in probes, `${model}: the test knows no instruction of the bit ${bit}`);
  for (const [bit, question] of Object.entries(probes)) {
    if (question === null) continue;
    if (bits.has(bit)) assert.equal(run(guestOf(question.mode), question), null, `${model}: ${bit} does not work`);
    else if (question.mode === '32' || bits.has('80000001 edx 29'))
      assert.ok([6, 13].includes(run(guestOf(question.mode), question) ?? -1), `${model}: ${bit} is not advertised`);
  }
  return bits;
}
