/**
 * A VM as bytes and back: versioned, self-describing chunks (chunks.ts) that any host reads. Zero pages are left out; a diff
 * has only what was written since the snapshot before. Restoring, a VM takes all of it or, if something is wrong, nothing.
 *
 * What a processor may forget at any time is not kept: look-aside tables, made code. A guest that flushes what it changes
 * in its page tables runs on as it would have (test/vm/snapshot-paging.test.ts).
 *
 *   META  id of this snapshot, and of the one that it is a diff to
 *   MACH  the kind of machine, interrupts, time, devices        VCPU  registers of one vCPU
 *   MAPS  memory maps of both address spaces                    PAGE  a run of pages of the backing store
 *   rUNS  where all runs lie
 */

import { mustBeObject } from '../arguments.ts';
import type { StateElsewhere } from '../devices/device.ts';
import { SnapshotError } from '../errors.ts';
import { joined } from '../joined.ts';
import type { RegisterTuple } from '../vm/registers.ts';
import type { TimePolicy } from '../vm/vm-time.ts';
import { type Chunk, doneChunk, encodeChunk, readChunks, snapshotHeader } from './chunks.ts';
import { type MachineState, machineState, matchedRemote, putMachineState, type StatefulVm } from './machine-state.ts';
import {
  contentsReplaced,
  fillLazyPages,
  MemoryLog,
  type MemoryOwner,
  type SavedMaps,
  savedMaps,
  shownPages,
  spaces,
} from './memory-image.ts';
import {
  allPages,
  checkDirectory,
  decodeRun,
  directoryType,
  encodeDirectory,
  encodeRun,
  type PageRun,
  pageBytes,
  pageRuns,
  SavedPages,
} from './pages.ts';

/** How much a snapshot holds. */
export interface SnapshotOptions {
  /**
   * `full` (the default): all of the VM. `base`: the same, and from now on what is written is noted for a later `diff`, which
   * holds what was written since the last `base` or `diff`. A VM into which a `base` or a `diff` was put goes on from there.
   */
  readonly kind?: 'full' | 'base' | 'diff';
}

/** How a snapshot is put into a VM. */
export interface RestoreOptions {
  /**
   * Pages are copied, and their chunks' checksums looked at, when they are first touched; the snapshot's bytes must stay as
   * they are meanwhile. A chunk that turns out to be damaged is a SnapshotError `bad-checksum` out of the access, or out of
   * `enter` with the processor before the instruction; the VM is as it was, and asks for the page again. Everything else is
   * checked at once.
   */
  readonly lazily?: boolean;
  /** Guest time goes on where it stood (`continue`, the default), or the host's time since then has passed. */
  readonly time?: TimePolicy;
}

/** What of a VM is saved. */
export interface SavedVm extends StatefulVm, MemoryOwner {
  base: SnapshotBase | null;
}

/** The snapshot that a diff would be to. */
export interface SnapshotBase {
  readonly id: string;
  /** What was written since. */
  readonly log: MemoryLog;
}

const text = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));

function newId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

export function encodeRegisters(index: number, tuples: readonly RegisterTuple[]): Chunk {
  const payload = new Uint8Array(8 + tuples.length * 24);
  const view = new DataView(payload.buffer);
  view.setUint32(0, index, true);
  view.setUint32(4, tuples.length, true);
  for (const [i, [id, value]] of tuples.entries()) {
    view.setUint32(8 + i * 24, id, true);
    view.setBigUint64(8 + i * 24 + 8, BigInt.asUintN(64, value), true);
    view.setBigUint64(8 + i * 24 + 16, value >> 64n, true);
  }
  return { type: 'VCPU', payload };
}
function decodeRegisters(payload: Uint8Array): { index: number; tuples: RegisterTuple[] } {
  const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
  const count = payload.length < 8 ? -1 : view.getUint32(4, true);
  if (payload.length !== 8 + count * 24)
    throw new SnapshotError('bad-chunk', `registers: ${count} of them in ${payload.length} bytes`);
  const tuples = Array.from({ length: count }, (_, i): RegisterTuple => {
    const at = 8 + i * 24;
    return [view.getUint32(at, true), view.getBigUint64(at + 8, true) | (view.getBigUint64(at + 16, true) << 64n)];
  });
  return { index: view.getUint32(0, true), tuples };
}

/** The chunks of everything but memory contents. */
export function* stateChunks(vm: SavedVm): Generator<Chunk> {
  const { registers, ...machine } = machineState(vm);
  yield { type: 'MACH', payload: text(machine) };
  for (const [index, tuples] of registers.entries()) yield encodeRegisters(index, tuples);
  yield { type: 'MAPS', payload: text(savedMaps(vm)) };
}

/**
 * The parts of a snapshot, one after the other. The VM must not run in between.
 * @throws SnapshotError `access-pending`, `bad-device-state`; `different-base` for a diff without a base
 */
export function* snapshotParts(vm: SavedVm, { kind = 'full' }: SnapshotOptions = {}): Generator<Uint8Array> {
  if (kind !== 'full' && kind !== 'base' && kind !== 'diff')
    throw new SnapshotError('different-base', `snapshot of the kind ${String(kind)}: full, base or diff`);
  if (kind === 'diff' && vm.base === null) throw new SnapshotError('different-base', 'a diff needs a base before it');
  fillLazyPages(vm);
  const id = newId();
  let count = 0;
  const encoded = (chunk: Chunk) => {
    count++;
    return encodeChunk(chunk);
  };
  const state = [...stateChunks(vm)];
  const base = kind === 'diff' ? vm.base : null;
  yield snapshotHeader();
  yield encoded({ type: 'META', payload: text({ id, base: base?.id ?? null, tracked: kind !== 'full' }) });
  for (const chunk of state) yield encoded(chunk);
  const written = base?.log.take();
  let whole = false;
  try {
    const runs: { first: number; count: number }[] = [];
    for (const run of pageRuns(vm.ram, written ?? allPages(vm.ram), base === null ? 'leave-out' : 'keep')) {
      runs.push({ first: run.first, count: run.bytes.length / pageBytes });
      yield encoded(encodeRun(run));
    }
    yield encoded(encodeDirectory(runs));
    yield encodeChunk(doneChunk(count));
    whole = true;
  } finally {
    if (!whole) base?.log.putBack(written!); // nobody has that snapshot
  }
  if (kind !== 'full') standAt(vm, id, base?.log ?? new MemoryLog(vm));
}

/** @param log what is written to the VM's memory from now on; null: nobody will ask */
function standAt(vm: SavedVm, id: string, log: MemoryLog | null): void {
  if (vm.base !== null && vm.base.log !== log) vm.base.log.close();
  vm.base = log === null ? null : { id, log };
}

/** All of it in one piece; see {@link snapshotParts}. */
export function takeSnapshot(vm: SavedVm, options?: SnapshotOptions): Uint8Array {
  return joined([...snapshotParts(vm, options)]);
}

/** A snapshot that was read and makes sense by itself. */
export interface ReadSnapshot {
  readonly id: string;
  readonly base: string | null;
  /** A diff to it may follow. */
  readonly tracked: boolean;
  readonly machine: MachineState;
  readonly maps: SavedMaps;
  readonly runs: readonly PageRun[];
}

function json(type: string, chunks: readonly Chunk[]): Record<string, unknown> {
  const found = chunks.filter((chunk) => chunk.type === type);
  if (found.length !== 1) throw new SnapshotError('missing-chunk', `the snapshot has ${found.length} chunks ${type}`);
  try {
    const value: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(found[0]!.payload));
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  } catch {
    // said below
  }
  throw new SnapshotError('bad-chunk', `chunk ${type}: not what it should hold`);
}

const isNumber = (value: unknown): value is number => typeof value === 'number';
const isText = (value: unknown): value is string => typeof value === 'string';

function decodeMachine(chunks: readonly Chunk[]): MachineState {
  const { kind, irq, time, devices, programs = [], passed = [], remote = [] } = json('MACH', chunks);
  const isDevice = (device: unknown) =>
    typeof device === 'object' &&
    device !== null &&
    'name' in device &&
    isText(device.name) &&
    'state' in device &&
    isText(device.state);
  const isProgram = (program: unknown) => {
    if (!isDevice(program)) return false;
    const { identity = '', failure = null } = program as {
      identity?: unknown;
      failure?: Record<string, unknown> | null;
    };
    return isText(identity) && (failure === null || (isText(failure.code) && isText(failure.message)));
  };
  if (
    typeof kind !== 'object' ||
    kind === null ||
    !isText(irq) ||
    !isText(time) ||
    !Array.isArray(devices) ||
    !devices.every(isDevice) ||
    !Array.isArray(programs) ||
    !programs.every(isProgram) ||
    !Array.isArray(remote) ||
    !remote.every(isDevice) ||
    !Array.isArray(passed) ||
    !passed.every((of) => Array.isArray(of) && of.length === 2 && of.every(isNumber))
  )
    throw new SnapshotError('bad-chunk', 'chunk MACH: not what it should hold');
  const registers: RegisterTuple[][] = [];
  for (const { type, payload } of chunks) {
    if (type !== 'VCPU') continue;
    const { index, tuples } = decodeRegisters(payload);
    if (index !== registers.length)
      throw new SnapshotError('bad-chunk', `registers of vCPU ${index} stand at place ${registers.length}`);
    registers.push(tuples);
  }
  const { cpus } = kind as { cpus?: unknown };
  if (cpus !== registers.length)
    throw new SnapshotError('missing-chunk', `registers of ${registers.length} vCPUs for ${String(cpus)}`);
  return {
    kind: kind as MachineState['kind'],
    ...{ irq, time, registers },
    devices: devices as MachineState['devices'],
    programs: programs as MachineState['programs'],
    remote: remote as unknown as NonNullable<MachineState['remote']>,
    passed: passed as unknown as NonNullable<MachineState['passed']>,
  };
}

function decodeMaps(chunks: readonly Chunk[]): SavedMaps {
  const maps = json('MAPS', chunks);
  for (const space of spaces) {
    const list = maps[space];
    const fits =
      Array.isArray(list) &&
      list.every((region: unknown) => {
        if (typeof region !== 'object' || region === null) return false;
        const { kind, start, length, backing } = region as Record<string, unknown>;
        return (kind === 'ram' || kind === 'rom') && isNumber(start) && isNumber(length) && isNumber(backing);
      });
    if (!fits) throw new SnapshotError('bad-chunk', `chunk MAPS: no map of the ${space} space`);
  }
  return maps as unknown as SavedMaps;
}

/**
 * @param lazily pages are checked when they are used, if the snapshot says where they are
 * @throws SnapshotError naming what is wrong
 */
export function readSnapshot(bytes: Uint8Array, ramBytes: number, lazily = false): ReadSnapshot {
  if (!(bytes instanceof Uint8Array)) throw new SnapshotError('foreign-snapshot', `${String(bytes)} is no Uint8Array`);
  const chunks = readChunks(bytes, lazily ? 'PAGE' : null);
  const snapshot = decodeSnapshot(chunks, ramBytes);
  if (!lazily) return snapshot;
  const directory = chunks.find(({ type }) => type === directoryType);
  if (directory !== undefined) checkDirectory(directory, snapshot.runs);
  if (directory === undefined || snapshot.base !== null) for (const { verify } of snapshot.runs) verify?.();
  return snapshot;
}

export function decodeSnapshot(chunks: readonly Chunk[], ramBytes: number): ReadSnapshot {
  const known = new Set(['META', 'MACH', 'VCPU', 'MAPS', 'PAGE']);
  for (const { type } of chunks)
    if (!known.has(type) && type[0]! < 'a') throw new SnapshotError('bad-chunk', `chunk ${type}: not known here`);
  const { id, base, tracked = true } = json('META', chunks);
  if (!isText(id) || !(base === null || isText(base))) throw new SnapshotError('bad-chunk', 'chunk META: it has no id');
  const machine = decodeMachine(chunks);
  if (machine.kind.memory !== ramBytes)
    throw new SnapshotError(
      'different-machine',
      `memory: the snapshot has ${machine.kind.memory}, this VM ${ramBytes}`,
    );
  const runs = chunks.filter(({ type }) => type === 'PAGE').map((chunk) => decodeRun(chunk, ramBytes));
  return { id, base, tracked: tracked === true, machine, maps: decodeMaps(chunks), runs };
}

/**
 * Puts a snapshot into a VM of the same kind that was put together in the same way.
 * @throws SnapshotError, StateError, InterruptError, ConfigurationError naming what is wrong; the VM is as it was
 */
export function restoreSnapshot(vm: SavedVm, bytes: Uint8Array, options: RestoreOptions = {}): void {
  mustBeObject('options', options);
  putSnapshot(vm, readSnapshot(bytes, vm.ram.length, options.lazily), options);
}

export function putSnapshot(
  vm: SavedVm,
  snapshot: ReadSnapshot,
  { lazily = false, time = 'continue' }: RestoreOptions,
): void {
  const { base, id, maps, runs } = snapshot;
  if (base !== null) checkBase(vm, base);
  if (base !== null) fillLazyPages(vm);
  const later = lazily ? shownPages(vm, maps) : null;
  const saved = new SavedPages(runs, vm.ram.length);
  if (base === null && later !== null) saved.verify((page) => later[page] === 0);
  putState(vm, snapshot, time);
  if (base === null) putPages(vm, saved, later);
  else
    for (const { first, bytes } of runs) {
      vm.physical.writingAt(vm.ram.byteOffset + first * pageBytes, bytes.length);
      vm.ram.set(bytes, first * pageBytes);
    }
  standAt(vm, id, snapshot.tracked ? new MemoryLog(vm) : null);
}

/** A diff can only be put on what it was made to. */
function checkBase(vm: SavedVm, base: string): void {
  if (vm.base === null || vm.base.id !== base)
    throw new SnapshotError('different-base', `a diff to snapshot ${base}: this VM stands at ${vm.base?.id ?? 'none'}`);
  const { count } = vm.base.log;
  if (count > 0)
    throw new SnapshotError('different-base', `a diff to snapshot ${base}: ${count} pages were written here since`);
}

/**
 * Finds out whether {@link putState} would take it.
 * @throws what that throws
 */
export function tryState(vm: SavedVm, snapshot: Pick<ReadSnapshot, 'machine' | 'maps'>): void {
  const before = spaces.map((space) => [space, vm.memory.regions({ space })] as const);
  const machine = machineState(vm);
  putState(vm, snapshot, 'continue');
  for (const [space, regions] of before) vm.memory.replace(regions, { space });
  putMachineState(vm, machine);
}

/** All pages of the backing store, zeros where none was saved. @param later those that are put there when they are touched */
function putPages(vm: SavedVm, saved: SavedPages, later: Uint8Array | null): void {
  const { ram, physical } = vm;
  contentsReplaced(vm);
  for (let page = 0; page < ram.length / pageBytes; page++)
    if (later === null || later[page] === 0) saved.put(page, ram.subarray(page * pageBytes, (page + 1) * pageBytes));
  if (later === null) return;
  const first = ram.byteOffset / pageBytes;
  physical.putOff(
    (host, bytes) => saved.put(host - first, bytes),
    (host) => host >= first && later[host - first] === 1,
  );
}

/** Maps and everything but memory contents; both or, if one is refused, neither. */
export function putState(
  vm: SavedVm,
  { machine, maps }: Pick<ReadSnapshot, 'machine' | 'maps'>,
  time: TimePolicy,
): void {
  const before = spaces.map((space) => [space, vm.memory.regions({ space })] as const);
  try {
    for (const space of spaces) vm.memory.replace(maps[space], { space });
    putMachineState(vm, machine, time);
  } catch (error) {
    for (const [space, regions] of before) vm.memory.replace(regions, { space });
    throw error;
  }
}

/** The same as {@link takeSnapshot} where devices elsewhere have to be waited for without blocking. */
export async function saveSnapshot(vm: SavedVm, options?: SnapshotOptions): Promise<Uint8Array> {
  try {
    for (const device of vm.elsewhere) await device.obtain();
    return takeSnapshot(vm, options);
  } finally {
    for (const device of vm.elsewhere) device.forget();
  }
}
/** The same as {@link restoreSnapshot} there. */
export async function loadSnapshot(vm: SavedVm, bytes: Uint8Array, options: RestoreOptions = {}): Promise<void> {
  mustBeObject('options', options);
  const snapshot = readSnapshot(bytes, vm.ram.length, options.lazily);
  await withRemote(vm, snapshot.machine, async () => putSnapshot(vm, snapshot, options));
}
/** Sends the devices elsewhere their states, then does the rest; if that fails they get back what they had. */
export async function withRemote(vm: SavedVm, machine: MachineState, rest: () => Promise<void>): Promise<void> {
  const sent: (readonly [StateElsewhere, Uint8Array])[] = [];
  try {
    for (const { device, bytes } of matchedRemote(vm.elsewhere, machine)) {
      const before = await device.obtain();
      await device.send(bytes);
      sent.push([device, before]);
    }
    await rest();
  } catch (error) {
    for (const [device, before] of sent) await device.send(before).catch(() => {});
    throw error;
  } finally {
    for (const device of vm.elsewhere) device.forget();
  }
}
