/**
 * Everything of a VM but its memory: vCPUs' registers, interrupts, devices, time. Snapshots, forks and migrations all carry
 * this.
 */
import type { StateElsewhere, Stateful } from '../devices/device.ts';
import { beyondLimits } from '../devices/state-limits.ts';
import { type ProgramCode, ProgramError, SnapshotError } from '../errors.ts';
import type { PassedAccesses } from '../io/io-space.ts';
import type { RegisterTuple } from '../vm/registers.ts';
import type { Vcpu } from '../vm/vcpu.ts';
import type { SavedTime, TimePolicy, VmTime } from '../vm/vm-time.ts';
import { decodePlain, encodePlain, misfit, putPlain } from './plain-state.ts';

/** What must be equal on both sides: another machine could not go on from there. */
export interface MachineKind {
  /** Bytes of RAM. */
  readonly memory: number;
  /** vCPUs. */
  readonly cpus: number;
  /** Name of the CPU model. */
  readonly model: string;
  /** How exact the x87 is. */
  readonly x87: 'exact' | 'fast';
  /** Whether there are local APICs. */
  readonly lapic: 'visible' | 'hidden';
}

/** A program, as far as its state is concerned: the memory that it keeps, and whether it still gets accesses. */
export interface StatefulProgram {
  readonly name: string;
  readonly identity: string;
  readonly failure: ProgramError | null;
  setFailure(failure: ProgramError | null): void;
  saveState(): Uint8Array;
  /** @throws for bytes of another length */
  loadState(bytes: Uint8Array): void;
}

const ioSpaces = ['ports', 'memory'] as const;

/** The VM, as far as its state is concerned. */
export interface StatefulVm {
  readonly kind: MachineKind;
  readonly vcpus: readonly Vcpu[];
  readonly irq: { state: object };
  /** Devices that are attached, and what is kept as they are, each once. */
  readonly devices: readonly Stateful[];
  /** Programs next to the processors that are attached, in that order. */
  readonly programs: readonly StatefulProgram[];
  /** The states of devices that are in other threads and processes, each once. */
  readonly elsewhere: readonly StateElsewhere[];
  /** What programs have passed on: they are not asked twice. */
  readonly io: Record<(typeof ioSpaces)[number], { passed: PassedAccesses }>;
  readonly time: Pick<VmTime, 'save' | 'restore'>;
}

export interface MachineState {
  readonly kind: MachineKind;
  readonly registers: readonly (readonly RegisterTuple[])[];
  /** As text, so that nothing of it goes on changing. */
  readonly irq: string;
  readonly time: string;
  readonly devices: readonly { readonly name: string; readonly state: string }[];
  readonly programs: readonly SavedProgram[];
  /** Of devices elsewhere; left out: there are none. */
  readonly remote?: readonly { readonly name: string; readonly state: string }[];
  /** By I/O space; left out: nothing was passed on. */
  readonly passed?: readonly PassedAccesses[];
}

export interface SavedProgram {
  readonly name: string;
  readonly state: string;
  /** Left out: it is not known which program it is, and it has not failed. */
  readonly identity?: string;
  readonly failure?: { readonly code: ProgramCode; readonly message: string } | null;
}

/** @throws SnapshotError `access-pending` if a vCPU is in the middle of an instruction; `bad-device-state` */
export function machineState(vm: StatefulVm): MachineState {
  for (const { accesses, index } of vm.vcpus)
    if (accesses.halfDone)
      throw new SnapshotError(
        'access-pending',
        `vCPU ${index} has made a part of an instruction's accesses: enter it once more`,
      );
  return {
    kind: vm.kind,
    registers: vm.vcpus.map(({ state }) => state.get()),
    irq: encodePlain('interrupts', vm.irq.state),
    time: encodePlain('time', vm.time.save()),
    devices: withState(vm.devices).map(({ name, state }) => ({ name, state: encodePlain(`device ${name}`, state) })),
    programs: savedPrograms(vm.programs),
    remote: vm.elsewhere.map((device) => ({
      name: device.name,
      state: encodePlain(`device ${device.name}`, device.take()),
    })),
    passed: ioSpaces.map((space) => vm.io[space].passed),
  };
}

export function savedPrograms(programs: readonly StatefulProgram[]): SavedProgram[] {
  return programs.map((program) => {
    const { name, identity, failure } = program;
    return {
      ...{ name, identity },
      failure: failure === null ? null : { code: failure.code, message: failure.message },
      state: encodePlain(`program ${name}`, program.saveState()),
    };
  });
}

const withState = (devices: readonly Stateful[]) =>
  devices.filter((device): device is Stateful & { state: object } => device.state !== undefined);

/**
 * Puts the state into a VM that was put together in the same way: devices and programs are found by their names, and among
 * those of one name by the order in which they were attached.
 * @throws SnapshotError `different-machine`, `bad-device-state`, `bad-chunk`; StateError, InterruptError: nothing is changed
 */
export function putMachineState(vm: StatefulVm, saved: MachineState, policy: TimePolicy = 'continue'): void {
  for (const name of Object.keys(vm.kind) as (keyof MachineKind)[])
    if (vm.kind[name] !== saved.kind[name])
      throw new SnapshotError(
        'different-machine',
        `${name}: the snapshot has ${saved.kind[name]}, this VM ${vm.kind[name]}`,
      );
  const devices = withState(vm.devices);
  const free = [...devices];
  const placed = saved.devices.map(({ name, state }) => {
    const at = free.findIndex((device) => device.name === name);
    if (at < 0) throw new SnapshotError('different-machine', `device ${name}: this VM has none, or fewer`);
    const [device] = free.splice(at, 1);
    const plain = decodePlain(`device ${name}`, state) as object;
    const { limits } = device!;
    const wrong = misfit(device!.state, plain, name) ?? (limits ? beyondLimits(limits, plain, name) : null);
    if (wrong !== null) throw new SnapshotError('bad-device-state', `device ${name}: ${wrong}`);
    return { device: device!, plain };
  });
  if (free.length > 0)
    throw new SnapshotError('different-machine', `device ${free[0]!.name}: the snapshot has none, or fewer`);
  const programs = matchedPrograms(vm, saved);
  const remote = matchedRemote(vm.elsewhere, saved);
  const irq = decodePlain('interrupts', saved.irq) as object;
  const time = decodePlain('time', saved.time) as SavedTime;
  // Each of these takes all or nothing; what was taken before one that refuses is put back.
  const before = machineState(vm);
  const done: (() => void)[] = [];
  try {
    // Their lines speak before the interrupts' state says what they had come to.
    for (const [i, { device, bytes }] of remote.entries()) {
      device.put(bytes);
      done.push(() => device.put(decodePlain(device.name, before.remote![i]!.state) as Uint8Array));
    }
    vm.time.restore(time, policy);
    done.push(() => vm.time.restore(decodePlain('time', before.time) as SavedTime));
    for (const [i, vcpu] of vm.vcpus.entries()) {
      vcpu.accesses.forget();
      vcpu.state.set(saved.registers[i]!);
      done.push(() => vcpu.state.set(before.registers[i]!));
    }
    vm.irq.state = irq;
    done.push(() => {
      vm.irq.state = decodePlain('interrupts', before.irq) as object;
    });
    // Lines may follow from several devices' states: none is told before all of them have theirs.
    for (const [i, device] of devices.entries())
      done.push(() => {
        putPlain(device.state, decodePlain(`device ${device.name}`, before.devices[i]!.state) as object);
        device.restored?.();
      });
    for (const { device, plain } of placed) putPlain(device.state, plain);
    for (const { device } of placed) restored(device);
    for (const { program, bytes, failure } of programs) {
      program.loadState(bytes); // of their lengths: none refuses
      program.setFailure(failure);
    }
    for (const [i, space] of ioSpaces.entries()) vm.io[space].passed = saved.passed?.[i] ?? [-1, -1];
  } catch (error) {
    for (const undo of done) undo(); // in the same order: local APICs count from what the clock shows
    throw error;
  }
}

function restored(device: Stateful): void {
  try {
    device.restored?.();
  } catch (error) {
    throw new SnapshotError('bad-device-state', `device ${device.name}: ${(error as Error).message}`);
  }
}

/** Each saved state of a device elsewhere, in the order of the VM's. */
export function matchedRemote(elsewhere: readonly StateElsewhere[], { remote = [] }: MachineState) {
  const free = [...remote];
  const matched = elsewhere.map((device) => {
    const at = free.findIndex(({ name }) => name === device.name);
    if (at < 0) throw new SnapshotError('different-machine', `device ${device.name}: the snapshot has none, or fewer`);
    const bytes = decodePlain(`device ${device.name}`, free.splice(at, 1)[0]!.state);
    if (!(bytes instanceof Uint8Array))
      throw new SnapshotError('bad-chunk', `device ${device.name}: no state of bytes`);
    return { device, bytes };
  });
  if (free.length > 0)
    throw new SnapshotError('different-machine', `device ${free[0]!.name}: this VM has none, or fewer`);
  return matched;
}

/** Each saved program's place and memory. */
function matchedPrograms(vm: StatefulVm, { programs }: MachineState) {
  const free = [...vm.programs];
  const matched = programs.map(({ name, state, identity, failure = null }) => {
    const named = free.filter((program) => program.name === name);
    if (named.length === 0) throw new SnapshotError('different-machine', `program ${name}: this VM has none, or fewer`);
    const program = named.find((one) => identity === undefined || one.identity === identity);
    if (program === undefined)
      throw new SnapshotError('different-machine', `${named[0]!.identity}: the snapshot has ${identity}`);
    free.splice(free.indexOf(program), 1);
    const bytes = decodePlain(`program ${name}`, state);
    if (!(bytes instanceof Uint8Array)) throw new SnapshotError('bad-chunk', `program ${name}: its state is no memory`);
    const { length } = program.saveState();
    if (bytes.length !== length)
      throw new SnapshotError('bad-device-state', `program ${name} has ${length} bytes of state, not ${bytes.length}`);
    return { program, bytes, failure: failure === null ? null : new ProgramError(failure.code, failure.message) };
  });
  if (free.length > 0)
    throw new SnapshotError('different-machine', `program ${free[0]!.name}: the snapshot has none, or fewer`);
  return matched;
}
