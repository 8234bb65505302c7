/** The bare machine of `bare.ts` around a `Vm`: what the command line and the page run guests on. */
import { translationText } from '../../jit/translate.ts';
import { interpreterBlock, recordBlock } from '../../src/execute/frontend.ts';
import { printByInstruction } from '../../src/ir/print.ts';
import { decode } from '../../src/isa/decode.ts';
import { disassemble } from '../../src/isa/disassemble.ts';
import { PortBus } from '../bus.ts';
import { unexpectedExit } from '../exits.ts';
import type { Host } from '../hosts/host.ts';
import type { InitialState } from '../loaders/initial-state.ts';
import type { Vcpu } from '../vcpu.ts';
import { Vm } from '../vm.ts';
import { attachBareDevices, type BareMachineDevices } from './bare.ts';
import type { BlockListing, Machine, MachineOptions, MachineStatistics, RunEnd, RunLimits } from './machine.ts';

/** Instructions between two looks at the event loop: about 10 ms of translated code. */
const sliceInstructions = 20_000_000;
const interpretedSlice = 1_000_000;
/** The time-stamp counter's rate. */
const tscHertz = 1_000_000_000;

class BareMachine implements Machine {
  private readonly vm: Vm;
  private readonly vcpu: Vcpu;
  private readonly devices: BareMachineDevices;
  private retired = 0;
  private running = 0;
  private exitStatus: number | null = null;

  constructor(options: MachineOptions, host: Host, core: WebAssembly.Module, arithmetic: WebAssembly.Module) {
    const bus = new PortBus();
    const started = host.monotonicNanos();
    this.vm = new Vm({
      memory: options.memory,
      cpus: options.cpus,
      modules: { core, arithmetic },
      ports: {
        read: (port, bytes) => bus.read(port, bytes),
        write: (port, bytes, value) => bus.write(port, bytes, value),
      },
      tsc: { read: () => BigInt(Math.floor(host.monotonicNanos() - started)), hertz: tscHertz },
      translate: options.engine !== 'interpreter',
    });
    this.vcpu = this.vm.vcpu(0);
    this.devices = attachBareDevices(bus, {
      serial: options.serial,
      debugcon: options.debugcon,
      exit: (status) => {
        this.exitStatus = status;
        this.vcpu.kick();
      },
    });
  }

  get ram() {
    return { bytes: this.vm.ram };
  }
  start(state: InitialState): void {
    this.vm.start(0, state);
  }
  receive(bytes: Uint8Array): void {
    this.devices.serial.receive(bytes);
  }
  instructions(): number {
    return this.retired + (this.running > 0 ? this.running - this.vcpu.engine.left : 0);
  }

  async run({ maxInstructions = Number.POSITIVE_INFINITY, signal }: RunLimits): Promise<RunEnd> {
    const slice = this.vm.translators.length > 0 ? sliceInstructions : interpretedSlice;
    for (;;) {
      if (signal?.aborted === true) return { reason: 'aborted' };
      const left = maxInstructions - this.retired;
      if (left <= 0) return { reason: 'instructions' };
      this.running = Math.min(slice, left);
      const exit = this.vcpu.enter(this.running);
      this.retired += this.running - this.vcpu.engine.left;
      this.running = 0;
      if (this.exitStatus !== null) return { reason: 'exit', status: this.exitStatus };
      switch (exit.kind) {
        case 'budget':
        case 'kicked':
          await yieldToHost();
          break;
        case 'halt':
          return { reason: 'halt', rip: Number(BigInt.asIntN(64, this.vcpu.state.get64('rip'))) };
        case 'shutdown':
          return { reason: 'shutdown', rip: exit.rip, vector: exit.vector };
        case 'pio':
        case 'mmio':
        case 'debug':
        case 'msr':
        case 'hypercall':
        case 'interrupt-window':
        case 'internal-error':
          throw new Error(`the bare machine asked for no exit ${exit.kind}`);
        default:
          unexpectedExit(exit);
      }
    }
  }

  statistics(): MachineStatistics {
    let [regions, bytes, millis] = [0, 0, 0];
    for (const { statistics } of this.vm.translators) {
      regions += statistics.regions;
      bytes += statistics.bytes;
      millis += statistics.compileMillis;
    }
    const translated = this.vcpu.engine.translated;
    return {
      instructions: this.retired,
      interpreted: this.retired - translated,
      regions,
      regionsFromCache: 0,
      codeBytes: bytes,
      compileMillis: millis,
    };
  }

  async disassemble(address: number, count: number): Promise<readonly BlockListing[]> {
    const { engine } = this.vcpu;
    const context = engine.contexts.current(this.vcpu.state);
    const listings: BlockListing[] = [];
    let rip = BigInt(address);
    for (let left = count; left > 0; ) {
      const block = recordBlock(engine.source, context, rip, left);
      const optimised = interpreterBlock(engine.source, context, rip, left);
      if ('fetchFault' in block || 'fetchFault' in optimised) break;
      const texts = printByInstruction(optimised.nodes);
      const instructions = [];
      let at = rip;
      for (const node of block.nodes) {
        if (node.op !== 'insn') continue;
        at = node.imm[0] as bigint;
        const offset = Number(at & 0xfffn);
        const page = engine.source.page(at)!;
        const decoded = decode(page, offset, 4096 - offset, at, context.codeSize);
        const length = decoded.failure === null ? decoded.insn.length : 1;
        instructions.push({
          address: Number(at),
          bytes: page.slice(offset, offset + length),
          text: decoded.failure === null ? disassemble(decoded) : `(${decoded.failure})`,
          microOps: texts.find((t) => t.rip === at)?.lines ?? [],
        });
      }
      listings.push({ address: Number(rip), instructions, wasm: translationText(engine.source, context, rip) ?? '' });
      left -= block.instructions;
      rip += BigInt(block.length);
    }
    return listings;
  }

  async close(): Promise<void> {}
}

const channel = new MessageChannel();
const waiting: (() => void)[] = [];
channel.port1.onmessage = () => waiting.shift()?.();
(channel.port1 as { unref?: () => void }).unref?.();
(channel.port2 as { unref?: () => void }).unref?.();

/** Lets timers, input and output of the host have their turn. */
function yieldToHost(): Promise<void> {
  return new Promise((resolve) => {
    (channel.port1 as { ref?: () => void }).ref?.();
    waiting.push(() => {
      (channel.port1 as { unref?: () => void }).unref?.();
      resolve();
    });
    channel.port2.postMessage(null);
  });
}

/** Makes the machine on a host. */
export async function createMachine(options: MachineOptions, host: Host): Promise<Machine> {
  const [core, arithmetic] = await Promise.all(['core.wasm', 'softfloat.wasm'].map(async (name) => WebAssembly.compile(await host.readArtifact(name))));
  return new BareMachine(options, host, core!, arithmetic!);
}
