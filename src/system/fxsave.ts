/**
 * The 512-byte FXSAVE area: written from and read into a vCPU's state. SDM volume 1, section 10.5.1, table 10-2.
 *
 *   0 FCW  2 FSW  4 FTW (abridged)  6 FOP  8 FIP, FCS or 64-bit FIP  16 FDP, FDS or 64-bit FDP  24 MXCSR  28 MXCSR_MASK
 *   32 ST0-ST7, 16 bytes each  160 XMM0-XMM15  416 reserved (FXSAVE leaves it alone)
 */
import type { CpuState } from '../state/cpu-state.ts';
import { offsetOf } from '../state/layout.ts';

export const FXSAVE_BYTES = 512;
/** Bytes at the start of the area that FXSAVE writes. */
export const FXSAVE_WRITTEN = 416;
const MXCSR_MASK = 0xffff;
const fpr = Array.from({ length: 8 }, (_, i) => offsetOf(`fpr${i}`));
const xmm = Array.from({ length: 16 }, (_, i) => offsetOf(`xmm${i}`));

export interface AreaFormat {
  /** REX.W: 64-bit instruction and data pointers without selectors. */
  readonly wide: boolean;
  /** 16 in 64-bit mode, 8 outside it. */
  readonly vectors: 8 | 16;
}

/** Writes the state to the area; vectors that the format leaves out keep what the area holds. */
export function saveArea(state: CpuState, area: Uint8Array, { wide, vectors }: AreaFormat): void {
  const view = new DataView(area.buffer, area.byteOffset, FXSAVE_BYTES);
  const fsw = state.get32('fsw');
  view.setUint16(0, state.get32('fcw'), true);
  view.setUint16(2, fsw, true);
  view.setUint8(4, state.get32('ftw'));
  view.setUint8(5, 0);
  view.setUint16(6, state.get32('fop') & 0x7ff, true);
  view.setBigUint64(8, state.get64('fip'), true);
  view.setBigUint64(16, state.get64('fdp'), true);
  if (!wide) {
    view.setUint32(12, state.get32('fcs') & 0xffff, true);
    view.setUint32(20, state.get32('fds') & 0xffff, true);
  }
  view.setUint32(24, state.get32('mxcsr'), true);
  view.setUint32(28, MXCSR_MASK, true);
  const top = (fsw >> 11) & 7;
  for (let i = 0; i < 8; i++) {
    const from = fpr[(top + i) & 7]!;
    area.set(state.u8.subarray(from, from + 10), 32 + 16 * i);
    area.fill(0, 32 + 16 * i + 10, 48 + 16 * i);
  }
  for (let i = 0; i < vectors; i++) area.set(state.u8.subarray(xmm[i]!, xmm[i]! + 16), 160 + 16 * i);
}

/** Reads the state from the area; false (and nothing changed) if its MXCSR has reserved bits set: #GP(0). */
export function restoreArea(state: CpuState, area: Uint8Array, { wide, vectors }: AreaFormat): boolean {
  const view = new DataView(area.buffer, area.byteOffset, FXSAVE_BYTES);
  const mxcsr = view.getUint32(24, true);
  if ((mxcsr & ~MXCSR_MASK) !== 0) return false;
  const fcw = (view.getUint16(0, true) & 0x1f3f) | 0x40;
  // Error summary and busy follow from the exceptions that are not masked.
  const flags = view.getUint16(2, true) & 0x7f7f;
  const fsw = flags | ((flags & ~fcw & 0x3f) !== 0 ? 0x8080 : 0);
  state.set32('fcw', fcw);
  state.set32('fsw', fsw);
  state.set32('ftw', view.getUint8(4));
  state.set32('fop', view.getUint16(6, true) & 0x7ff);
  if (wide) {
    state.set64('fip', view.getBigUint64(8, true));
    state.set64('fdp', view.getBigUint64(16, true));
    state.set32('fcs', 0);
    state.set32('fds', 0);
  } else {
    state.set64('fip', BigInt(view.getUint32(8, true)));
    state.set64('fdp', BigInt(view.getUint32(16, true)));
    state.set32('fcs', view.getUint16(12, true));
    state.set32('fds', view.getUint16(20, true));
  }
  state.set32('mxcsr', mxcsr);
  const top = (fsw >> 11) & 7;
  for (let i = 0; i < 8; i++) {
    const to = fpr[(top + i) & 7]!;
    state.u8.set(area.subarray(32 + 16 * i, 42 + 16 * i), to);
    state.u8.fill(0, to + 10, to + 16);
  }
  for (let i = 0; i < vectors; i++) state.u8.set(area.subarray(160 + 16 * i, 176 + 16 * i), xmm[i]!);
  return true;
}
