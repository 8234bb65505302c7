/** Guests that set counter 0 of the interval timer in random ways and read it again and again. */
import { type Assembler, dword, to } from '../engines/assembler.ts';
import { out } from '../engines/system-code.ts';
import { randomNumbers } from '../isa/random.ts';
import { code } from './io-guest.ts';

export const RESULTS = 0x10_0000;

/** mov ecx, count; in al, 40h; stosb; loop */
function readLoop(guest: Assembler, label: string, count: number, ...between: number[]): void {
  guest.put(0xb9, dword(count)).label(label).put(0xe4, 0x40, 0xaa, between, 0x49, 0x0f, 0x85, to(label));
}

/** Reads counter 0 so many times while it counts in mode 2; the values are at {@link RESULTS}. */
export function readingGuest(count: number): Assembler {
  const guest = code().put(out(0x43, 0x34), out(0x40, 0x9b), out(0x40, 0x2e), 0xbf, dword(RESULTS));
  readLoop(guest, 'again', count);
  return guest.put(0xf4);
}

/** Ends with EDI behind the last value that was read. */
export function fuzzedGuest(seed: number, rounds: number): Assembler {
  const random = randomNumbers(seed);
  const guest = code().put(0xbf, dword(RESULTS));
  for (let round = 0; round < rounds; round++) {
    switch (random(8)) {
      case 0:
      case 1: {
        const access = 1 + random(3);
        const bcd = random(6) === 0 ? 1 : 0;
        guest.put(out(0x43, (access << 4) | ([0, 2, 3, 4][random(4)]! << 1) | bcd));
        for (let byte = 0; byte < (access === 3 ? 2 : 1); byte++)
          guest.put(out(0x40, bcd ? random(10) * 16 + random(10) : random(256)));
        break;
      }
      case 2:
        guest.put(out(0x43, 0)); // latch the count
        break;
      case 3:
        guest.put(out(0x43, 0xc2 | (random(2) << 4) | (random(2) << 5))); // read-back
        break;
      case 4:
        guest.put(out(0x40, random(256))); // another count, or half of one
        break;
      case 5:
        // Time passes.
        guest.put(0xb9, dword(1 + random(30_000))).label(`wait ${round}`);
        guest.put(0x49, 0x0f, 0x85, to(`wait ${round}`));
        break;
      default:
        readLoop(guest, `read ${round}`, 1 + random(60), ...new Array<number>(random(4)).fill(0x90));
    }
  }
  return guest.put(0xf4);
}
