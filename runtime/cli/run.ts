/**
 * `jit86 run GUEST`: runs a guest with its serial port on the terminal, and ends with the guest's exit status.
 */
import { writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { Jit86Error } from '../errors.ts';
import type { GdbArchitecture } from '../gdb/registers.ts';
import { type ByteSink, fileSink, monotonicNanos, streamSink, threadSeconds } from '../hosts/node.ts';
import { guestFormat } from '../loaders/load.ts';
import {
  clockKinds,
  type Machine,
  type MachineStatistics,
  machineKinds,
  type RunEnd,
  type RunLimits,
} from '../machines/machine.ts';
import { readModule, readNamedFile, startGuest } from './guest-file.ts';
import {
  engineOption,
  imageOptions,
  machineOptions,
  readEngine,
  readFlatOptions,
  readMachineOptions,
} from './machine-options.ts';
import { type CommandSpec, commandHelp, type ParsedArguments, parseCommand, UsageError } from './options.ts';
import { internalErrorStatus, type Output } from './output.ts';

/** Exit status when a limit of the command line ended the run, as from coreutils' timeout. */
const limitStatus = 124;
/** Exit status when the user interrupted the run: 128 and SIGINT. */
const interruptedStatus = 130;
/** Exit status when the guest brought its processor down with a triple fault: 128 and SIGABRT. */
const shutdownStatus = 134;
/** Exit status when the guest reset the machine. */
const resetStatus = 3;

const spec: CommandSpec = {
  name: 'run',
  operands: '[GUEST]',
  minOperands: 0,
  maxOperands: 1,
  summary: `Runs a guest: a Linux, multiboot or PVH kernel, an ELF executable for i386 or x86_64, or a boot sector. The exit
status is the guest's: code*2+1 from port 0xF4, 0 for a halt or power-off, ${resetStatus} for a reset; ${limitStatus} if a limit
ended it, ${shutdownStatus} after a triple fault, ${internalErrorStatus} for a bug of jit86, 2 for a wrong command line or file.`,
  options: {
    ...imageOptions,
    ...machineOptions,
    ...engineOption,
    machine: {
      value: 'bare|pc',
      help: 'bare: four ports; pc: timers, interrupts, ACPI (pc for Linux and PVH, else bare)',
    },
    clock: { value: 'virtual|host', help: "a pc's time: instructions executed, or the host's (virtual)" },
    'test-device': { help: "give a pc the devices of QEMU's pc-testdev, which KVM's unit tests drive" },
    serial: { value: 'stdio|none|FILE', help: 'where the serial port at 0x3F8 leads (stdio)' },
    debugcon: { value: 'stdio|none|FILE', help: 'where the debug console at 0xE9 leads (stdio)' },
    'max-instructions': { value: 'N', help: 'stop after exactly N instructions' },
    gdb: { value: 'PORT', help: 'wait for gdb at this port of 127.0.0.1 (0: a free one), which runs the guest' },
    'gdb-architecture': {
      value: 'i8086|i386|x86-64',
      help: "what gdb is told (x86-64 for a 64-bit ELF file, else the processor's mode)",
    },
    timeout: { value: 'SECONDS', help: 'stop after this time' },
    save: { value: 'FILE', help: 'write the machine to FILE if --max-instructions, --timeout or ^C ends the run' },
    restore: { value: 'FILE', help: 'instead of GUEST: go on from such a file, with the same machine options' },
    stats: { help: 'print figures at the end, on the standard error stream' },
    json: { help: 'print end and figures as JSON; the guest writes to the standard error stream' },
  },
};

/** Most of what such a guest executes is 64-bit code, although it may begin in another mode. */
const isElf64 = (file: Uint8Array): boolean => file[0] === 0x7f && file[1] === 0x45 && file[4] === 2;

/** A place for a device's bytes; `stdio` is shared, so it is flushed and never closed. */
async function openSink(option: string, word: string, stdio: NodeJS.WritableStream): Promise<ByteSink> {
  if (word === 'stdio') return streamSink(stdio);
  if (word === 'none') return { write() {}, flush() {}, close: async () => {} };
  if (word === '') throw new UsageError(`--${option}: the file has no name`);
  try {
    return await fileSink(word);
  } catch (error) {
    throw new UsageError(`--${option} ${word}: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** Passes what is typed to the guest, without keeping the process alive for it. */
function connectInput(machine: Machine): () => void {
  const { stdin } = process;
  const listener = (bytes: Buffer) => machine.receive(bytes);
  stdin.on('data', listener);
  stdin.unref?.();
  return () => {
    stdin.off('data', listener);
    stdin.pause();
  };
}

/** The exit status that an end stands for and, if it was not the guest's own wish, a line that says what happened. */
export function describeEnd(
  end: RunEnd,
  because: { interrupted: boolean; timeout: number | undefined },
): {
  status: number;
  line?: string;
} {
  switch (end.reason) {
    case 'exit':
      return { status: end.status };
    case 'halt':
      return { status: 0 };
    case 'power-off':
      return { status: 0 };
    case 'reset':
      return { status: resetStatus, line: 'the guest reset the machine' };
    case 'instructions':
      return { status: limitStatus, line: 'stopped: --max-instructions are executed' };
    case 'debug': // only between gdb's commands
    case 'aborted':
      return because.interrupted
        ? { status: interruptedStatus, line: 'interrupted' }
        : { status: limitStatus, line: `stopped: --timeout ${because.timeout} is over` };
    case 'shutdown':
      return {
        status: shutdownStatus,
        line: `the guest's processor shut down: triple fault at 0x${end.rip.toString(16)}, exception ${end.vector}`,
      };
    case 'internal-error':
      return { status: internalErrorStatus, line: `internal error at 0x${end.rip.toString(16)}: ${end.message}` };
    default:
      return end satisfies never;
  }
}

function printStatistics(statistics: MachineStatistics, seconds: number, error: (text: string) => void): void {
  const { instructions, interpreted, regions, regionsFromCache, codeBytes, compileMillis } = statistics;
  const share = instructions > 0 ? (100 * (instructions - interpreted)) / instructions : 0;
  const mips = seconds > 0 ? instructions / seconds / 1e6 : 0;
  error(
    `jit86: ${instructions.toLocaleString('en')} instructions in ${seconds.toFixed(3)} s (${mips.toFixed(1)} MIPS), ` +
      `${share.toFixed(1)} % translated\n` +
      `jit86: ${regions} regions (${regionsFromCache} from the cache), ${codeBytes.toLocaleString('en')} bytes of code, ` +
      `${compileMillis.toFixed(0)} ms of translating\n`,
  );
}

/** What `--restore` names, in the place of a guest. */
function restoreMachine(machine: Machine, path: string, file: Uint8Array): void {
  try {
    machine.restore(file);
  } catch (error) {
    if (error instanceof Jit86Error) throw new UsageError(`--restore ${path}: ${error.message}`);
    throw error;
  }
}
/** Whether the guest could go on. */
const isUnfinished = ({ reason }: RunEnd): boolean => reason === 'instructions' || reason === 'aborted';

function saveMachine(machine: Machine, path: string): void {
  try {
    writeFileSync(path, machine.snapshot());
  } catch (error) {
    throw new UsageError(`--save ${path}: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** The guest, or the file that stands in its place. */
function readOperand(parsed: ParsedArguments): { path: string; isRestored: boolean } {
  const restored = parsed.text('restore');
  const guest = parsed.operands[0];
  if (restored === undefined) {
    if (guest === undefined) throw new UsageError('jit86 run needs a GUEST (see jit86 run --help)');
    return { path: guest, isRestored: false };
  }
  const given =
    guest !== undefined ? guest : ['append', 'initrd', 'flat'].find((name) => parsed.text(name) !== undefined);
  if (given !== undefined)
    throw new UsageError(`--restore ${restored}: its guest is in it, so ${given} cannot be given`);
  return { path: restored, isRestored: true };
}

/**
 * Runs a machine as gdb says, until gdb kills it, or detaches: then to its end.
 * @param announce told where gdb can connect
 */
async function runUnderGdb(
  machine: Machine,
  { port, architecture }: { readonly port: number; readonly architecture: GdbArchitecture | undefined },
  limits: RunLimits & { readonly signal: AbortSignal },
  announce: (text: string) => void,
): Promise<RunEnd> {
  const [{ listenForGdb }, { machineTarget }] = await Promise.all([
    import('../hosts/node-gdb.ts'),
    import('../gdb/machine-target.ts'),
  ]);
  const { signal, ...others } = limits;
  const target = machineTarget(machine, others);
  const listener = await listenForGdb(target, { port, ...(architecture && { architecture }) }).catch(
    (error: unknown) => {
      throw new UsageError(`--gdb ${port}: ${error instanceof Error ? error.message : String(error)}`);
    },
  );
  announce(`jit86: waiting for gdb: target remote 127.0.0.1:${listener.port}\n`);
  const stop = () => void listener.close();
  signal.addEventListener('abort', stop);
  try {
    const end = await listener.session();
    if (end === 'killed' || signal.aborted) return { reason: 'aborted' };
  } finally {
    signal.removeEventListener('abort', stop);
    await listener.close();
  }
  return target.end ?? machine.run(limits);
}

/** The command. */
export async function run(args: readonly string[], output: Output): Promise<number> {
  const parsed = parseCommand(spec, args);
  if (parsed.flag('help')) {
    output.out(commandHelp(spec));
    return 0;
  }
  const { path, isRestored } = readOperand(parsed);
  const savePath = parsed.text('save');
  const maxInstructions = parsed.integer('max-instructions', 1);
  const timeout = parsed.seconds('timeout');
  const gdbPort = parsed.integer('gdb', 0, 65535);
  const gdbArchitecture = parsed.choice('gdb-architecture', ['auto', 'i8086', 'i386', 'x86-64'], 'auto');
  const json = parsed.flag('json');
  const flat = readFlatOptions(parsed);
  const file = readNamedFile(path);
  const wide = gdbArchitecture === 'x86-64' || (gdbArchitecture === 'auto' && isElf64(file));
  const narrow = gdbArchitecture === 'i8086' || gdbArchitecture === 'i386' ? gdbArchitecture : undefined;
  const architecture: GdbArchitecture | undefined = wide ? 'i386:x86-64' : narrow;
  const gdb = gdbPort === undefined ? null : { port: gdbPort, architecture };
  const testDevice = parsed.flag('test-device');
  const fitting =
    isRestored || testDevice || (flat.flat === undefined && ['bzimage', 'pvh'].includes(guestFormat(file) ?? ''))
      ? 'pc'
      : 'bare';
  const options = {
    ...readMachineOptions(parsed),
    engine: readEngine(parsed),
    machine: parsed.choice('machine', machineKinds, fitting),
    clock: parsed.choice('clock', clockKinds, 'virtual'),
    testDevice,
  };
  if (testDevice && options.machine !== 'pc')
    throw new UsageError(`--test-device is a pc's, not for --machine ${options.machine}`);
  const modules = parsed.texts('initrd').map(readModule);
  const stdio = json ? process.stderr : process.stdout;
  const serialWord = parsed.text('serial') ?? 'stdio';
  const serial = await openSink('serial', serialWord, stdio);
  const debugcon = await openSink('debugcon', parsed.text('debugcon') ?? 'stdio', stdio);
  const flush = () => {
    serial.flush();
    debugcon.flush();
  };

  const machine = await output.createMachine({ ...options, serial: serial.write, debugcon: debugcon.write });
  const stop = new AbortController();
  let interrupted = false;
  const onInterrupt = () => {
    interrupted = true;
    stop.abort();
  };
  try {
    let format = 'snapshot';
    if (isRestored) restoreMachine(machine, path, file);
    else {
      const commandLine = parsed.text('append') ?? '';
      format = startGuest(machine, path, file, { name: basename(path), commandLine, modules, ...flat }).format;
    }
    process.once('SIGINT', onInterrupt);
    const timer = timeout === undefined ? undefined : setTimeout(() => stop.abort(), timeout * 1000);
    const flusher = setInterval(flush, 50); // a prompt has no line end
    const disconnect = serialWord === 'stdio' ? connectInput(machine) : undefined;
    const started = monotonicNanos(); // since the process began
    const threadStarted = threadSeconds();
    let end: RunEnd;
    try {
      const limits = { ...(maxInstructions === undefined ? {} : { maxInstructions }), signal: stop.signal };
      end = await (gdb === null ? machine.run(limits) : runUnderGdb(machine, gdb, limits, output.error));
      // gdb's kill is the user's wish.
      interrupted ||= gdb !== null && end.reason === 'aborted' && !stop.signal.aborted;
    } finally {
      clearTimeout(timer);
      clearInterval(flusher);
      disconnect?.();
      process.off('SIGINT', onInterrupt);
    }
    const seconds = (monotonicNanos() - started) / 1e9;
    const guestThreadSeconds = threadSeconds() - threadStarted;
    flush();
    const { status, line } = describeEnd(end, { interrupted, timeout });
    const statistics = machine.statistics();
    if (json) {
      const mips = seconds > 0 ? statistics.instructions / seconds / 1e6 : 0;
      // Wall time, and the processor time of the guest's thread.
      const times = { startSeconds: started / 1e9, seconds, startThreadSeconds: threadStarted, guestThreadSeconds };
      output.out(`${JSON.stringify({ guest: path, format, ...end, status, ...times, mips, ...statistics })}\n`);
    }
    if (line !== undefined) output.error(`jit86: ${line}\n`);
    if (savePath !== undefined && isUnfinished(end)) saveMachine(machine, savePath);
    else if (savePath !== undefined) output.error(`jit86: --save ${savePath}: nothing is saved, the guest has ended\n`);
    if (parsed.flag('stats')) printStatistics(statistics, seconds, output.error);
    return status;
  } finally {
    try {
      await machine.close();
    } catch (error) {
      // The guest's work is done; only the next run begins without translations.
      output.error(`jit86: no translations are kept: ${error instanceof Error ? error.message : String(error)}\n`);
    }
    await Promise.all([serial.close(), debugcon.close()]);
  }
}
