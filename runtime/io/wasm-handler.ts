/**
 * A WebAssembly module as a device program: it imports `env.memory` and helpers of module `jit86`, and nothing else, and
 * exports `access`, a function of the address of `struct device_access` that returns 0 to pass the access on and 1 when it
 * has done it. The same C source serves as a BPF program and as such a module.
 *
 * The sandbox is the host's; how long an access may take is bounded by fuel (jit/wasm-fuel.ts), memory by its import.
 */
import {
  type BoundedModule,
  boundModule,
  entryExport,
  fuelExport,
  type ModuleMemory,
  UnboundedModule,
} from '../../jit/wasm-fuel.ts';
import { deviceAccess, deviceResults } from '../../src/bpf/device-program.ts';
import type { AccessSize } from '../devices/device.ts';
import { ProgramError } from '../errors.ts';
import { type IoHandler, PASSED } from './io-parts.ts';
import type { HelperOffer, PreparedProgram } from './program-parts.ts';

const pageBytes = 65536;
/** Where the shared area begins, from the context on. */
const sharedOffset = 64;
const memoryName = 'env.memory';
const helperModule = 'jit86';
const entry = 'access';

const fieldOffset = (name: string): number => deviceAccess.fields.find((field) => field.name === name)!.offset;

export function isWebAssembly(bytes: Uint8Array): boolean {
  return bytes[0] === 0 && bytes[1] === 0x61 && bytes[2] === 0x73 && bytes[3] === 0x6d;
}

/** Helpers by their names in module `jit86`, with their types. */
const helperTypes: Readonly<Record<string, string>> = {
  time: ' -> i64',
  muldiv64: 'i64,i64,i64 -> i64',
  signal: 'i64 -> ',
  set_line: 'i64,i64 -> ',
  inject: 'i64 -> ',
};

class WebAssemblyHandler implements IoHandler {
  readonly name: string;
  private readonly words: Uint32Array;
  private readonly context: number;
  private readonly at: Readonly<Record<'address' | 'value' | 'time' | 'size' | 'write', number>>;
  private readonly time: () => number;
  private readonly failed: (error: ProgramError) => void;
  private access: ((context: number) => number) | null = null;
  /** Null: it has failed. */
  private run: ((context: number) => number) | null = null;
  private fuel: WebAssembly.Global | null = null;
  /** What a helper of the embedder threw: no failure of the program. */
  thrown: { readonly error: unknown } | null = null;

  constructor(name: string, memory: WebAssembly.Memory, context: number, offer: HelperOffer) {
    this.name = name;
    this.words = new Uint32Array(memory.buffer);
    this.context = context;
    this.time = offer.time;
    this.failed = offer.failed;
    const at = (field: string) => (context + fieldOffset(field)) >> 2;
    this.at = { address: at('address'), value: at('value'), time: at('time'), size: at('size'), write: at('write') };
    this.words[at('state')] = context + sharedOffset;
  }
  start({ exports }: WebAssembly.Instance): void {
    this.run = this.access = exports[entryExport] as (context: number) => number;
    this.fuel = exports[fuelExport] as WebAssembly.Global;
  }

  enable(on: boolean): void {
    this.run = on ? this.access : null;
  }

  read(address: number, size: AccessSize): number {
    if (!this.put(address, size, 0, 0, 0)) return PASSED;
    const value = this.words[this.at.value]!;
    return size === 4 ? value : size === 2 ? value & 0xffff : value & 0xff;
  }
  write(address: number, size: AccessSize, value: number): boolean {
    return this.put(address, size, 1, value, 0);
  }
  read64(address: number): number {
    return this.put(address, 8, 0, 0, 0) ? this.words[this.at.value]! : PASSED;
  }
  get high(): number {
    return this.words[this.at.value + 1]!;
  }
  write64(address: number, low: number, high: number): boolean {
    return this.put(address, 8, 1, low, high);
  }

  private put(address: number, size: number, write: number, low: number, high: number): boolean {
    const { at, words, run } = this;
    if (run === null) return false; // it has failed
    const now = this.time();
    words[at.address] = address;
    words[at.address + 1] = upper(address);
    words[at.value] = low;
    words[at.value + 1] = high;
    words[at.time] = now;
    words[at.time + 1] = upper(now);
    words[at.size] = size;
    words[at.write] = write;
    try {
      return run(this.context) === deviceResults.done;
    } catch (error) {
      this.fail(error);
      return false;
    }
  }
  private fail(error: unknown): void {
    const { thrown } = this;
    this.thrown = null;
    if (thrown !== null) throw thrown.error;
    // A stack that is used up is a RangeError.
    if (!(error instanceof WebAssembly.RuntimeError) && !(error instanceof RangeError)) throw error;
    this.run = null;
    this.failed(failureOf(this.name, error, this.fuel?.value as number));
  }
}

/** Bits 32 and up of a safe integer that is not negative. */
const upper = (value: number): number => (value < 2 ** 32 ? 0 : Math.floor(value / 2 ** 32));

function failureOf(name: string, error: Error, fuel: number): ProgramError {
  return fuel === 0
    ? new ProgramError('out-of-fuel', `program ${name} is out of fuel`)
    : new ProgramError('trap', `program ${name}: ${error.message}`);
}

/** What the module's helpers are here. */
function helpersOf(
  { muldiv64 }: Runnable,
  { events, lines, interrupts, time }: HelperOffer,
  guard: (error: unknown) => never,
): Record<string, WebAssembly.ImportValue> {
  const pick = <T>(what: string, list: readonly T[], index: bigint): T => {
    const found = list[Number(BigInt.asUintN(53, index))];
    if (found === undefined) throw new WebAssembly.RuntimeError(`there is no ${what} ${BigInt.asUintN(64, index)}`);
    return found;
  };
  const calling = (call: () => void): void => {
    try {
      call();
    } catch (error) {
      guard(error);
    }
  };
  const offered: Record<string, WebAssembly.ImportValue> = {
    time: () => BigInt(Math.floor(time())),
    signal(event: bigint) {
      const counter = pick('event', events, event);
      calling(() => counter.add(1));
    },
    set_line(line: bigint, level: bigint) {
      const to = pick('line', lines, line);
      calling(() => to.set(level !== 0n));
    },
    inject(interrupt: bigint) {
      calling(pick('interrupt', interrupts, interrupt));
    },
  };
  if (muldiv64 !== null) offered.muldiv64 = muldiv64;
  return offered;
}

/** A module that has been found to be in order. */
interface Runnable {
  readonly name: string;
  readonly module: WebAssembly.Module;
  /** Its memory: pages of 64 KiB, and where the context begins. */
  readonly pages: number;
  readonly isShared: boolean;
  readonly context: number;
  readonly globals: readonly string[];
  /** The helper, if the module wants it. */
  readonly muldiv64: WebAssembly.ExportValue | null;
}

/**
 * @throws ProgramError `bad-program` for what is no module or has no memory, `foreign-import`, `no-access-export`,
 *   `program-too-big`, `unsupported-instruction`; `out-of-fuel` or `trap` if it fails as it starts
 */
export async function prepareWebAssembly(bytes: Uint8Array, offer: HelperOffer): Promise<PreparedProgram> {
  const name = offer.name ?? 'module';
  const copy = bytes.slice() as Uint8Array<ArrayBuffer>;
  const original = await compiled(copy, name);
  checkInterface(original, name);
  let pages = 0;
  const extra = Math.ceil((sharedOffset + offer.shared) / pageBytes);
  const sized = ({ minimum }: ModuleMemory): number => {
    if (minimum > offer.memoryPages)
      throw new ProgramError('program-too-big', `program ${name} asks for ${minimum} pages of ${offer.memoryPages}`);
    pages = minimum + extra;
    return pages;
  };
  const bounded = bound(copy, name, offer.fuel, sized);
  const { memory: wanted } = bounded;
  if (wanted === null) throw new ProgramError('bad-program', `program ${name} does not import ${memoryName}`);
  for (const { module, name: helper, type } of bounded.functions) {
    if (module === helperModule && helperTypes[helper] === type) continue;
    const right = helperTypes[helper];
    throw new ProgramError('foreign-import', `program ${name}: ${module}.${helper} is ${type}, and should be ${right}`);
  }
  const module = await startable(name, () => WebAssembly.compile(bounded.bytes));
  let muldiv64: WebAssembly.ExportValue | null = null;
  if (bounded.functions.some((wanted) => wanted.name === 'muldiv64')) {
    const { muldivModule } = await import('../../jit/muldiv-module.ts');
    const { instance } = await WebAssembly.instantiate(muldivModule() as BufferSource);
    muldiv64 = instance.exports.run!;
  }
  const { globals } = bounded;
  const context = wanted.minimum * pageBytes;
  const runnable = { name, module, pages, isShared: wanted.isShared, context, globals, muldiv64 };
  return startable(name, async () => instantiated(runnable, offer));
}

async function startable<T>(name: string, start: () => Promise<T>): Promise<T> {
  try {
    return await start();
  } catch (error) {
    throw new ProgramError('trap', `program ${name} does not start: ${(error as Error).message}`);
  }
}

/** A memory of its own, and an instance in it. */
function instantiated(runnable: Runnable, offer: HelperOffer): PreparedProgram {
  const { name, module, pages, isShared, context } = runnable;
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: isShared });
  const handler = new WebAssemblyHandler(name, memory, context, offer);
  const helpers = helpersOf(runnable, offer, (error) => {
    handler.thrown = { error };
    throw error;
  });
  const instance = new WebAssembly.Instance(module, { env: { memory }, [helperModule]: helpers });
  handler.start(instance);
  return {
    handler,
    memory,
    shared: new Uint8Array(memory.buffer, context + sharedOffset, offer.shared),
    areas: [{ address: 0, size: memory.buffer.byteLength }],
    globals: runnable.globals.map((global) => instance.exports[global] as WebAssembly.Global),
    map(map, index) {
      throw new ProgramError('no-program', `program ${name} is a module: it has no value ${index} of a map ${map}`);
    },
    enable: (on) => handler.enable(on),
    copy: (other) => instantiated(runnable, other),
  };
}

async function compiled(bytes: Uint8Array<ArrayBuffer>, name: string): Promise<WebAssembly.Module> {
  try {
    return await WebAssembly.compile(bytes);
  } catch (error) {
    throw new ProgramError('bad-program', `program ${name} is no valid module: ${(error as Error).message}`);
  }
}

function checkInterface(module: WebAssembly.Module, name: string): void {
  for (const { module: from, name: what, kind } of WebAssembly.Module.imports(module)) {
    const full = `${from}.${what}`;
    if (kind === 'memory' && full === memoryName) continue;
    if (kind === 'function' && from === helperModule && Object.hasOwn(helperTypes, what)) continue;
    throw new ProgramError('foreign-import', `program ${name} imports the ${kind} ${full}, which is not offered`);
  }
  const found = WebAssembly.Module.exports(module).some((one) => one.name === entry && one.kind === 'function');
  if (!found) throw new ProgramError('no-access-export', `program ${name} exports no function ${entry}`);
}

function bound(bytes: Uint8Array, name: string, fuel: number, sized: (memory: ModuleMemory) => number): BoundedModule {
  try {
    return boundModule(bytes, entry, fuel, sized);
  } catch (error) {
    if (!(error instanceof UnboundedModule)) throw error;
    throw new ProgramError('unsupported-instruction', `program ${name}: ${error.message}`);
  }
}

/** The C declarations for a module. */
export function webAssemblyHeader({ events, lines, interrupts }: HelperOffer): string {
  const imported = (name: string, declaration: string) =>
    `__attribute__((import_module("${helperModule}"), import_name("${name}"))) extern ${declaration};`;
  const u64 = 'unsigned long long';
  const fields = deviceAccess.fields.map(({ name, size, pointsTo }) => {
    if (pointsTo !== undefined) return `  union { void *${name}; ${u64} ${name}_bits; };`;
    return `  ${size === 8 ? u64 : 'unsigned int'} ${name};`;
  });
  return [
    '/* Generated: what programs with these options may use. */',
    '#pragma once',
    '',
    `struct ${deviceAccess.name} {`,
    ...fields,
    '};',
    '',
    imported('time', `${u64} time(void)`),
    imported('muldiv64', `${u64} muldiv64(${u64}, ${u64}, ${u64})`),
    ...(events.length > 0 ? [imported('signal', `void signal(${u64})`)] : []),
    ...(lines.length > 0 ? [imported('set_line', `void set_line(${u64}, ${u64})`)] : []),
    ...(interrupts.length > 0 ? [imported('inject', `void inject(${u64})`)] : []),
    '',
    `#define PROGRAM(name) __attribute__((export_name("${entry}"), used))`,
    '',
  ].join('\n');
}
