/** A guest that counts, writes what it has counted, and checks what it wrote: it crashes if any of it was lost. */
import { Assembler, dword, to } from '../engines/assembler.ts';
import { origin } from './vm-harness.ts';

/**
 * Counts in eax, and writes the count and a sum of all counts so far over 64 pages from 1 MiB on, one page after the other;
 * checks what it wrote there the time before, and crashes if it is not that.
 */
export const counting = new Assembler(BigInt(origin))
  .put(0x31, 0xc0, 0xbe, dword(0x10_0000)) // xor eax, eax; mov esi, 100000h
  .label('next')
  .put(0x89, 0xc3, 0x83, 0xeb, 64, 0x78, to('young', 1)) // mov ebx, eax; sub ebx, 64; js young
  .put(0x39, 0x1e, 0x75, to('lost', 1)) // cmp [esi], ebx; jne lost
  .label('young')
  .put(0x89, 0x06, 0x01, 0x46, 0x40, 0x40) // mov [esi], eax; add [esi + 40h], eax; inc eax
  .put(0x81, 0xc6, dword(0x1000), 0x81, 0xfe, dword(0x14_0000)) // add esi, 1000h; cmp esi, 140000h
  .put(0x72, to('next', 1), 0xbe, dword(0x10_0000), 0xeb, to('next', 1)) // jb next; mov esi, 100000h; jmp next
  .label('lost')
  .put(0x0f, 0x0b)
  .finish();
