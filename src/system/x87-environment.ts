/**
 * The x87 environment and state in memory: FNSTENV, FLDENV, FNSAVE, FRSTOR. SDM volume 1, section 8.1.10, figures 8-9 to 8-12.
 *
 *   control word, status word, tag word, instruction pointer and opcode, operand pointer: seven words of 16 or 32 bits,
 *   the pointers with selectors in protected mode and as linear addresses in real and virtual-8086 mode; with FNSAVE
 *   then ST0-ST7, ten bytes each.
 */
import type { CpuState } from '../state/cpu-state.ts';
import { offsetOf } from '../state/layout.ts';
import type { Processor } from './processor.ts';

export interface EnvironmentFormat {
  /** Operand size: seven words of 16 bits, or of 32. */
  readonly width: 16 | 32;
  /** Pointers as linear addresses, without selectors. */
  readonly real: boolean;
}

const SUMMARY = 0x8080;
const fpr = Array.from({ length: 8 }, (_, i) => offsetOf(`fpr${i}`));
const bytesOf = (width: 16 | 32): number => (width === 16 ? 14 : 28);

/** The full tag word: two bits for each physical register, 0 = valid, 1 = zero, 2 = special, 3 = empty. */
export function fullTags(state: CpuState): number {
  const used = state.get32('ftw');
  let tags = 0;
  for (let i = 0; i < 8; i++) {
    const at = fpr[i]!;
    const low = state.u32[at >> 2]!;
    const high = state.u32[(at >> 2) + 1]!;
    const exponent = state.u16[(at >> 1) + 4]! & 0x7fff;
    let tag = 3;
    if ((used >> i) & 1) {
      if (exponent === 0 && low === 0 && high === 0) tag = 1;
      else tag = exponent === 0 || exponent === 0x7fff || high >>> 31 === 0 ? 2 : 0;
    }
    tags |= tag << (2 * i);
  }
  return tags;
}

/** Writes the environment to the start of `area`. */
export function saveEnvironment(state: CpuState, area: Uint8Array, { width, real }: EnvironmentFormat): void {
  const view = new DataView(area.buffer, area.byteOffset);
  const wide = width === 32;
  // The upper halves of words that have none read as ones.
  const put = (index: number, value: number, upper = 0xffff): void => {
    if (wide) view.setUint32(4 * index, (value & 0xffff) | (upper << 16), true);
    else view.setUint16(2 * index, value, true);
  };
  const fop = state.get32('fop') & 0x7ff;
  const [fip, fdp] = [Number(state.get64('fip') & 0xffffffffn), Number(state.get64('fdp') & 0xffffffffn)];
  const [fcs, fds] = [state.get32('fcs') & 0xffff, state.get32('fds') & 0xffff];
  put(0, state.get32('fcw'));
  put(1, state.get32('fsw'));
  put(2, fullTags(state));
  if (real) {
    const [code, data] = [(fip + fcs * 16) >>> 0, (fdp + fds * 16) >>> 0];
    const high = (linear: number): number => (wide ? linear >>> 16 : (linear >>> 16) & 15);
    put(3, code);
    put(4, (high(code) << 12) | fop, high(code) >>> 4);
    put(5, data);
    put(6, high(data) << 12, high(data) >>> 4);
  } else if (wide) {
    put(3, fip, fip >>> 16);
    put(4, fcs, fop);
    put(5, fdp, fdp >>> 16);
    put(6, fds);
  } else {
    put(3, fip);
    put(4, fcs);
    put(5, fdp);
    put(6, fds);
  }
}

/** Reads the environment from the start of `area`. */
export function loadEnvironment(state: CpuState, area: Uint8Array, { width, real }: EnvironmentFormat): void {
  const view = new DataView(area.buffer, area.byteOffset);
  const wide = width === 32;
  const get = (index: number): number => (wide ? view.getUint32(4 * index, true) : view.getUint16(2 * index, true));
  const fcw = (get(0) & 0x1f3f) | 0x40;
  // Error summary and busy follow from the exceptions that are not masked.
  const flags = get(1) & 0x7f7f;
  const tags = get(2);
  let used = 0;
  for (let i = 0; i < 8; i++) if (((tags >> (2 * i)) & 3) !== 3) used |= 1 << i;
  state.set32('fcw', fcw);
  state.set32('fsw', flags | ((flags & ~fcw & 0x3f) !== 0 ? SUMMARY : 0));
  state.set32('ftw', used);
  let [fip, fcs, fdp, fds] = [get(3), get(4) & 0xffff, get(5), get(6) & 0xffff];
  if (real) {
    const linear = (low: number, high: number): number => ((low & 0xffff) | ((high >>> 12) << 16)) >>> 0;
    state.set32('fop', get(4) & 0x7ff);
    [fip, fdp, fcs, fds] = [linear(fip, get(4)), linear(fdp, get(6)), 0, 0];
  } else state.set32('fop', wide ? (get(4) >>> 16) & 0x7ff : 0);
  state.set64('fip', BigInt(fip));
  state.set64('fdp', BigInt(fdp));
  state.set32('fcs', fcs);
  state.set32('fds', fds);
}

/** FNINIT. */
export function initialise(state: CpuState): void {
  state.set32('fcw', 0x37f);
  for (const field of ['fsw', 'ftw', 'fop', 'fcs', 'fds']) state.set32(field, 0);
  state.set64('fip', 0n);
  state.set64('fdp', 0n);
}

const formatOf = (p: Processor): EnvironmentFormat => ({
  width: p.argument(1) === 16 ? 16 : 32,
  real: p.realAddressing,
});
const register = (state: CpuState, place: number): number => fpr[((state.get32('fsw') >> 11) + place) & 7]!;

/** `fnstenv` (linear address, operand size): the definition has probed the area. */
export function fnstenv(p: Processor): void {
  const format = formatOf(p);
  const area = new Uint8Array(bytesOf(format.width));
  saveEnvironment(p.state, area, format);
  p.linear.writeBytes(p.argumentAddress(0), area);
  p.state.set32('fcw', p.state.get32('fcw') | 0x3f);
  p.state.set32('fsw', p.state.get32('fsw') & ~SUMMARY);
  p.advance();
}

/** `fldenv` (linear address, operand size). */
export function fldenv(p: Processor): void {
  const format = formatOf(p);
  const area = new Uint8Array(bytesOf(format.width));
  p.linear.readBytes(p.argumentAddress(0), area);
  loadEnvironment(p.state, area, format);
  p.engine.contextChanged();
  p.advance();
}

/** `fnsave` (linear address, operand size). */
export function fnsave(p: Processor): void {
  const format = formatOf(p);
  const head = bytesOf(format.width);
  const area = new Uint8Array(head + 80);
  saveEnvironment(p.state, area, format);
  for (let i = 0; i < 8; i++) {
    const from = register(p.state, i);
    area.set(p.state.u8.subarray(from, from + 10), head + 10 * i);
  }
  p.linear.writeBytes(p.argumentAddress(0), area);
  initialise(p.state);
  p.engine.contextChanged();
  p.advance();
}

/** `frstor` (linear address, operand size). */
export function frstor(p: Processor): void {
  const format = formatOf(p);
  const head = bytesOf(format.width);
  const area = new Uint8Array(head + 80);
  p.linear.readBytes(p.argumentAddress(0), area);
  loadEnvironment(p.state, area, format);
  for (let i = 0; i < 8; i++) {
    const to = register(p.state, i);
    p.state.u8.set(area.subarray(head + 10 * i, head + 10 * i + 10), to);
    p.state.u8.fill(0, to + 10, to + 16);
  }
  p.engine.contextChanged();
  p.advance();
}
