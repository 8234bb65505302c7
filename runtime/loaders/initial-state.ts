/**
 * What a loader decides about the processor: the state at the guest's first instruction, as plain data. The machine
 * copies it into a vCPU that has just been reset; registers that it does not name keep their reset values.
 */

/**
 * - `real`: CR0.PE = 0, 16-bit; a segment's base is its selector times 16, its limit 0xFFFF
 * - `protected`: CR0.PE = 1, paging off, flat 32-bit segments of 4 GiB at CPL 0
 * - `long`: CR0.PE = CR0.PG = 1, CR4.PAE = 1, EFER.LME = LMA = 1, 64-bit code at CPL 0, flat data segments
 */
export type InitialMode = 'real' | 'protected' | 'long';

/** Numbers of the general registers, as the instructions encode them (SDM 2A, table 2-2). */
export const gpr = { rax: 0, rcx: 1, rdx: 2, rbx: 3, rsp: 4, rbp: 5, rsi: 6, rdi: 7 } as const;

/** The state of the processor at the guest's first instruction. */
export interface InitialState {
  readonly mode: InitialMode;
  /** Instruction pointer: an offset in CS, thus linear in the flat modes. */
  readonly rip: number;
  /** The sixteen general registers by their numbers; zero where the loader has nothing to say. */
  readonly gpr: readonly number[];
  /** Selector in CS; in the flat modes it names a 4 GiB code segment with base 0. */
  readonly codeSelector: number;
  /** Selector in SS, DS, ES, FS and GS. */
  readonly dataSelector: number;
  /** Whether address line 20 is open. */
  readonly a20: boolean;
  /** CR3: physical address of the loader's page tables; null where paging is off. */
  readonly pageTables: number | null;
  /** A descriptor table that the loader wrote, with the two selectors in it; null: the guest must bring its own. */
  readonly gdt: { readonly base: number; readonly limit: number } | null;
}

/** Guest RAM as a loader sees it: contiguous from guest-physical address 0. */
export interface GuestRam {
  /** All of it; the address is the index. */
  readonly bytes: Uint8Array;
  /** Told of each range just before it is written: dirty logs and those who hold translated code want to know. */
  readonly writing?: (start: number, length: number) => void;
}

/** Puts bytes into RAM. */
export function place(ram: GuestRam, bytes: Uint8Array, at: number): void {
  ram.writing?.(at, bytes.length);
  ram.bytes.set(bytes, at);
}
/** Fills RAM with zeroes up to `end`, by which a range is also opened for smaller writes. */
export function clear(ram: GuestRam, start: number, end: number): void {
  if (end <= start) return;
  ram.writing?.(start, end - start);
  ram.bytes.fill(0, start, end);
}

/** The sixteen registers with some of them set, by number. */
export function registers(values: Readonly<Record<number, number>>): readonly number[] {
  return Array.from({ length: 16 }, (_, index) => values[index] ?? 0);
}
