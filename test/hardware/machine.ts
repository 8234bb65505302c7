/**
 * Hardware vectors on the machine of `runtime/lockstep/machine-image.ts`: puts a vector's bytes into the image, and reads
 * the frame that an exception left on the kernel's stack.
 */
import { IMAGE, type Machine } from '../../runtime/lockstep/machine-image.ts';
import type { Exception, Vector } from './vectors.ts';

/** Writes the vector's instruction and memory into the image: a page of 0xCC around the one, a page of zeros before the other. */
export function loadVector(ram: Uint8Array, { bytes, in: before }: Pick<Vector, 'bytes' | 'in'>): void {
  ram.fill(0xcc, IMAGE.code, IMAGE.code + 0x1000);
  ram.set(bytes, IMAGE.code + 0x800);
  ram.fill(0, IMAGE.data, IMAGE.data + 0xf00);
  ram.set(before.window, IMAGE.data + 0xf00);
}

const UNTOUCHED = new Uint8Array(0xf00);

/** The memory window as it is now, and whether anything before it in its page was written. */
export function readWindow(ram: Uint8Array): { window: Uint8Array; strayed: boolean } {
  const strayed = Buffer.compare(ram.subarray(IMAGE.data, IMAGE.data + 0xf00), UNTOUCHED) !== 0;
  return { window: ram.slice(IMAGE.data + 0xf00, IMAGE.data + 0x1000), strayed };
}

/** What an exception pushed on the kernel's stack. */
export interface Frame {
  readonly vector: number;
  /** undefined for vectors that push none */
  readonly errorCode: number | undefined;
  readonly rip: bigint;
  readonly cs: number;
  readonly rflags: bigint;
  readonly rsp: bigint;
  readonly ss: number;
}

/** Reads the frame below the stack's top when the machine has halted in a handler with `rip`, `rsp`; undefined elsewhere. */
export function deliveredException(ram: Uint8Array, machine: Machine, rip: number, rsp: number): Frame | undefined {
  const vector = (rip - 1 - IMAGE.handlers) / 16;
  if (!Number.isInteger(vector) || vector < 0 || vector > 255) return undefined;
  const view = new DataView(ram.buffer, ram.byteOffset, ram.byteLength);
  const size = machine.paging === '4-level' ? 8 : 4;
  let at = rsp;
  const pop = (): bigint => {
    const value = size === 8 ? view.getBigUint64(at, true) : BigInt(view.getUint32(at, true));
    at += size;
    return value;
  };
  const hasCode = vector === 8 || (vector >= 10 && vector <= 14) || vector === 17;
  const errorCode = hasCode ? Number(pop()) : undefined;
  const [frameRip, cs, rflags, frameRsp, ss] = [pop(), Number(pop()), pop(), pop(), Number(pop())];
  if (at !== IMAGE.stackTop) throw new Error(`machine: the frame of exception ${vector} ends at ${at.toString(16)}`);
  return { vector, errorCode, rip: frameRip, cs, rflags, rsp: frameRsp, ss };
}

/** How a vector ended: #BP means that it completed and ran into the 0xCC behind it (or at a branch's target). */
export function ending(
  frame: Pick<Frame, 'vector' | 'errorCode' | 'rip'>,
  cr2: bigint,
): { rip: bigint; exception: Exception | undefined } {
  if (frame.vector === 3) return { rip: frame.rip - 1n, exception: undefined };
  const { vector } = frame;
  return { rip: frame.rip, exception: { vector, errorCode: frame.errorCode ?? 0, cr2: vector === 14 ? cr2 : 0n } };
}
