/**
 * What a machine's translations come from: the compiler, on a thread of its own or on the machine's, and the cache of
 * earlier runs. The cache is kept in one blob for each guest, named after the code that its processor starts with.
 */
import { BackgroundCompiler } from '../jit/background-compiler.ts';
import { BlockCache } from '../jit/block-cache.ts';
import type { TranslationMode } from '../jit/compiler-protocol.ts';
import { hashBytes, toHex } from '../jit/hash.ts';
import type { Translate } from '../jit/translate.ts';
import { TranslationCache } from '../jit/translation-cache.ts';
import type { TranslatorWay } from '../jit/translator.ts';
import type { BlockMaker } from '../src/execute/block-maker.ts';
import { linearOf } from '../src/execute/frontend.ts';
import type { CpuModelName } from '../src/system/cpu-models.ts';
import type { BlobStore, Host, HostWorker } from './hosts/host.ts';
import type { Engine, X87Mode } from './machines/machine.ts';
import type { VmTranslation } from './vm/options.ts';
import { cpuBase } from './vm/places.ts';
import type { Vcpu } from './vm/vcpu.ts';

/** Bytes of translations kept for one guest. */
const blobBytes = 32 * 2 ** 20;

/** What decides how a machine's code is translated. */
export interface TranslationOptions {
  readonly cpus: number;
  readonly engine: Engine;
  readonly x87: X87Mode;
  /** Which processor; `max` if nothing is said. */
  readonly cpu?: CpuModelName;
  /** Features of instructions that it does not have. */
  readonly lacks?: readonly string[];
  /** Where translations are kept: a folder in Node, the name of a database in a page; null: nowhere. */
  readonly cache: string | null;
}

interface Storage {
  readonly store: BlobStore;
  readonly cache: TranslationCache;
  readonly blocks: BlockCache;
}

/** The compiler and its thread, which begins when the compiler is first wanted. */
class CompilerThread {
  readonly compiler: BackgroundCompiler;
  private worker: HostWorker | null = null;

  constructor(host: Host, mode: TranslationMode) {
    const open = () => {
      this.worker = host.startCompiler();
      this.worker.onError((error) => this.compiler.failed(error.message));
      return this.worker;
    };
    this.compiler = new BackgroundCompiler(open, mode);
  }
  async end(): Promise<void> {
    await this.worker?.terminate();
  }
}

/** The translations of one machine. */
export class MachineTranslation {
  readonly forVm: VmTranslation;
  private readonly thread: CompilerThread | null;
  private readonly storage: Storage | null;
  private users = 1;
  private blob: string | null = null;
  private maker: BlockMaker | null = null;

  private constructor(forVm: VmTranslation, thread: CompilerThread | null, storage: Storage | null) {
    this.forVm = forVm;
    this.thread = thread;
    this.storage = storage;
  }

  /** Begins at once, so that threads and files come while the machine is made; null: the machine only interprets. */
  static async start(options: TranslationOptions, host: Host): Promise<MachineTranslation | null> {
    const { engine, cache: place, x87, cpu = 'max', lacks = [] } = options;
    if (engine === 'interpreter') return null;
    const mode = { shared: false, x87, ...(options.cpus === 1 ? { cpu: cpuBase } : {}) };
    const store = place === null ? null : host.openStore(place);
    let thread: CompilerThread | null = null;
    let way: TranslatorWay;
    if (engine === 'auto') {
      thread = new CompilerThread(host, mode);
      // Where there are no translations at all the compiler will be needed, and its loading takes longest.
      if (store === null || (await store.isEmpty())) thread.compiler.load();
      way = { kind: 'background', compiler: thread.compiler };
    } else way = { kind: 'first', translate: (await import('../jit/translate.ts')).translate };
    let storage: Storage | null = null;
    if (store !== null) {
      const identity = `${await host.translatorIdentity()} ${JSON.stringify(mode)} ${cpu} ${lacks.join()}`;
      storage = {
        store,
        blocks: new BlockCache(identity),
        cache: new TranslationCache(identity, undefined, store.isPrivate ? host.machineCode : null),
      };
    }
    // Several processors take each other's translations, kept or not.
    const shared = options.cpus > 1 ? new TranslationCache('') : null;
    return new MachineTranslation({ way, cache: storage?.cache ?? shared, mode }, thread, storage);
  }

  /** Without threads and without a cache: a run is the same each time. */
  static onThisThread(kind: 'first' | 'hot', translate: Translate, mode: TranslationMode): MachineTranslation {
    return new MachineTranslation({ way: { kind, translate }, cache: null, mode }, null, null);
  }

  /** Takes what earlier runs have made of the guest that this processor is about to start with. */
  async load({ engine, fields: state }: Vcpu): Promise<void> {
    const { storage, thread } = this;
    const { maker } = engine;
    const rip = linearOf(engine.contexts.current(state), BigInt.asIntN(64, state.get64('rip')));
    const code = engine.pages.copy(rip)?.bytes ?? new Uint8Array(0);
    if (storage !== null && this.blob === null) {
      this.blob = `${toHex(hashBytes(code))}-${this.forVm.mode.x87}`;
      const file = await storage.store.read(this.blob);
      if (file !== undefined) storage.cache.read(file);
      const blocks = await storage.store.read(`${this.blob}-blocks`);
      if (blocks !== undefined) storage.blocks.read(blocks);
      if (maker.helperNames.length === 0) {
        maker.use(storage.blocks);
        this.maker = maker;
      }
    }
    // Where everything is known, the guest runs quicker without the compiler's loading beside it.
    if ((storage?.cache.size ?? 0) === 0) thread?.compiler.load();
  }

  /** Translations are under way, and the guest should be interrupted often to take them. */
  get pending(): boolean {
    return this.thread?.compiler.pending === true;
  }
  /** Takes the compiler's answers. False: only a turn of the host's event loop brings them. */
  poll(): boolean {
    this.thread?.compiler.poll();
    return this.thread?.compiler.polls === true;
  }
  /** The first bug that the compiler has met; hot code is interpreted then. */
  get failure(): string | null {
    return this.thread?.compiler.failure ?? null;
  }

  /** One more VM uses it: it is closed when all of them have done so. */
  share(): this {
    this.users++;
    return this;
  }

  /**
   * Ends the compiler's thread and writes the cache.
   * @throws what the host says if it cannot be written
   */
  async close(): Promise<void> {
    if (--this.users > 0) return;
    const ended = this.thread?.end(); // while the cache is written
    try {
      await this.writeCache();
    } finally {
      await ended;
    }
  }

  private async writeCache(): Promise<void> {
    if (this.storage === null || this.blob === null) return;
    const { store, cache, blocks } = this.storage;
    cache.takeMachineCode();
    if (cache.changed) {
      cache.changed = false;
      await store.write(this.blob, cache.write(blobBytes));
    }
    if (blocks.changed && this.maker !== null) {
      blocks.changed = false;
      await store.write(`${this.blob}-blocks`, blocks.write(this.maker.helperNames));
    }
  }
}
