/**
 * A BPF program made ready to answer accesses: loaded (bare instructions or clang's object), verified, given a memory of its
 * own with the area that it shares with the embedder, and translated.
 */
import { type BpfExports, TranslatedBpfProgram } from '../../jit/bpf-program.ts';
import { DeviceProgram, deviceEnvironment } from '../../src/bpf/device-program.ts';
import type { BpfEnvironment, BpfMap } from '../../src/bpf/environment.ts';
import { valueStride } from '../../src/bpf/environment.ts';
import { BpfInterpreter } from '../../src/bpf/interpreter.ts';
import { Arena, PlacedContext, PlacedMaps, type PlacedRegions, placeRegions } from '../../src/bpf/placement.ts';
import type { BpfLinkage } from '../../src/bpf/program.ts';
import { type BpfProgramSource, type VerifiedProgram, verify } from '../../src/bpf/verifier.ts';
import type { DirectAccess } from '../../src/mmu/direct-access.ts';
import type { AccessSize } from '../devices/device.ts';
import { ProgramError } from '../errors.ts';
import { loadBpfObject } from '../loaders/bpf-object.ts';
import { isElf } from '../loaders/elf.ts';
import type { IoHandler } from './io-parts.ts';
import type { HelperOffer, PreparedProgram } from './program-parts.ts';

const pageBytes = 65536;
/** Nothing lies at address 0; the context, its stack, descriptors and what alignment takes. */
const start = 64;
const contextBytes = 8192;

/** What programs of an offer may use. */
export function environmentOf({ shared, events, lines, interrupts }: HelperOffer): BpfEnvironment {
  return deviceEnvironment({
    stateBytes: shared,
    events: events.length,
    lines: lines.length,
    interrupts: interrupts.length,
  });
}

function sourceOf(bytes: Uint8Array, name: string | undefined, wanted: string | undefined): BpfProgramSource {
  if (!isElf(bytes)) return { name: name ?? 'program', bytes, maps: [] };
  const { programs } = loadBpfObject(bytes);
  const names = programs.map((program) => program.name).join(', ');
  if (wanted === undefined && programs.length > 1)
    throw new ProgramError('no-program', `the object has several programs, say which: ${names}`);
  const found = wanted === undefined ? programs[0] : programs.find((program) => program.name === wanted);
  if (found === undefined) throw new ProgramError('no-program', `the object has no program ${wanted}, but ${names}`);
  return found;
}

function memoryFor(maps: readonly BpfMap[], shared: number): { memory: WebAssembly.Memory; pages: number } {
  const mapBytes = maps.reduce((sum, map) => sum + map.maxEntries * valueStride(map) + 64, 0);
  const pages = Math.ceil((start + contextBytes + mapBytes + shared) / pageBytes);
  const isShared = typeof SharedArrayBuffer === 'function';
  return { memory: new WebAssembly.Memory({ initial: pages, maximum: pages, shared: isShared }), pages };
}

/** It calls nobody but, if that is the machine's own, the clock: nothing but its memory is changed when it has run. */
function isAlone({ code, environment, fieldsRead }: VerifiedProgram, ownTime: boolean): boolean {
  const called = code.flatMap((i) => (i?.kind === 'call' ? [environment.helpers[i.helper]!] : []));
  const outside = called.filter(({ by }) => by === 'number' || by === 'bigint');
  if (outside.some(({ name }) => name !== 'time')) return false;
  return ownTime || (outside.length === 0 && !fieldsRead.has('time'));
}

class TranslatedHandler implements IoHandler {
  readonly name: string;
  readonly direct: DirectAccess | null;
  private readonly access: NonNullable<BpfExports['accessNumber']>;
  private readonly context: PlacedContext;
  /** For eight bytes, which are rare. */
  private readonly wide: DeviceProgram;

  constructor(
    name: string,
    { access, accessNumber }: BpfExports,
    context: PlacedContext,
    isAlone: boolean,
    wide: DeviceProgram,
  ) {
    this.name = name;
    this.wide = wide;
    this.access = accessNumber!;
    this.direct = isAlone ? access! : null;
    this.context = context;
  }
  read(address: number, size: AccessSize): number {
    return this.ask(address, size * 2, 0);
  }
  write(address: number, size: AccessSize, value: number): boolean {
    return this.ask(address, size * 2 + 1, value) >= 0;
  }
  read64(address: number): number {
    this.wide.changed();
    return this.wide.read64(address);
  }
  get high(): number {
    return this.wide.high;
  }
  write64(address: number, low: number, high: number): boolean {
    this.wide.changed();
    return this.wide.write64(address, low, high);
  }
  private ask(address: number, way: number, value: number): number {
    const { context } = this;
    context.enter(); // helpers may lead back here
    try {
      return this.access(address, Math.floor(address / 0x1_0000_0000), way, value);
    } finally {
      context.busy = false;
    }
  }
}

class InterpretedHandler implements IoHandler {
  readonly name: string;
  private readonly device: DeviceProgram;

  constructor(name: string, device: DeviceProgram) {
    this.name = name;
    this.device = device;
  }
  read(address: number, size: AccessSize): number {
    return this.device.readSmall(address, size);
  }
  write(address: number, size: AccessSize, value: number): boolean {
    return this.device.write(address, size, value);
  }
  read64(address: number): number {
    return this.device.read64(address);
  }
  get high(): number {
    return this.device.high;
  }
  write64(address: number, low: number, high: number): boolean {
    return this.device.write64(address, low, high);
  }
}

/** A program's memory, and where everything lies in it: the same for each copy. */
class Placement {
  readonly memory: WebAssembly.Memory;
  readonly pages: number;
  readonly maps: PlacedMaps;
  readonly regions: PlacedRegions;
  readonly context: PlacedContext;

  constructor(program: VerifiedProgram, shared: number) {
    const { environment } = program;
    const { memory, pages } = memoryFor(program.maps, shared);
    const arena = new Arena(memory, start, pages * pageBytes);
    this.memory = memory;
    this.pages = pages;
    this.maps = new PlacedMaps(program.maps, arena);
    this.regions = placeRegions(environment, arena);
    this.context = new PlacedContext(environment.context, this.regions, arena);
  }
}

/** @param module null: it is interpreted */
function prepared(
  program: VerifiedProgram,
  name: string,
  module: WebAssembly.Module | null,
  { memory, maps, regions, context }: Placement,
  offer: HelperOffer,
): PreparedProgram {
  const { events, lines, interrupts, time } = offer;
  const calls = {
    time,
    signal: (event: number) => events[event]!.add(1),
    set_line: (line: number, level: number) => lines[line]!.set(level !== 0),
    inject: (interrupt: number) => interrupts[interrupt]!(),
  };
  const linkage: BpfLinkage = { memory, maps, regions, calls };
  let handler: IoHandler;
  // To ask the host for the time costs more than most programs.
  const stamp = program.fieldsRead.has('time') ? time : null;
  if (module === null) {
    handler = new InterpretedHandler(name, new DeviceProgram(new BpfInterpreter(program, linkage), context, stamp));
  } else {
    const run = new TranslatedBpfProgram(program, linkage, module);
    const wide = new DeviceProgram(run, context, stamp);
    handler = new TranslatedHandler(name, run.exports, context, isAlone(program, offer.ownTime), wide);
  }
  const state = regions.state!;
  return {
    handler,
    memory,
    shared: new Uint8Array(memory.buffer, state.address, offer.shared),
    areas: [state, ...maps.values],
    globals: [],
    map: (map, index) => maps.value(map, index),
    enable() {}, // what is verified does not fail
    copy: (other) => prepared(program, name, module, new Placement(program, other.shared), other),
  };
}

/**
 * @throws BpfError with the instruction's number if the verifier refuses it, LoaderError for a damaged object, ProgramError
 *   `no-program`
 */
export async function prepareBpf(bytes: Uint8Array, offer: HelperOffer): Promise<PreparedProgram> {
  const source = sourceOf(bytes, offer.name, offer.program);
  const program = verify(source, environmentOf(offer));
  const placement = new Placement(program, offer.shared);
  let module: WebAssembly.Module | null = null;
  if (offer.engine === 'translation') {
    const { translateBpf } = await import('../../jit/bpf-translate.ts');
    const { pages, maps, regions, context } = placement;
    const limits = { initial: pages, maximum: pages, shared: typeof SharedArrayBuffer === 'function' };
    const device = { address: context.area.address, stackTop: context.stackTop };
    module = await WebAssembly.compile(translateBpf(program, { limits, maps, regions, device }) as BufferSource);
  }
  return prepared(program, offer.name ?? source.name, module, placement, offer);
}
