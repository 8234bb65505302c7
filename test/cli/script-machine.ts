/**
 * A machine whose guest is a function, for tests of the commands: it runs through the real loaders and the real devices
 * of the bare machine, and no processor.
 */

import { execute } from '../../runtime/cli/commands.ts';
import { IoMap } from '../../runtime/io/io-map.ts';
import type { InitialState } from '../../runtime/loaders/initial-state.ts';
import { attachBareDevices } from '../../runtime/machines/bare.ts';
import type { MachineFactory, MachineOptions, RunEnd, RunLimits } from '../../runtime/machines/machine.ts';

/** What a scripted guest can do. */
export interface Script {
  readonly options: MachineOptions;
  readonly state: InitialState;
  readonly ram: Uint8Array;
  readonly limits: RunLimits;
  out(port: number, value: number): void;
  in(port: number): number;
  /** Lets instructions pass. */
  retire(count: number): void;
}

export interface ScriptedRun {
  readonly status: number;
  readonly out: string;
  readonly error: string;
  readonly machines: readonly { options: MachineOptions; closed: boolean }[];
}

/** Runs a command line on machines whose guest is `script`; without an end of its own it halts. */
export async function runScripted(
  args: readonly string[],
  script: (guest: Script) => RunEnd | Promise<RunEnd> | undefined = () => undefined,
): Promise<ScriptedRun> {
  const machines: { options: MachineOptions; closed: boolean }[] = [];
  const createMachine: MachineFactory = async (options) => {
    const record = { options, closed: false };
    machines.push(record);
    const ram = { bytes: new Uint8Array(options.memory) };
    const io = new IoMap();
    const { ports } = io;
    let exit: number | undefined;
    let state: InitialState | undefined;
    let instructions = 0;
    const devices = attachBareDevices(io, {
      serial: options.serial,
      debugcon: options.debugcon,
      exit: (status) => {
        exit = status;
      },
    });
    return {
      ram,
      vcpus: [],
      snapshot: () => new TextEncoder().encode(JSON.stringify({ instructions, ram: [...ram.bytes.subarray(0, 16)] })),
      restore(snapshot) {
        const saved = JSON.parse(new TextDecoder().decode(snapshot)) as { instructions: number; ram: number[] };
        instructions = saved.instructions;
        ram.bytes.set(saved.ram);
      },
      start(initial) {
        state = initial;
      },
      async run(limits) {
        const end = await script({
          options,
          state: state!,
          ram: ram.bytes,
          limits,
          out: (port, value) => ports.write(port, 1, value),
          in: (port) => ports.read(port, 1),
          retire(count) {
            instructions += count;
          },
        });
        if (exit !== undefined) return { reason: 'exit', status: exit };
        return end ?? { reason: 'halt', rip: state!.rip };
      },
      receive: (bytes) => devices.serial.receive(bytes),
      instructions: () => instructions,
      statistics: () => ({
        instructions,
        interpreted: options.engine === 'interpreter' ? instructions : 0,
        regions: 3,
        regionsFromCache: 1,
        codeBytes: 4567,
        compileMillis: 12.5,
      }),
      disassemble: async (address, count) => [
        {
          address,
          instructions: Array.from({ length: count }, (_, index) => ({
            address: address + index,
            bytes: ram.bytes.slice(address + index, address + index + 1),
            text: 'hlt',
            microOps: ['%0 = call halt'],
          })),
          wasm: '(module)',
        },
      ],
      async close() {
        record.closed = true;
      },
    };
  };
  const out: string[] = [];
  const error: string[] = [];
  const status = await execute(args, {
    out: (text) => void out.push(text),
    error: (text) => void error.push(text),
    createMachine,
  });
  return { status, out: out.join(''), error: error.join(''), machines };
}
