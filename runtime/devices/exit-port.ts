/**
 * The exit port, by convention at 0xF4 and four bytes wide: QEMU's isa-debug-exit. Writing `code` ends the run with
 * status `code * 2 + 1`, so a guest can end with any odd status and zero is left for an orderly power-off.
 */
import { type AccessSize, allOnes, type Device } from './device.ts';

/** The process exit status that stands for `code`; a process keeps 8 bits of it. */
export function exitStatus(code: number): number {
  return (code * 2 + 1) & 0xff;
}

/** The exit port: four ports, by convention at F4H. */
export class ExitPort implements Device {
  readonly name = 'exit-port';
  readonly #requestExit: (status: number) => void;

  /** @param requestExit takes the exit status; the run ends after the current instruction */
  constructor(requestExit: (status: number) => void) {
    this.#requestExit = requestExit;
  }

  read(_offset: number, size: AccessSize): number {
    return allOnes(size);
  }

  write(_offset: number, _size: AccessSize, value: number): void {
    this.#requestExit(exitStatus(value));
  }
}
