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
export const MXCSR_AT = 24;
export const VECTORS_AT = 160;
export const MXCSR_MASK = 0xffff;

/** Words of the state's registers, and offsets of the first x87 and the first xmm one. */
const word = (name: string) => offsetOf(name) >> 2;
export const FCW = word('fcw');
export const FSW = word('fsw');
export const FTW = word('ftw');
export const FOP = word('fop');
export const FIP = word('fip');
export const FDP = word('fdp');
export const FCS = word('fcs');
export const FDS = word('fds');
export const MXCSR = word('mxcsr');
export const FPR = offsetOf('fpr0');
export const XMM = offsetOf('xmm0');
if (offsetOf('fpr7') !== FPR + 7 * 16 || offsetOf('xmm15') !== XMM + 15 * 16)
  throw new Error('fxsave: the registers do not stand in their order');
/** FCW after FNINIT, and in the initial configuration. */
export const FCW_INITIAL = 0x37f;

export interface AreaFormat {
  /** REX.W: 64-bit instruction and data pointers without selectors. */
  readonly wide: boolean;
  /** 16 in 64-bit mode, 8 outside it. */
  readonly vectors: 8 | 16;
}

/** Writes the state to the area; vectors that the format leaves out keep what the area holds. */
export function saveArea(state: CpuState, area: Uint8Array, { wide, vectors }: AreaFormat): void {
  saveX87(state, area, wide);
  const view = new DataView(area.buffer, area.byteOffset, FXSAVE_BYTES);
  view.setUint32(MXCSR_AT, state.u32[MXCSR]!, true);
  view.setUint32(MXCSR_AT + 4, MXCSR_MASK, true);
  area.set(state.u8.subarray(XMM, XMM + 16 * vectors), VECTORS_AT);
}
/** The x87 part of {@link saveArea}: bytes 0-23 and 32-159. */
export function saveX87({ u32, u8 }: CpuState, area: Uint8Array, wide: boolean): void {
  const view = new DataView(area.buffer, area.byteOffset, FXSAVE_BYTES);
  const fsw = u32[FSW]!;
  view.setUint16(0, u32[FCW]!, true);
  view.setUint16(2, fsw, true);
  view.setUint16(4, u32[FTW]! & 0xff, true);
  view.setUint16(6, u32[FOP]! & 0x7ff, true);
  view.setUint32(8, u32[FIP]!, true);
  view.setUint32(12, wide ? u32[FIP + 1]! : u32[FCS]! & 0xffff, true);
  view.setUint32(16, u32[FDP]!, true);
  view.setUint32(20, wide ? u32[FDP + 1]! : u32[FDS]! & 0xffff, true);
  // From TOP on, and round.
  const top = FPR + 16 * ((fsw >> 11) & 7);
  area.set(u8.subarray(top, FPR + 128), 32);
  if (top > FPR) area.set(u8.subarray(FPR, top), 32 + FPR + 128 - top);
  for (let at = 32 + 10; at < VECTORS_AT; at += 16) {
    view.setUint16(at, 0, true);
    view.setUint32(at + 2, 0, true);
  }
}

/** Reads the state from the area; false (and nothing changed) if its MXCSR has reserved bits set: #GP(0). */
export function restoreArea(state: CpuState, area: Uint8Array, { wide, vectors }: AreaFormat): boolean {
  const view = new DataView(area.buffer, area.byteOffset, FXSAVE_BYTES);
  const mxcsr = view.getUint32(MXCSR_AT, true);
  if ((mxcsr & ~MXCSR_MASK) !== 0) return false;
  restoreX87(state, area, wide);
  state.u32[MXCSR] = mxcsr;
  state.u8.set(area.subarray(VECTORS_AT, VECTORS_AT + 16 * vectors), XMM);
  return true;
}
/** The x87 part of {@link restoreArea}. */
export function restoreX87({ u32, u8 }: CpuState, area: Uint8Array, wide: boolean): void {
  const view = new DataView(area.buffer, area.byteOffset, FXSAVE_BYTES);
  const fcw = (view.getUint16(0, true) & 0x1f3f) | 0x40;
  // Error summary and busy follow from the exceptions that are not masked.
  const flags = view.getUint16(2, true) & 0x7f7f;
  const fsw = flags | ((flags & ~fcw & 0x3f) !== 0 ? 0x8080 : 0);
  u32[FCW] = fcw;
  u32[FSW] = fsw;
  u32[FTW] = view.getUint8(4);
  u32[FOP] = view.getUint16(6, true) & 0x7ff;
  u32[FIP] = view.getUint32(8, true);
  u32[FIP + 1] = wide ? view.getUint32(12, true) : 0;
  u32[FDP] = view.getUint32(16, true);
  u32[FDP + 1] = wide ? view.getUint32(20, true) : 0;
  u32[FCS] = wide ? 0 : view.getUint16(12, true);
  u32[FDS] = wide ? 0 : view.getUint16(20, true);
  const top = FPR + 16 * ((fsw >> 11) & 7);
  const first = FPR + 128 - top;
  u8.set(area.subarray(32, 32 + first), top);
  if (first < 128) u8.set(area.subarray(32 + first, VECTORS_AT), FPR);
  for (let at = (FPR + 8) >> 2; at < (FPR + 128) >> 2; at += 4) {
    u32[at] = u32[at]! & 0xffff;
    u32[at + 1] = 0;
  }
}
