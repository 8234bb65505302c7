/** What generated code asks a program beside the processor by. */

/**
 * A program's function for other generated code: address in halves, twice the size plus 1 for a write, the value that is
 * written. The answer is -1 if it passes the access on, else the value that was read, or 0. It calls nobody who could change
 * more than the program's own memory.
 */
export type DirectAccess = (low: number, high: number, way: number, value: number) => bigint;
