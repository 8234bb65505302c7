/**
 * What a machine's translations come from: the compiler, on a thread of its own or on the machine's, and the cache of
 * earlier runs. The cache is kept in one blob for each guest, named after the code that its processor starts with.
 */
import { BackgroundCompiler } from '../jit/background-compiler.ts';
import { hashBytes, toHex } from '../jit/hash.ts';
import { TranslationCache } from '../jit/translation-cache.ts';
import type { TranslatorWay } from '../jit/translator.ts';
import type { BlobStore, Host, HostWorker } from './hosts/host.ts';
import type { MachineOptions } from './machines/machine.ts';
import { cpuBase, type VmTranslation } from './vm.ts';

/** Bytes of translations kept for one guest. */
const blobBytes = 32 * 2 ** 20;

interface Storage {
  readonly store: BlobStore;
  readonly cache: TranslationCache;
}

/** The translations of one machine. */
export class MachineTranslation {
  readonly forVm: VmTranslation;
  private readonly worker: HostWorker | null;
  private readonly compiler: BackgroundCompiler | null;
  private readonly storage: Storage | null;
  private blob: string | null = null;

  private constructor(forVm: VmTranslation, worker: HostWorker | null, storage: Storage | null) {
    this.forVm = forVm;
    this.worker = worker;
    this.compiler = forVm.way.kind === 'background' ? forVm.way.compiler : null;
    this.storage = storage;
  }

  /** Begins at once, so that threads and files come while the machine is made; null: the machine only interprets. */
  static async start(options: MachineOptions, host: Host): Promise<MachineTranslation | null> {
    const { engine, cache: place, x87 } = options;
    if (engine === 'interpreter') return null;
    const mode = { shared: false, x87, ...(options.cpus === 1 ? { cpu: cpuBase } : {}) };
    let worker: HostWorker | null = null;
    let way: TranslatorWay;
    if (engine === 'auto') {
      worker = host.startCompiler();
      const compiler = new BackgroundCompiler(worker, mode);
      worker.onError((error) => compiler.failed(error.message));
      if (place === null) compiler.load();
      way = { kind: 'background', compiler };
    } else way = { kind: 'first', translate: (await import('../jit/translate.ts')).translate };
    let storage: Storage | null = null;
    if (place !== null) {
      const identity = `${await host.translatorIdentity()} ${JSON.stringify(mode)}`;
      storage = { store: host.openStore(place), cache: new TranslationCache(identity) };
    }
    return new MachineTranslation({ way, cache: storage?.cache ?? null, mode }, worker, storage);
  }

  /** Takes the cache of the guest whose processor is about to start with this code. */
  async load(code: Uint8Array): Promise<void> {
    const { storage, compiler } = this;
    if (storage !== null && this.blob === null) {
      this.blob = `${toHex(hashBytes(code))}-${this.forVm.mode.x87}`;
      const file = await storage.store.read(this.blob);
      if (file !== undefined) storage.cache.read(file);
    }
    // Where everything is known, what the compiler's loading takes from the guest is better saved.
    if ((storage?.cache.size ?? 0) === 0) compiler?.load();
  }

  /** Translations are under way, and the guest should be interrupted often to take them. */
  get pending(): boolean {
    return (this.compiler?.pending ?? 0) > 0;
  }
  /** The first bug that the compiler has met; hot code is interpreted then. */
  get failure(): string | null {
    return this.compiler?.failure ?? null;
  }

  /**
   * Ends the compiler's thread and writes the cache.
   * @throws what the host says if it cannot be written
   */
  async close(): Promise<void> {
    await this.worker?.terminate();
    if (this.storage?.cache.changed !== true || this.blob === null) return;
    const { store, cache } = this.storage;
    cache.changed = false;
    await store.write(this.blob, cache.write(blobBytes));
  }
}
