/**
 * Pure micro-ops that are calls of the arithmetic library (src/softfloat/assembly): cryptography, checksums and string
 * comparisons, for which WebAssembly has nothing. `libraryCalls` names the function of each.
 */
import { type MicroOpSpec, spec } from './micro-op-spec.ts';

const pure = (signature: string): MicroOpSpec => spec('pure', signature);

export const libraryOps = {
  // State and round key.
  'aes.encrypt': pure('vv>v'),
  'aes.encrypt_last': pure('vv>v'),
  'aes.decrypt': pure('vv>v'),
  'aes.decrypt_last': pure('vv>v'),
  'aes.inverse_mix_columns': pure('v>v'),
  'aes.keygen_assist': pure('vi>v'), // round constant
  'sha1.rounds': pure('vvi>v'), // state, message, function 0-3
  'sha1.message2': pure('vv>v'),
  'sha256.rounds': pure('vvv>v'), // C D G H, A B E F, two words with their constants
  'sha256.message1': pure('vv>v'),
  'sha256.message2': pure('vv>v'),
  'i64.carryless_product': pure('ll>v'),
  'crc32c.update': pure('ili>i'), // CRC, data, its bytes (1, 2, 4, 8)
  'strings.compare': pure('vvi>i'), // lengths in bits 0-7 and 8-15, PCMPESTRI's immediate from bit 16 on: IntRes2
} as const;

export type LibraryOp = keyof typeof libraryOps;

export const libraryCalls: Readonly<Record<LibraryOp, string>> = {
  'aes.encrypt': 'aesEncrypt',
  'aes.encrypt_last': 'aesEncryptLast',
  'aes.decrypt': 'aesDecrypt',
  'aes.decrypt_last': 'aesDecryptLast',
  'aes.inverse_mix_columns': 'aesInverseMixColumns',
  'aes.keygen_assist': 'aesKeygenAssist',
  'sha1.rounds': 'sha1Rounds',
  'sha1.message2': 'sha1Message2',
  'sha256.rounds': 'sha256Rounds',
  'sha256.message1': 'sha256Message1',
  'sha256.message2': 'sha256Message2',
  'i64.carryless_product': 'carrylessProduct',
  'crc32c.update': 'crc32c',
  'strings.compare': 'compareStrings',
};
