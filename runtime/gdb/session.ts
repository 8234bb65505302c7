/**
 * One debugger's session: what each packet of gdb's remote serial protocol does and is answered. It knows nothing of
 * connections (server.ts), and only asks the server to run the guest. GDB manual, "Remote Protocol".
 *
 * Packets that it does not know are answered by an empty one, as the protocol wants; ones that make no sense by E22 (EINVAL),
 * memory that is not there by E14 (EFAULT), threads that do not exist by E03 (ESRCH).
 */
import { StateError } from '../errors.ts';
import type { DebugExit } from '../vm/exits.ts';
import type { Watchpoint, WatchpointKind } from '../vm/guest-debug.ts';
import type { RegisterTuple } from '../vm/registers.ts';
import type { Vcpu } from '../vm/vcpu.ts';
import { readLinear, writeLinear } from './linear-memory.ts';
import { runMonitor } from './monitor.ts';
import { bytesOf, fromHex, numberOf, packetSize, toHex } from './packets.ts';
import {
  fromLittleEndian,
  type GdbArchitecture,
  type GdbFeature,
  type GdbRegister,
  gdbFeatures,
  littleEndian,
  programCounter,
  systemFeature,
} from './registers.ts';
import type { GdbTarget, TargetStop } from './target.ts';
import { targetXml } from './target-xml.ts';

/** What a vCPU does until the next stop; a range is stepped through: linear addresses, `end` is outside. */
export type Action = 'continue' | 'step' | 'pause' | { readonly start: bigint; readonly end: bigint };

/** The answer to a packet. */
export type Answer =
  | { readonly kind: 'reply'; readonly data: string }
  /** The guest runs; the reply comes when it stops. */
  | { readonly kind: 'resume'; readonly actions: readonly Action[] }
  /** The session ends; the guest goes on, or is to end with it. */
  | { readonly kind: 'detach' | 'kill'; readonly data: string | null }
  /** From the next packet on nothing is acknowledged. */
  | { readonly kind: 'no-acks' };

const reply = (data: string): Answer => ({ kind: 'reply', data });
const unknown = reply('');
const ok = reply('OK');
const badRequest = reply('E22');
const noMemory = reply('E14');
const noThread = reply('E03');

/** gdb's numbers of signals. */
const signals = { interrupt: 2, trap: 5, abort: 6, segmentationFault: 11, stop: 17 } as const;

const watchKinds: Readonly<Record<string, WatchpointKind>> = { '2': 'write', '3': 'read', '4': 'access' };
const watchNames: Readonly<Record<WatchpointKind, string>> = { write: 'watch', read: 'rwatch', access: 'awatch' };

interface PlacedWatch extends Watchpoint {
  readonly address: bigint;
}

export class GdbSession {
  private readonly target: GdbTarget;
  private readonly architecture: GdbArchitecture;
  private readonly features: readonly GdbFeature[];
  /** By gdb's numbers; those of `g` and `G` come first. */
  private readonly registers: readonly GdbRegister[];
  private readonly inG: number;
  private readonly breakpoints = { '0': new Set<bigint>(), '1': new Set<bigint>() };
  private readonly watchpoints = new Map<string, PlacedWatch>();
  /** Whose registers and memory gdb looks at, and who goes on with `c` and `s` (null = all). */
  private current = 0;
  private forResume: number | null = null;
  private lastStop: TargetStop = { kind: 'aborted' };
  private tells = { hardware: false, software: false };
  private readonly monitor = { stepInterrupts: false };

  /** @param architecture what gdb is told; left out, what the first vCPU is now: in real, protected or IA-32e mode */
  constructor(target: GdbTarget, architecture?: GdbArchitecture) {
    this.target = target;
    const first = target.vcpus[0]!;
    const { longMode, protectedMode } = first.cpu.processor;
    this.architecture = architecture ?? (longMode ? 'i386:x86-64' : protectedMode ? 'i386' : 'i8086');
    this.features = gdbFeatures(first, this.architecture);
    this.registers = this.features.flatMap(({ registers }) => registers);
    this.inG = this.features
      .filter(({ name }) => name !== systemFeature)
      .reduce((sum, { registers }) => sum + registers.length, 0);
  }

  private get vcpu(): Vcpu {
    return this.target.vcpus[this.current]!;
  }
  private get addressBits(): 32 | 64 {
    return this.architecture === 'i386:x86-64' ? 64 : 32;
  }

  // --- before and after a run
  /** Arms the vCPUs for a run. */
  arm(actions: readonly Action[]): void {
    const breakpoints = [...new Set([...this.breakpoints['0'], ...this.breakpoints['1']])];
    const watchpoints = [...this.watchpoints.values()];
    for (const [i, { debug }] of this.target.vcpus.entries()) {
      debug.paused = actions[i] === 'pause';
      debug.set({
        breakpoints,
        watchpoints,
        singleStep: actions[i] === 'step' || typeof actions[i] === 'object',
        blockInterrupts: !this.monitor.stepInterrupts,
      });
    }
  }
  /** The step that was done is one of many: the vCPU is within the range, and no breakpoint is there. */
  goesOn(stop: TargetStop, actions: readonly Action[]): boolean {
    if (stop.kind !== 'debug' || stop.exit.reason !== 'single-step') return false;
    const range = actions[stop.exit.cpu];
    if (typeof range !== 'object') return false;
    const pc = this.pcOf(this.target.vcpus[stop.exit.cpu]!);
    return pc >= range.start && pc < range.end && !this.breakpoints['0'].has(pc) && !this.breakpoints['1'].has(pc);
  }
  private pcOf(vcpu: Vcpu): bigint {
    return BigInt.asUintN(this.addressBits, programCounter('pc', 8).read(vcpu));
  }
  /** The guest is as if nobody had debugged it. */
  disarm(): void {
    for (const { debug } of this.target.vcpus) debug.clear();
  }
  /** Takes note of a stop; gives the packet that tells of it. */
  stopped(stop: TargetStop): string {
    this.lastStop = stop;
    if (stop.kind === 'debug') this.current = stop.exit.cpu;
    else if ('cpu' in stop) this.current = stop.cpu;
    return this.stopReply();
  }
  private stopReply(): string {
    const stop = this.lastStop;
    switch (stop.kind) {
      case 'exited':
        return `W${stop.status.toString(16).padStart(2, '0')}`;
      case 'aborted':
        return this.signalled(signals.interrupt);
      case 'halted':
        return this.signalled(signals.stop);
      case 'shutdown':
        return this.signalled(signals.segmentationFault);
      case 'internal-error':
        return this.signalled(signals.abort);
      case 'debug':
        return this.signalled(signals.trap) + this.reason(stop.exit);
    }
  }
  private signalled(signal: number): string {
    return `T${signal.toString(16).padStart(2, '0')}thread:${(this.current + 1).toString(16)};`;
  }
  private reason({ reason, address }: DebugExit): string {
    switch (reason) {
      case 'single-step':
        return '';
      case 'watchpoint': {
        const at = BigInt.asUintN(this.addressBits, BigInt(address));
        const met = [...this.watchpoints.values()].find((w) => at >= w.address && at < w.address + BigInt(w.length));
        return `${watchNames[met?.kind ?? 'access']}:${at.toString(16)};`;
      }
      case 'hardware-breakpoint':
        if (this.breakpoints['1'].has(this.pcOf(this.vcpu))) return this.tells.hardware ? 'hwbreak:;' : '';
        return this.tells.software ? 'swbreak:;' : '';
      case 'software-breakpoint':
        return this.tells.software ? 'swbreak:;' : '';
    }
  }

  // --- packets
  /** Does what a packet says. */
  handle(data: string): Answer {
    const rest = data.slice(1);
    switch (data[0]) {
      case '?':
        return reply(this.stopReply());
      case 'g':
        return reply(
          this.registers
            .slice(0, this.inG)
            .map((register) => this.registerText(register))
            .join(''),
        );
      case 'G':
        return this.writeRegisters(rest);
      case 'p':
        return this.readRegister(rest);
      case 'P':
        return this.writeRegister(rest);
      case 'm':
        return this.readMemory(rest);
      case 'M':
      case 'X':
        return this.writeMemory(data[0], rest);
      case 'Z':
      case 'z':
        return this.breakpoint(data[0] === 'Z', rest);
      case 'H':
        return this.selectThread(rest);
      case 'T': {
        const thread = this.threadOf(rest);
        return thread === null ? noThread : ok;
      }
      case 'c':
      case 's':
        return this.resume(data[0], rest);
      case 'C':
      case 'S':
        return this.resume(data[0].toLowerCase(), rest.split(';')[1] ?? '');
      case 'v':
        return this.verbose(data);
      case 'q':
      case 'Q':
        return this.query(data);
      case 'D':
        return { kind: 'detach', data: 'OK' };
      case 'k':
        return { kind: 'kill', data: null };
      default:
        return unknown;
    }
  }

  /** Number of the vCPU of a thread id; null: there is none. */
  private threadOf(text: string): number | null {
    const id = numberOf(text);
    return id === null || id < 1n || id > BigInt(this.target.vcpus.length) ? null : Number(id) - 1;
  }
  private selectThread(text: string): Answer {
    const [what, id] = [text[0], text.slice(1)];
    if (what !== 'g' && what !== 'c') return badRequest;
    const any = id === '0' || id === '-1';
    const thread = any ? (what === 'c' ? null : this.current) : this.threadOf(id);
    if (thread === null && !any) return noThread;
    if (what === 'c') this.forResume = thread;
    else this.current = thread!;
    return ok;
  }

  // --- registers
  private registerText({ bytes, read }: GdbRegister): string {
    return toHex(littleEndian(read(this.vcpu), bytes));
  }
  private readRegister(text: string): Answer {
    const register = this.registers[Number(numberOf(text) ?? -1)];
    return register === undefined ? badRequest : reply(this.registerText(register));
  }
  private writeRegister(text: string): Answer {
    const [number, digits] = text.split('=');
    const register = this.registers[Number(numberOf(number) ?? -1)];
    const bytes = fromHex(digits ?? '');
    if (register === undefined || bytes === null || bytes.length !== register.bytes) return badRequest;
    return this.setRegisters(register.write(this.vcpu, fromLittleEndian(bytes)));
  }
  private writeRegisters(text: string): Answer {
    const bytes = fromHex(text);
    if (bytes === null) return badRequest;
    const tuples: RegisterTuple[] = [];
    let at = 0;
    for (const register of this.registers.slice(0, this.inG)) {
      if (at + register.bytes > bytes.length) break;
      const value = fromLittleEndian(bytes.subarray(at, at + register.bytes));
      at += register.bytes;
      // What gdb writes back as it was is not set: registers that overlap do not undo each other.
      if (value !== register.read(this.vcpu)) tuples.push(...register.write(this.vcpu, value));
    }
    return at === 0 ? badRequest : this.setRegisters(tuples);
  }
  private setRegisters(tuples: readonly RegisterTuple[]): Answer {
    try {
      this.vcpu.state.set(tuples);
      return ok;
    } catch (error) {
      if (error instanceof StateError) return badRequest;
      throw error;
    }
  }

  // --- memory
  private areaOf(text: string): { address: bigint; length: number } | null {
    const [address, length] = text.split(',').map((part) => numberOf(part));
    if (address == null || length == null || length > BigInt(packetSize)) return null;
    return { address: BigInt.asUintN(this.addressBits, address), length: Number(length) };
  }
  private readMemory(text: string): Answer {
    const area = this.areaOf(text);
    if (area === null) return badRequest;
    // As much as a reply holds; gdb asks for the rest.
    const bytes = readLinear(this.vcpu, area.address, Math.min(area.length, packetSize / 2));
    return bytes === null ? noMemory : reply(toHex(bytes));
  }
  private writeMemory(kind: 'M' | 'X', text: string): Answer {
    const colon = text.indexOf(':');
    const area = colon < 0 ? null : this.areaOf(text.slice(0, colon));
    const body = text.slice(colon + 1);
    const bytes = kind === 'X' ? bytesOf(body) : fromHex(body);
    if (area === null || bytes === null || bytes.length !== area.length) return badRequest;
    return writeLinear(this.vcpu, area.address, bytes) ? ok : noMemory;
  }

  // --- breakpoints
  private breakpoint(insert: boolean, text: string): Answer {
    const [type = '', at, size] = text.split(';')[0]!.split(',');
    const number = numberOf(at);
    const kind = numberOf(size);
    if (number === null || kind === null) return badRequest;
    const address = BigInt.asUintN(this.addressBits, number);
    if (type === '0' || type === '1') {
      if (insert) this.breakpoints[type].add(address);
      else this.breakpoints[type].delete(address);
      return ok;
    }
    const watch = watchKinds[type];
    if (watch === undefined) return unknown;
    if (kind < 1n || kind > 0x1000_0000n) return badRequest;
    const key = `${type},${address},${kind}`;
    if (insert) this.watchpoints.set(key, { address, length: Number(kind), kind: watch });
    else this.watchpoints.delete(key);
    return ok;
  }

  // --- running
  private everyone(action: Action, except: Action = action, thread = -1): Answer {
    return { kind: 'resume', actions: this.target.vcpus.map((_, i) => (i === thread ? except : action)) };
  }
  private resume(kind: string, text: string): Answer {
    if (text !== '') {
      const address = numberOf(text);
      if (address === null) return badRequest;
      const answer = this.setRegisters(programCounter('pc', 8).write(this.vcpu, address));
      if (answer !== ok) return answer;
    }
    if (kind === 's') return this.everyone('pause', 'step', this.forResume ?? this.current);
    return this.forResume === null ? this.everyone('continue') : this.everyone('pause', 'continue', this.forResume);
  }
  private verbose(data: string): Answer {
    if (data === 'vCont?') return reply('vCont;c;C;s;S;t;r');
    if (data.startsWith('vCont;')) return this.continueThreads(data.slice(6).split(';'));
    if (data.startsWith('vKill')) return { kind: 'kill', data: 'OK' };
    return unknown; // vMustReplyEmpty
  }
  /** Each thread does what the first item says that names it. */
  private continueThreads(items: readonly string[]): Answer {
    const actions: (Action | null)[] = this.target.vcpus.map(() => null);
    for (const item of items) {
      const [what = '', id] = item.split(':');
      const action = this.actionOf(what);
      if (action === null) return badRequest;
      const thread = id === undefined || id === '-1' ? null : id === '0' ? this.current : this.threadOf(id);
      if (thread === null && id !== undefined && id !== '-1') return noThread;
      for (let i = 0; i < actions.length; i++) if (thread === null || thread === i) actions[i] ??= action;
    }
    if (actions.every((action) => action === null || action === 'pause')) return badRequest;
    return { kind: 'resume', actions: actions.map((action) => action ?? 'pause') };
  }

  private actionOf(text: string): Action | null {
    if (/^(?:c|C[0-9a-f]{2})$/i.test(text)) return 'continue';
    if (/^(?:s|S[0-9a-f]{2})$/i.test(text)) return 'step';
    if (text === 't') return 'pause';
    const [start, end] = text.startsWith('r')
      ? text
          .slice(1)
          .split(',')
          .map((part) => numberOf(part))
      : [];
    return start == null || end == null ? null : { start, end };
  }

  // --- queries
  private query(data: string): Answer {
    const [name = '', ...rest] = data.split(/[:,]/);
    switch (name) {
      case 'qSupported': {
        const theirs = data.slice(data.indexOf(':') + 1).split(';');
        this.tells = { hardware: theirs.includes('hwbreak+'), software: theirs.includes('swbreak+') };
        const size = `PacketSize=${packetSize.toString(16)}`;
        const ours = ['QStartNoAckMode+', 'qXfer:features:read+', 'qXfer:threads:read+', 'vContSupported+'];
        return reply([size, ...ours, 'swbreak+', 'hwbreak+'].join(';'));
      }
      case 'QStartNoAckMode':
        return { kind: 'no-acks' };
      case 'qAttached':
        return reply('1');
      case 'qC':
        return reply(`QC${(this.current + 1).toString(16)}`);
      case 'qfThreadInfo':
        return reply(`m${this.target.vcpus.map((_, i) => (i + 1).toString(16)).join(',')}`);
      case 'qsThreadInfo':
        return reply('l');
      case 'qThreadExtraInfo': {
        const thread = this.threadOf(rest[0] ?? '');
        return thread === null ? noThread : reply(toHex(bytesOf(describeVcpu(this.target.vcpus[thread]!))));
      }
      case 'qXfer':
        return this.transfer(rest);
      case 'qRcmd': {
        const bytes = fromHex(rest[0] ?? '');
        if (bytes === null) return badRequest;
        const text = runMonitor(new TextDecoder().decode(bytes), this.target.vcpus, this.monitor);
        return reply(toHex(new TextEncoder().encode(text)));
      }
      default:
        return unknown;
    }
  }
  /** `qXfer:object:read:annex:offset,length` */
  private transfer([object, operation, annex, offset, length]: readonly string[]): Answer {
    const from = numberOf(offset);
    const count = numberOf(length);
    if (operation !== 'read') return unknown;
    let text: string;
    if (object === 'features') {
      if (annex !== 'target.xml') return reply('E00');
      text = targetXml(this.architecture, this.features);
    } else if (object === 'threads') text = threadsXml(this.target.vcpus);
    else return unknown;
    if (from === null || count === null) return badRequest;
    // Half of a packet at most, since what is escaped counts twice.
    const part = text.slice(Number(from), Number(from) + Math.min(Number(count), packetSize / 2));
    return reply((Number(from) + part.length < text.length ? 'm' : 'l') + part);
  }
}

/** What `info threads` shows of a vCPU. */
export function describeVcpu(vcpu: Vcpu): string {
  const { fields } = vcpu;
  const { processor } = vcpu.cpu;
  const mode = !processor.protectedMode
    ? 'real mode'
    : processor.virtual8086
      ? 'virtual-8086 mode'
      : `${processor.longMode ? (processor.code64 ? '64-bit' : 'compatibility') : 'protected'} mode, CPL ${processor.cpl}`;
  const state =
    fields.get32('shutdown') !== 0
      ? 'shut down'
      : fields.get32('halted') !== 0
        ? 'halted'
        : fields.get32('waitsForStartUp') !== 0
          ? 'waits'
          : 'runs';
  return `${state}, ${mode}${fields.get32('smm') !== 0 ? ', SMM' : ''}`;
}
function threadsXml(vcpus: readonly Vcpu[]): string {
  const lines = vcpus.map(
    (vcpu, i) => `<thread id="${(i + 1).toString(16)}" core="${i}" name="vCPU ${i}">${describeVcpu(vcpu)}</thread>`,
  );
  return `<?xml version="1.0"?>\n<threads>\n${lines.join('\n')}\n</threads>\n`;
}
