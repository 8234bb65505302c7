/**
 * Virtual-8086 mode with and without its extensions, and protected-mode virtual interrupts, in both engines. SDM volume 3,
 * chapter 21.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Guest, type GuestKind } from '../../runtime/lockstep/guest.ts';
import { IMAGE } from '../../runtime/lockstep/machine-image.ts';
import { vmModules } from './modules.ts';

const kind: GuestKind = { mode: '32', cpl: 3, paging: '32-bit', code: 0x90000n, data: 0xa0000n };
const VM = 0x20000;
const VIF = 0x80000;
const VIP = 0x100000;
const CR4 = { vme: 1, pvi: 2 } as const;
const USABLE_DATA = 0x100f3;

interface Start {
  readonly flags: number;
  readonly cr4?: number;
  readonly code: readonly number[];
}
interface End {
  readonly vector: number;
  readonly errorCode: number;
  readonly ax: number;
  readonly bx: number;
  /** Flags and instruction pointer that the exception has pushed. */
  readonly flags: number;
  readonly ip: number;
}

/** Runs 16-bit code in virtual-8086 mode, or 32-bit code at CPL 3, until an exception. */
function run({ flags, cr4 = 0, code }: Start): End {
  let first: End | null = null;
  for (const way of ['never', 'first'] as const) {
    const guest = new Guest(kind, way, vmModules());
    const { fields: state, cpu } = guest.vcpu;
    guest.write('code', 0, Uint8Array.from(code));
    const virtual = (flags & VM) !== 0;
    if (virtual) {
      for (const [name, selector] of [
        ['cs', 0x9000],
        ['ss', 0xa000],
        ['ds', 0xa000],
        ['es', 0xa000],
      ] as const) {
        state.set32(`${name}Selector`, selector);
        state.set64(`${name}Base`, BigInt(selector * 16));
        state.set32(`${name}Limit`, 0xffff);
        state.set32(`${name}Access`, USABLE_DATA);
      }
    }
    state.set64('rip', virtual ? 0n : kind.code);
    state.set64('rsp', virtual ? 0x3000n : kind.data + 0x3000n);
    state.set64('rax', 0n);
    state.set64('rbx', 0n);
    state.set64('cr4', state.get64('cr4') | BigInt(cr4));
    cpu.processor.setRflags(flags | 2);
    cpu.stateReplaced();
    assert.ok(guest.run(1000));
    const { ram } = guest.vm;
    const view = new DataView(ram.buffer, ram.byteOffset, ram.byteLength);
    const frame = state.get32('rsp');
    const end = {
      vector: (state.get32('rip') - 1 - IMAGE.handlers) / 16,
      errorCode: view.getUint32(frame, true),
      ax: state.get32('rax'),
      bx: state.get32('rbx'),
      ip: view.getUint32(frame + 4, true),
      flags: view.getUint32(frame + 12, true),
    };
    if (first !== null) assert.deepEqual(end, first, 'both engines');
    first = end;
  }
  return first!;
}

const HLT = 0xf4;
// cli; pushf; pop ax; sti; pushf; pop bx; hlt
const toggle = [0xfa, 0x9c, 0x58, 0xfb, 0x9c, 0x5b, HLT];

test('without the extensions CLI, STI, PUSHF, POPF, INT and IRET are the monitor’s unless IOPL is 3', () => {
  for (const code of [[0xfa], [0xfb], [0x9c], [0x9d], [0xcd, 0x21], [0xcf]]) {
    const { vector, errorCode, ip } = run({ flags: VM, code });
    assert.deepEqual([vector, errorCode, ip], [13, 0, 0], code.join());
  }
  const trusted = run({ flags: VM | 0x3200, code: toggle });
  assert.deepEqual([trusted.ax & 0x3200, trusted.bx & 0x3200, trusted.ip], [0x3000, 0x3200, 6]);
  assert.equal(trusted.flags & (VIF | 0x200), 0x200);
});

test('with them CLI and STI change VIF, which PUSHF shows as IF with an IOPL of 3', () => {
  const end = run({ flags: VM | 0x200 | VIF, cr4: CR4.vme, code: toggle });
  assert.deepEqual([end.ax & 0x3200, end.bx & 0x3200], [0x3000, 0x3200]);
  assert.deepEqual([end.vector, end.ip, end.flags & (VIF | 0x3200)], [13, 6, VIF | 0x200]);
});

test('a pending virtual interrupt makes STI, and POPF that sets IF, fault; so does POPF that sets TF', () => {
  assert.deepEqual(run({ flags: VM | VIP, cr4: CR4.vme, code: [0x90, 0xfb] }).ip, 1);
  const popf = (flags: number, value: number) =>
    run({ flags: VM | flags, cr4: CR4.vme, code: [0x68, value & 0xff, value >> 8, 0x9d, 0x9c, 0x58, HLT] });
  assert.equal(popf(VIP, 0x200).ip, 3);
  assert.equal(popf(VIP, 0x000).ip, 6);
  assert.equal(popf(0, 0x100).ip, 3);
  const set = popf(0, 0x3241);
  assert.deepEqual([set.ip, set.ax & 0x3241, set.flags & (VIF | 0x3200)], [6, 0x3241, VIF]);
  assert.equal(run({ flags: VM, cr4: CR4.vme, code: [0x66, 0x9d] }).ip, 0, 'not with 32 bits');
  assert.equal(run({ flags: VM, cr4: CR4.vme, code: [0x66, 0x9c] }).ip, 0);
});

test('in protected mode at CPL 3 CR4.PVI gives CLI and STI a VIF', () => {
  const code = [0xfb, 0xfa, 0xfb, HLT];
  assert.equal(run({ flags: 0x200, code }).ip, Number(kind.code));
  const end = run({ flags: 0x200, cr4: CR4.pvi, code });
  assert.deepEqual([end.ip - Number(kind.code), end.flags & (VIF | 0x200)], [3, VIF | 0x200]);
  assert.equal(run({ flags: VIP, cr4: CR4.pvi, code }).ip, Number(kind.code));
  assert.equal(run({ flags: 0x3000, cr4: CR4.pvi, code }).flags & (VIF | 0x200), 0x200, 'IOPL 3: IF itself');
});
