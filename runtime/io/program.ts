/**
 * Programs next to the processor: a BPF program (RFC 9669; bare instructions or clang's ELF object) or a WebAssembly module
 * that answers accesses to a range without leaving the guest, or passes them on to whoever would have had them.
 *
 * A program gets `struct device_access` (src/bpf/device-program.ts) and may use a memory area that it shares with the
 * embedder, and the helpers: the time, 64-bit multiplication and division, event counters, interrupt lines, interrupts.
 */
import { hashBytes } from '../../jit/hash.ts';
import { cHeader } from '../../src/bpf/c-header.ts';
import { mustBeObject } from '../arguments.ts';
import type { IrqLine } from '../devices/irq-line.ts';
import { ConfigurationError, ProgramError } from '../errors.ts';
import { environmentOf, prepareBpf } from './bpf-handler.ts';
import { EventCounter } from './event-counter.ts';
import type { IoMap, ProgramAccess } from './io-map.ts';
import { type Attachment, checkRange, type IoRange, showRange } from './io-range.ts';
import type { HelperOffer, PreparedProgram } from './program-parts.ts';
import { isWebAssembly, prepareWebAssembly, webAssemblyHeader } from './wasm-handler.ts';

/** Where a program answers, and which accesses. */
export interface ProgramRange extends IoRange {
  /** The accesses that it gets; the others go past it. */
  readonly access: ProgramAccess;
}

/** What of its embedder a program uses. */
export interface ProgramParts {
  /** What `signal(n)` adds to. */
  readonly events?: readonly EventCounter[];
  /** What `set_line(n, level)` sets. */
  readonly lines?: readonly IrqLine[];
  /** What `inject(n)` calls: a message-signalled interrupt. */
  readonly interrupts?: readonly (() => void)[];
  /** Nanoseconds; the machine's clock if left out. */
  readonly time?: () => number;
  /** Told when a WebAssembly program traps or is out of fuel. The program gets no more accesses; this one is passed on. */
  readonly onFailure?: (error: ProgramError) => void;
}

/** What a program may use, and how it runs. */
export interface ProgramOptions extends ProgramParts {
  /** Bytes of the area that program and embedder share; 0 if left out. */
  readonly shared?: number;
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
}

/** Where a program came from: enough to put it elsewhere. */
interface ProgramSource {
  readonly range: ProgramRange;
  readonly code: Uint8Array;
  readonly options: ProgramOptions;
}

const partLists = ['events', 'lines', 'interrupts'] as const;

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
  /** Stands in messages. */
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
  /** What it is and where: a snapshot's state is for the same program at the same place. */
  readonly identity: string;
  private readonly prepared: PreparedProgram;
  private readonly place: Attachment;
  private readonly source: ProgramSource;

  constructor(prepared: PreparedProgram, place: Attachment, source: ProgramSource) {
    this.name = prepared.handler.name;
    this.shared = prepared.shared;
    this.prepared = prepared;
    this.place = place;
    this.source = source;
    const { range, code, options } = source;
    const hash = Array.from(hashBytes(code), (byte) => byte.toString(16).padStart(2, '0')).join('');
    const counts = partLists.map((list) => options[list]?.length ?? 0).join('/');
    this.identity = `${showRange(`${range.access} program ${options.program ?? ''}`, range)}, ${counts}, ${hash}`;
  }

  /** What of its embedder it uses and another VM has to have something else for: `2 events, time`; empty if nothing. */
  get foreignParts(): string {
    const { options } = this.source;
    const lists = partLists.filter((list) => (options[list]?.length ?? 0) > 0);
    const parts = lists.map((list) => `${options[list]!.length} ${list}`);
    return [...parts, ...(options.time === undefined ? [] : ['time'])].join(', ');
  }
  /**
   * The same program, knowing the same, at the same place of another machine.
   * @param parts what it uses there, in the place of what it uses here
   * @param time that machine's
   * @throws ConfigurationError `bad-option` if the parts are not as many as here; `region-overlap`
   */
  copyTo(io: IoMap, parts: ProgramParts, time: () => number): AttachedProgram {
    mustBeObject(`parts of program ${this.name}`, parts);
    const { range, code, options } = this.source;
    const { events: _, lines: __, interrupts: ___, time: ____, onFailure: _____, ...own } = options;
    const other: ProgramOptions = { ...own, ...parts };
    for (const list of partLists) {
      const [here, there] = [options[list]?.length ?? 0, other[list]?.length ?? 0];
      if (here !== there)
        throw new ConfigurationError('bad-option', `program ${this.name}: ${there} ${list} in the place of ${here}`);
    }
    let attached: AttachedProgram | null = null;
    const prepared = this.prepared.copy(offerOf(other, time, () => attached));
    attached = new AttachedProgram(prepared, io.attachProgram(range, range.access, prepared.handler), {
      ...{ range, code },
      options: other,
    });
    attached.loadState(this.saveState());
    attached.setFailure(this.failure);
    return attached;
  }
  /** It has failed, or not, elsewhere: it gets no accesses, or gets them. */
  setFailure(failure: ProgramError | null): void {
    this.failure = failure;
    this.prepared.enable(failure === null);
  }
  /**
   * A value of one of the program's maps, `.data` and `.bss` among them, as the program sees it.
   * @throws BpfError `bad-placement` if there is none
   */
  map(name: string, index = 0): Uint8Array {
    return this.prepared.map(name, index);
  }
  private get stateBytes(): number {
    const { areas, globals } = this.prepared;
    return areas.reduce((sum, { size }) => sum + size, 0) + globals.length * 8;
  }
  /** What the program knows: the shared area, maps; a module's memory, then its variable globals, 8 bytes each. */
  saveState(): Uint8Array {
    const { areas, globals, memory } = this.prepared;
    const bytes = new Uint8Array(this.stateBytes);
    let at = 0;
    for (const { address, size } of areas) {
      bytes.set(new Uint8Array(memory.buffer, address, size), at);
      at += size;
    }
    const view = new DataView(bytes.buffer);
    for (const { value } of globals as readonly WebAssembly.Global<'i32' | 'i64'>[]) {
      if (typeof value === 'bigint') view.setBigInt64(at, value, true);
      else view.setFloat64(at, value, true);
      at += 8;
    }
    return bytes;
  }
  /** @throws ProgramError `bad-state` if it is not of a program with the same memory; then nothing has changed */
  loadState(bytes: Uint8Array): void {
    const { areas, globals, memory } = this.prepared;
    const total = this.stateBytes;
    if (bytes.length !== total)
      throw new ProgramError('bad-state', `program ${this.name} has ${total} bytes of state, not ${bytes.length}`);
    let at = 0;
    for (const { address, size } of areas) {
      new Uint8Array(memory.buffer, address, size).set(bytes.subarray(at, at + size));
      at += size;
    }
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    for (const global of globals) {
      global.value = typeof global.value === 'bigint' ? view.getBigInt64(at, true) : view.getFloat64(at, true);
      at += 8;
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
  const offer = offerOf(options, time, () => attached);
  const own = code.slice(); // what the embedder does to his is his
  const prepared = isWebAssembly(own) ? await prepareWebAssembly(own, offer) : await prepareBpf(own, offer);
  const place = io.attachProgram(range, range.access, prepared.handler);
  attached = new AttachedProgram(prepared, place, { range: { ...range }, code: own, options });
  return attached;
}

/** @param program once it is attached */
function offerOf(options: ProgramOptions, time: () => number, program: () => AttachedProgram | null): HelperOffer {
  return checked(options, time, (error) => {
    const attached = program();
    if (attached !== null) attached.failure = error;
    options.onFailure?.(error);
  });
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
