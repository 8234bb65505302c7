/**
 * Message-signalled interrupts: a write of `data` to `address` taken apart. SDM volume 3, section 11.11; the wider
 * destinations are those of KVM: bits 31-8 of an x2APIC id in address bits 63-40 (KVM_CAP_X2APIC_API), or bits 14-8 in
 * address bits 11-5 (the extended destination id of KVM's and Xen's guests).
 *
 *   address: 63-40 destination 31-8, 39-32 zero, 31-20 FEEH, 19-12 destination 7-0, 11-5 destination 14-8, 3 redirection
 *            hint, 2 logical
 *   data:    15 level-triggered, 14 assert, 10-8 delivery mode, 7-0 vector
 */
import type { InterruptMessage } from '../../src/system/apic-bus.ts';
import { InterruptError } from '../errors.ts';

const REDIRECTION_HINT = 1 << 3;
const LOGICAL = 1 << 2;
const ASSERT = 1 << 14;
const LEVEL = 1 << 15;
/** SIPI comes from processors alone; 3 is reserved. */
const noModes: readonly number[] = [3, 6];

const hex = (value: number | bigint) => `0x${value.toString(16)}`;

/**
 * @returns null for the de-assertion of a level-triggered interrupt, which no local APIC takes notice of
 * @throws InterruptError `bad-msi` naming address or data
 */
export function decodeMsi(address: number | bigint, data: number): InterruptMessage | null {
  const isAddress =
    typeof address === 'bigint' ? address >= 0n && address < 2n ** 64n : Number.isSafeInteger(address) && address >= 0;
  if (!isAddress) throw new InterruptError('bad-msi', `MSI address ${String(address)}: not an address of 64 bits`);
  if (!Number.isInteger(data) || data < 0 || data > 0xffff_ffff)
    throw new InterruptError('bad-msi', `MSI data ${String(data)}: not a value of 32 bits`);
  const low = typeof address === 'bigint' ? Number(address & 0xffff_ffffn) : address % 2 ** 32;
  const high = typeof address === 'bigint' ? Number(address >> 32n) : Math.floor(address / 2 ** 32);
  if (low >>> 20 !== 0xfee)
    throw new InterruptError('bad-msi', `MSI address ${hex(address)}: the local APICs are at 0xfee00000`);
  const extended = (low >>> 5) & 0x7f;
  if ((high & 0xff) !== 0 || (high !== 0 && extended !== 0))
    throw new InterruptError('bad-msi', `MSI address ${hex(address)}: no such destination`);
  const mode = (data >>> 8) & 7;
  if (noModes.includes(mode))
    throw new InterruptError('bad-msi', `MSI data ${hex(data)}: no delivery mode ${mode}, vector ${data & 0xff}`);
  const level = (data & LEVEL) !== 0;
  if (level && (data & ASSERT) === 0) return null;
  const beyond = ((high >>> 8) + extended) * 2 ** 8;
  return {
    destination: ((low >>> 12) & 0xff) + beyond,
    wide: beyond !== 0,
    logical: (low & LOGICAL) !== 0,
    mode,
    vector: data & 0xff,
    level,
    anyOne: (low & REDIRECTION_HINT) !== 0,
  };
}
