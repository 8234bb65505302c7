/**
 * Programs next to the processor: a BPF program (RFC 9669; bare instructions or clang's ELF object) or a WebAssembly module
 * that answers accesses to a range without leaving the guest, or passes them on to whoever would have had them.
 *
 * A program gets `struct device_access` (src/bpf/device-program.ts) and may use a memory area that it shares with the
 * embedder, and the helpers: the time, 64-bit multiplication and division, event counters, interrupt lines, interrupts.
 */
import { cHeader } from '../../src/bpf/c-header.ts';
import type { IrqLine } from '../devices/irq-line.ts';
import { ConfigurationError, ProgramError } from '../errors.ts';
import { environmentOf, prepareBpf } from './bpf-handler.ts';
import { EventCounter } from './event-counter.ts';
import type { IoMap, ProgramAccess } from './io-map.ts';
import { type Attachment, checkRange, type IoRange } from './io-range.ts';
import type { HelperOffer, PreparedProgram } from './program-parts.ts';
import { isWebAssembly, prepareWebAssembly, webAssemblyHeader } from './wasm-handler.ts';

/** Where a program answers, and which accesses. */
export interface ProgramRange extends IoRange {
  readonly access: ProgramAccess;
}

export interface ProgramOptions {
  /** Bytes of the area that program and embedder share; 0 if left out. */
  readonly shared?: number;
  /** What `signal(n)` adds to. */
  readonly events?: readonly EventCounter[];
  /** What `set_line(n, level)` sets. */
  readonly lines?: readonly IrqLine[];
  /** What `inject(n)` calls: a message-signalled interrupt. */
  readonly interrupts?: readonly (() => void)[];
  /** Nanoseconds; the machine's clock if left out. */
  readonly time?: () => number;
  /** Which program of an object with several, by its function's name. */
  readonly program?: string;
  /** Stands in messages. */
  readonly name?: string;
  /** BPF programs are translated unless they are to be interpreted. */
  readonly engine?: 'translation' | 'interpreter';
  /** WebAssembly: how many calls and turns of loops an access may take; a million if left out. */
  readonly fuel?: number;
  /** WebAssembly: pages of 64 KiB that a module's memory may have; 16 if left out. */
  readonly memoryPages?: number;
  /** Told when a WebAssembly program traps or is out of fuel. The program gets no more accesses; this one is passed on. */
  readonly onFailure?: (error: ProgramError) => void;
}

const sharedLimit = 1 << 26;

function checked(options: ProgramOptions, time: () => number, failed: (error: ProgramError) => void): HelperOffer {
  const { shared = 0, events = [], lines = [], interrupts = [], fuel = 1_000_000, memoryPages = 16 } = options;
  const { engine = 'translation' } = options;
  const fail = (what: string): never => {
    throw new ConfigurationError('bad-option', `program: ${what}`);
  };
  const whole = (what: string, value: number, least: number, most: number) => {
    if (!Number.isInteger(value) || value < least || value > most)
      fail(`${what} is ${value}, not a whole number from ${least} to ${most}`);
  };
  whole('shared', shared, 0, sharedLimit);
  whole('fuel', fuel, 1, 0x7fff_ffff);
  whole('memoryPages', memoryPages, 1, 4096);
  if (engine !== 'translation' && engine !== 'interpreter') fail(`there is no engine ${String(engine)}`);
  for (const event of events) if (!(event instanceof EventCounter)) fail('one of its events is no event counter');
  for (const line of lines) if (typeof line?.set !== 'function') fail('one of its lines is no interrupt line');
  for (const inject of interrupts) if (typeof inject !== 'function') fail('one of its interrupts is no function');
  if (typeof (options.time ?? time) !== 'function') fail('its time is no function');
  return {
    name: options.name,
    program: options.program,
    shared,
    events,
    lines,
    interrupts,
    time: options.time ?? time,
    ownTime: options.time === undefined,
    engine,
    fuel,
    memoryPages,
    failed,
  };
}

/** A program that is attached. */
export class AttachedProgram implements Attachment {
  readonly name: string;
  /**
   * The area that the program sees as `state`. Its buffer is a `SharedArrayBuffer` for BPF programs where the host has
   * one: other threads may have it.
   */
  readonly shared: Uint8Array;
  /** Why it gets no more accesses; null = it gets them. */
  failure: ProgramError | null = null;
  /** It is at its place. */
  isAttached = true;
  private readonly prepared: PreparedProgram;
  private readonly place: Attachment;

  constructor(prepared: PreparedProgram, place: Attachment) {
    this.name = prepared.handler.name;
    this.shared = prepared.shared;
    this.prepared = prepared;
    this.place = place;
  }
  /**
   * A value of one of the program's maps, `.data` and `.bss` among them, as the program sees it.
   * @throws BpfError `bad-placement` if there is none
   */
  map(name: string, index = 0): Uint8Array {
    return this.prepared.map(name, index);
  }
  /** What the program knows: the shared area, maps, a module's memory. */
  saveState(): Uint8Array {
    const { areas, memory } = this.prepared;
    const bytes = new Uint8Array(areas.reduce((sum, { size }) => sum + size, 0));
    let at = 0;
    for (const { address, size } of areas) {
      bytes.set(new Uint8Array(memory.buffer, address, size), at);
      at += size;
    }
    return bytes;
  }
  /** @throws ProgramError `bad-state` if it is not of a program with the same memory; then nothing has changed */
  loadState(bytes: Uint8Array): void {
    const { areas, memory } = this.prepared;
    const total = areas.reduce((sum, { size }) => sum + size, 0);
    if (bytes.length !== total)
      throw new ProgramError('bad-state', `program ${this.name} has ${total} bytes of state, not ${bytes.length}`);
    let at = 0;
    for (const { address, size } of areas) {
      new Uint8Array(memory.buffer, address, size).set(bytes.subarray(at, at + size));
      at += size;
    }
  }
  detach(): void {
    this.isAttached = false;
    this.place.detach();
  }
  [Symbol.dispose](): void {
    this.detach();
  }
}

/**
 * Verifies a program and attaches it; until then, and if it is refused, nothing changes.
 *
 * @param code BPF instructions, a BPF object as clang writes it, or a WebAssembly module; told apart by their first bytes
 * @param time nanoseconds, if the options name no other
 * @throws BpfError with number of the instruction and reason, for what the verifier refuses; LoaderError for a damaged object;
 *   ProgramError for a module that is none, or wants what is not offered; ConfigurationError `bad-region`, `region-overlap`,
 *   `bad-option`
 */
export async function attachProgram(
  io: IoMap,
  range: ProgramRange,
  code: Uint8Array,
  options: ProgramOptions,
  time: () => number,
): Promise<AttachedProgram> {
  checkRange('program', range);
  if (!(code instanceof Uint8Array)) throw new ProgramError('bad-program', 'a program is given as a Uint8Array');
  let attached: AttachedProgram | null = null;
  const offer = checked(options, time, (error) => {
    if (attached !== null) attached.failure = error;
    options.onFailure?.(error);
  });
  const prepared = isWebAssembly(code) ? await prepareWebAssembly(code, offer) : await prepareBpf(code, offer);
  attached = new AttachedProgram(prepared, io.attachProgram(range, range.access, prepared.handler));
  return attached;
}

/**
 * The C header for programs with these options: `struct device_access`, the helpers, the macro `PROGRAM("name")`. For
 * `clang -target bpf -O2 -c`, or for `clang --target=wasm32 -O2 -nostdlib -Wl,--no-entry,--import-memory`.
 */
export function programHeader(options: ProgramOptions, target: 'bpf' | 'wasm' = 'bpf'): string {
  const offer = checked(
    options,
    () => 0,
    () => {},
  );
  return target === 'wasm' ? webAssemblyHeader(offer) : cHeader(environmentOf(offer));
}
