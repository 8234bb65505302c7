/**
 * `jit86 run GUEST`: runs a guest with its serial port on the terminal, and ends with the guest's exit status.
 */
import { basename } from 'node:path';
import { type ByteSink, fileSink, monotonicNanos, streamSink, threadSeconds } from '../hosts/node.ts';
import { guestFormat } from '../loaders/load.ts';
import { clockKinds, type Machine, type MachineStatistics, machineKinds, type RunEnd } from '../machines/machine.ts';
import { readModule, readNamedFile, startGuest } from './guest-file.ts';
import {
  engineOption,
  imageOptions,
  machineOptions,
  readEngine,
  readFlatOptions,
  readMachineOptions,
} from './machine-options.ts';
import { type CommandSpec, commandHelp, parseCommand, UsageError } from './options.ts';
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
  operands: 'GUEST',
  minOperands: 1,
  maxOperands: 1,
  summary: `Runs a guest: a Linux or multiboot kernel, an ELF executable for i386 or x86_64, or a boot sector. The exit
status is the guest's: code*2+1 from port 0xF4, 0 for a halt or power-off, ${resetStatus} for a reset; ${limitStatus} if a limit
ended it, ${shutdownStatus} after a triple fault, ${internalErrorStatus} for a bug of jit86, 2 for a wrong command line or file.`,
  options: {
    ...imageOptions,
    ...machineOptions,
    ...engineOption,
    machine: { value: 'bare|pc', help: 'bare: four ports; pc: timers, interrupts, ACPI (pc for Linux, else bare)' },
    clock: { value: 'virtual|host', help: "a pc's time: instructions executed, or the host's (virtual)" },
    serial: { value: 'stdio|none|FILE', help: 'where the serial port at 0x3F8 leads (stdio)' },
    debugcon: { value: 'stdio|none|FILE', help: 'where the debug console at 0xE9 leads (stdio)' },
    'max-instructions': { value: 'N', help: 'stop after exactly N instructions' },
    timeout: { value: 'SECONDS', help: 'stop after this time' },
    stats: { help: 'print figures at the end, on the standard error stream' },
    json: { help: 'print end and figures as JSON; the guest writes to the standard error stream' },
  },
};

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

/** The command. */
export async function run(args: readonly string[], output: Output): Promise<number> {
  const parsed = parseCommand(spec, args);
  if (parsed.flag('help')) {
    output.out(commandHelp(spec));
    return 0;
  }
  const path = parsed.operands[0]!;
  const maxInstructions = parsed.integer('max-instructions', 1);
  const timeout = parsed.seconds('timeout');
  const json = parsed.flag('json');
  const flat = readFlatOptions(parsed);
  const file = readNamedFile(path);
  const fitting = flat.flat === undefined && guestFormat(file) === 'bzimage' ? 'pc' : 'bare';
  const options = {
    ...readMachineOptions(parsed),
    engine: readEngine(parsed),
    machine: parsed.choice('machine', machineKinds, fitting),
    clock: parsed.choice('clock', clockKinds, 'virtual'),
  };
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
    const guest = startGuest(machine, path, file, {
      name: basename(path),
      commandLine: parsed.text('append') ?? '',
      modules,
      ...flat,
    });
    process.once('SIGINT', onInterrupt);
    const timer = timeout === undefined ? undefined : setTimeout(() => stop.abort(), timeout * 1000);
    const flusher = setInterval(flush, 50); // a prompt has no line end
    const disconnect = serialWord === 'stdio' ? connectInput(machine) : undefined;
    const started = monotonicNanos(); // since the process began
    const threadStarted = threadSeconds();
    let end: RunEnd;
    try {
      end = await machine.run({ ...(maxInstructions === undefined ? {} : { maxInstructions }), signal: stop.signal });
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
      output.out(
        `${JSON.stringify({ guest: path, format: guest.format, ...end, status, ...times, mips, ...statistics })}\n`,
      );
    }
    if (line !== undefined) output.error(`jit86: ${line}\n`);
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
