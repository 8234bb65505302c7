/** A translated BPF program, made from the bytes that bpf-translate.ts gives: it needs no compiler here. */
import type { PlacedContext } from '../src/bpf/placement.ts';
import { type BpfLinkage, type BpfProgram, checkLinkage, type HelperCall } from '../src/bpf/program.ts';
import type { VerifiedProgram } from '../src/bpf/verifier.ts';
import type { DirectAccess } from '../src/mmu/direct-access.ts';

/** What a translation exports; also for callers that are WebAssembly themselves. */
export interface BpfExports {
  readonly run: (context: number, stackTop: number) => bigint;
  readonly runSmall: (context: number, stackTop: number) => number;
  /** If it was made for a device's place (bpf-device.ts). */
  readonly access?: DirectAccess;
  readonly accessNumber?: (low: number, high: number, way: number, value: number) => number;
}

export class TranslatedBpfProgram implements BpfProgram {
  readonly name: string;
  readonly exports: BpfExports;
  private readonly signed: (context: number, stackTop: number) => bigint;
  private readonly small: (context: number, stackTop: number) => number;

  /**
   * @param module made for this linkage: its addresses stand in the module
   * @param linkage whose memory is a `WebAssembly.Memory`
   */
  constructor(program: VerifiedProgram, linkage: BpfLinkage, module: WebAssembly.Module) {
    checkLinkage(program, linkage);
    this.name = program.name;
    const helpers: Record<string, HelperCall> = {};
    for (const { name } of WebAssembly.Module.imports(module).filter((wanted) => wanted.module === 'helpers')) {
      const helper = program.environment.helpers[Number(name.replace('helper', ''))]!;
      const call = linkage.calls[helper.name]! as (...values: unknown[]) => unknown;
      helpers[name] =
        helper.by === 'number' ? call : (...values: unknown[]) => BigInt((call(...values) ?? 0n) as bigint);
    }
    const imports = { env: { memory: linkage.memory as WebAssembly.Memory }, helpers };
    this.exports = new WebAssembly.Instance(module, imports as WebAssembly.Imports).exports as unknown as BpfExports;
    this.signed = this.exports.run;
    this.small = this.exports.runSmall;
  }

  run(context: PlacedContext): bigint {
    context.enter();
    try {
      return BigInt.asUintN(64, this.signed(context.area.address, context.stackTop));
    } finally {
      context.busy = false;
    }
  }
  runSmall(context: PlacedContext): number {
    if (context.busy) context.enter(); // which says so
    context.busy = true;
    try {
      return this.small(context.area.address, context.stackTop);
    } finally {
      context.busy = false;
    }
  }
}
