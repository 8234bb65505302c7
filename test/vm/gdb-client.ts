/** The other end of a gdb server in tests: sends packets, or anything else, and reads what comes back. */
import { bytesOf, encodePacket } from '../../runtime/gdb/packets.ts';
import { type GdbDuplex, GdbServer, type GdbServerOptions } from '../../runtime/gdb/server.ts';
import type { GdbTarget } from '../../runtime/gdb/target.ts';
import type { Vm } from '../../runtime/vm/vm.ts';

/** Both ends of a connection. */
export function duplexPair(): [GdbDuplex, GdbDuplex] {
  const [there, back] = [
    new TransformStream<Uint8Array>({}, undefined, { highWaterMark: 1000 }),
    new TransformStream<Uint8Array>({}, undefined, { highWaterMark: 1000 }),
  ];
  return [
    { readable: there.readable, writable: back.writable },
    { readable: back.readable, writable: there.writable },
  ];
}

export class GdbClient {
  readonly server: GdbServer;
  private readonly reader: ReadableStreamDefaultReader<Uint8Array>;
  private readonly writer: WritableStreamDefaultWriter<Uint8Array>;
  private text = '';

  constructor(target: Vm | GdbTarget, options: GdbServerOptions = {}) {
    const [theirs, ours] = duplexPair();
    this.server = new GdbServer(target, theirs, options);
    this.reader = ours.readable.getReader();
    this.writer = ours.writable.getWriter();
  }

  /** Sends bytes as they are. */
  async send(bytes: string | Uint8Array): Promise<void> {
    await this.writer.write(typeof bytes === 'string' ? bytesOf(bytes) : bytes);
  }
  /** The next so many characters from the server. */
  async read(count: number): Promise<string> {
    while (this.text.length < count) await this.more();
    const read = this.text.slice(0, count);
    this.text = this.text.slice(count);
    return read;
  }
  private async more(): Promise<void> {
    const { done, value } = await this.reader.read();
    if (done || value === undefined) throw new Error('the server has gone');
    for (const byte of value) this.text += String.fromCharCode(byte);
  }
  /** The next packet's data, without its escapes; acknowledgements are skipped. */
  async reply(): Promise<string> {
    for (;;) {
      const found = /^[+-]*\$([^#]*)#[0-9a-f]{2}/.exec(this.text);
      if (found !== null) {
        this.text = this.text.slice(found[0].length);
        return found[1]!.replace(/\}(.)/gs, (_, c: string) => String.fromCharCode(c.charCodeAt(0) ^ 0x20));
      }
      await this.more();
    }
  }
  /** Sends a packet, and gives the reply. */
  async ask(data: string): Promise<string> {
    await this.send(encodePacket(data));
    return this.reply();
  }
  /** The connection breaks. */
  async hangUp(): Promise<void> {
    await this.writer.close().catch(() => {});
    await this.reader.cancel().catch(() => {});
  }
}
