/**
 * `jit86 disasm GUEST --at ADDRESS`: prints basic blocks as the emulator sees them: each instruction with the micro-ops
 * that its definition records, then the block's translation.
 */
import { basename } from 'node:path';
import type { BlockListing } from '../machines/machine.ts';
import { readModule, readNamedFile, startGuest } from './guest-file.ts';
import { imageOptions, machineOptions, readFlatOptions, readMachineOptions } from './machine-options.ts';
import { type CommandSpec, commandHelp, parseCommand } from './options.ts';
import type { Output } from './output.ts';

const spec: CommandSpec = {
  name: 'disasm',
  operands: 'GUEST',
  minOperands: 1,
  maxOperands: 1,
  summary: `Loads a guest as run does, and prints the basic blocks from an address on: instructions, micro-ops, WebAssembly.`,
  options: {
    at: { value: 'ADDRESS', help: 'where to begin (the entry point)' },
    count: { value: 'N', help: 'how many instructions (one block)' },
    ...imageOptions,
    memory: machineOptions.memory,
    x87: machineOptions.x87,
  },
};

const hex = (value: number) => value.toString(16).padStart(8, '0');

/** A block as text. */
export function formatBlock(block: BlockListing): string {
  const lines = [`block ${hex(block.address)}`];
  for (const { address, bytes, text, microOps } of block.instructions) {
    const code = [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
    lines.push(`  ${hex(address)}  ${code.padEnd(23)}  ${text}`);
    for (const microOp of microOps) lines.push(`      ${microOp}`);
  }
  lines.push('', ...block.wasm.trimEnd().split('\n'));
  return `${lines.join('\n')}\n`;
}

/** The command. */
export async function disasm(args: readonly string[], output: Output): Promise<number> {
  const parsed = parseCommand(spec, args);
  if (parsed.flag('help')) {
    output.out(commandHelp(spec));
    return 0;
  }
  const path = parsed.operands[0]!;
  const at = parsed.integer('at', 0);
  const count = parsed.integer('count', 1, 100_000) ?? 1;
  const options = readMachineOptions(parsed);
  const flat = readFlatOptions(parsed);
  const file = readNamedFile(path);
  const modules = parsed.texts('initrd').map(readModule);
  const machine = await output.createMachine({
    ...options,
    cache: null,
    engine: 'interpreter',
    serial() {},
    debugcon() {},
  });
  try {
    const { state } = startGuest(machine, path, file, {
      name: basename(path),
      commandLine: parsed.text('append') ?? '',
      modules,
      ...flat,
    });
    const blocks = await machine.disassemble(at ?? state.rip, count);
    output.out(blocks.map(formatBlock).join('\n'));
    return 0;
  } finally {
    await machine.close();
  }
}
