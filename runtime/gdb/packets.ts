/**
 * Packets of gdb's remote serial protocol: `$data#checksum`, acknowledged by `+` and `-` until both sides agree to do without,
 * and the byte 3, which stops the target. GDB manual, "Remote Protocol", Overview and Interrupts.
 *
 * Data is a string whose characters are bytes (0-255): most packets are text, and the few binary ones escape what would end
 * them.
 */

export type PacketEvent =
  | { readonly kind: 'packet'; readonly data: string }
  | { readonly kind: 'ack' | 'nak' | 'interrupt' }
  /** A packet that is none: its checksum is wrong, it is too long, or another begins within it. */
  | { readonly kind: 'damaged'; readonly reason: 'checksum' | 'too-long' | 'cut-short' };

/** Most characters of a packet's data, as `qSupported` tells gdb. */
export const packetSize = 0x4000;

const START = 0x24;
const END = 0x23;
const ESCAPE = 0x7d;
const INTERRUPT = 3;

/** What a byte is within `}…`. */
const escaped = 0x20;

const hexDigit = (byte: number): number => {
  const digit = Number.parseInt(String.fromCharCode(byte), 16);
  return Number.isNaN(digit) ? -1 : digit;
};

/** Takes the bytes of a connection as they come, and gives the packets in them. What stands between packets is ignored. */
export class PacketReader {
  private state: 'between' | 'data' | 'first-digit' | 'second-digit' = 'between';
  private data = '';
  private sum = 0;
  private wanted = 0;
  private escapes = false;
  private tooLong = false;

  *feed(bytes: Uint8Array): Generator<PacketEvent, void, void> {
    for (const byte of bytes) {
      const event = this.take(byte);
      if (event !== null) yield event;
    }
  }

  private begin(): void {
    this.state = 'data';
    this.data = '';
    this.sum = 0;
    this.escapes = false;
    this.tooLong = false;
  }
  private take(byte: number): PacketEvent | null {
    switch (this.state) {
      case 'between':
        if (byte === START) this.begin();
        else if (byte === 0x2b) return { kind: 'ack' };
        else if (byte === 0x2d) return { kind: 'nak' };
        else if (byte === INTERRUPT) return { kind: 'interrupt' };
        return null;
      case 'data':
        return this.takeData(byte);
      case 'first-digit':
        if (byte === START) return this.cutShort();
        this.wanted = hexDigit(byte) * 16;
        this.state = 'second-digit';
        return null;
      case 'second-digit': {
        if (byte === START) return this.cutShort();
        this.state = 'between';
        if (this.tooLong) return { kind: 'damaged', reason: 'too-long' };
        const digit = hexDigit(byte);
        if (this.wanted < 0 || digit < 0 || this.wanted + digit !== this.sum || this.escapes)
          return { kind: 'damaged', reason: 'checksum' };
        return { kind: 'packet', data: this.data };
      }
    }
  }
  private takeData(byte: number): PacketEvent | null {
    if (byte === START) return this.cutShort();
    if (byte === END) {
      this.state = 'first-digit';
      return null;
    }
    this.sum = (this.sum + byte) & 0xff;
    if (this.escapes) {
      this.escapes = false;
      this.append(byte ^ escaped);
    } else if (byte === ESCAPE) this.escapes = true;
    else this.append(byte);
    return null;
  }
  private append(byte: number): void {
    if (this.data.length >= packetSize) this.tooLong = true;
    else this.data += String.fromCharCode(byte);
  }
  private cutShort(): PacketEvent {
    this.begin();
    return { kind: 'damaged', reason: 'cut-short' };
  }
}

/** The bytes of a packet. */
export function encodePacket(data: string): Uint8Array {
  const body = data.replace(/[#$}*]/g, (c) => `}${String.fromCharCode(c.charCodeAt(0) ^ escaped)}`);
  let sum = 0;
  for (let i = 0; i < body.length; i++) sum = (sum + body.charCodeAt(i)) & 0xff;
  return bytesOf(`$${body}#${sum.toString(16).padStart(2, '0')}`);
}

/** Characters as bytes. */
export function bytesOf(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}
/** Two digits for each byte. */
export function toHex(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += byte.toString(16).padStart(2, '0');
  return text;
}
/** The bytes that pairs of digits stand for; null if they are none. */
export function fromHex(text: string): Uint8Array | null {
  if (text.length % 2 !== 0 || !/^[0-9a-f]*$/i.test(text)) return null;
  return Uint8Array.from({ length: text.length / 2 }, (_, i) => Number.parseInt(text.slice(2 * i, 2 * i + 2), 16));
}
/** A number of up to 64 bits in hexadecimal; null if it is none. */
export function numberOf(text: string | undefined): bigint | null {
  return text !== undefined && /^[0-9a-f]{1,16}$/i.test(text) ? BigInt(`0x${text}`) : null;
}
