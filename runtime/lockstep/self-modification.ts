/**
 * Stores of a random program into its own code: a bit, a byte, some of them or sixteen, through the address at which the
 * code is executed or through another one of the same page, in blocks ahead, behind, or the one that runs. (SDM volume 3A,
 * 13.1.3, cross-modifying and self-modifying code.)
 */
import { CODE_ALIAS, codeSelector, codeSizeOf, type GuestKind, isFlat } from './guest.ts';
import type { Item } from './program-items.ts';
import { moveImmediate } from './random-encoding.ts';
import type { Random } from './random-numbers.ts';

/** ES is left as it was found: SS is the segment of the data. */
const restoreExtra = [0x8c, 0xd0, 0x8e, 0xc0]; // mov eax, ss; mov es, eax

/** A store into a block's code. `block`: its number. */
export function selfModification(kind: GuestKind, random: Random, block: number): Item[] {
  const size = codeSizeOf(kind.mode);
  const items: Item[] = [];
  const plain = (...bytes: number[]) => void items.push({ bytes, fix: null });
  const flat = isFlat(kind.mode);
  const alias = random(3) === 0;
  if (!flat) {
    if (kind.mode === 'real' || kind.mode === 'v86')
      plain(0x8c, 0xc8); // mov ax, cs
    else plain(...moveImmediate(size, 0, size, BigInt(codeSelector(kind, alias))));
    plain(0x8e, 0xc0); // mov es, eax
  }
  const pointer = moveImmediate(size, 7, size, 0n);
  const plus = random(random(4) === 0 ? 60 : 16) - (flat && alias ? CODE_ALIAS : 0);
  const at = pointer.length - size / 8;
  items.push({ bytes: pointer, fix: { kind: 'absolute', at, size: size / 8, end: 0, to: block, plus } });
  const modrm = (reg: number) => (reg << 3) | (size === 16 ? 5 : 7); // [di], [edi]
  const prefix = flat ? [] : [0x26];
  const byte = random(256);
  switch (random(10)) {
    case 0:
      plain(...prefix, 0xc6, modrm(0), byte); // mov byte [edi], byte
      break;
    case 1:
      plain(...prefix, 0x01, modrm(random(8))); // add [edi], a register
      break;
    case 2:
      plain(...prefix, 0xf0, 0x0f, 0xc0, modrm(random(4))); // lock xadd [edi], a register's byte
      break;
    case 3:
      plain(...prefix, 0x0f, 0x11, modrm(random(8))); // movups [edi], xmm
      break;
    case 4:
      items.push({ bytes: moveImmediate(size, 1, size, BigInt(random(12))), fix: null });
      plain(0xf3, random(2) === 0 ? 0xaa : 0xab); // rep stos
      break;
    default:
      plain(...prefix, 0x80, modrm(6), 1 << random(8)); // xor byte [edi], a bit
  }
  if (!flat) plain(...restoreExtra);
  return items;
}
