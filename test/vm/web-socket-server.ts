/** A WebSocket server of the least kind (RFC 6455): binary messages, whole or in fragments, and close. */
import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Transport, TransportListener } from '../../runtime/remote/transport.ts';

const BINARY = 2;
const CLOSE = 8;

/** Listens at a port of its own on this machine and hands out each connection. */
export async function webSocketServer(accept: (transport: Transport) => void) {
  const sockets = new Set<Duplex>();
  const server = createServer();
  server.on('upgrade', (request, socket) => {
    const key = `${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`;
    const accepted = createHash('sha1').update(key).digest('base64');
    const lines = ['HTTP/1.1 101 Switching Protocols', 'Upgrade: websocket', 'Connection: Upgrade'];
    socket.write(`${[...lines, `Sec-WebSocket-Accept: ${accepted}`].join('\r\n')}\r\n\r\n`);
    sockets.add(socket);
    socket.on('error', () => {}).on('close', () => sockets.delete(socket));
    accept(overSocket(socket));
  });
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  return {
    url: `ws://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    close(): void {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

/** One frame, unmasked as servers send them. */
function frame(opcode: number, payload: Uint8Array): Buffer {
  const { length } = payload;
  const head = length < 126 ? [length] : length < 65536 ? [126, length >> 8, length & 255] : null;
  if (head !== null) return Buffer.concat([Uint8Array.from([0x80 | opcode, ...head]), payload]);
  const long = Buffer.alloc(10);
  long.set([0x80 | opcode, 127]);
  long.writeBigUInt64BE(BigInt(length), 2);
  return Buffer.concat([long, payload]);
}

function overSocket(socket: Duplex): Transport {
  let pending = Buffer.alloc(0);
  let listener: TransportListener | null = null;
  let open = true;
  /** Takes one frame, if all of it is there. */
  const take = (): { opcode: number; payload: Buffer } | null => {
    if (pending.length < 6) return null;
    let length = pending[1]! & 127;
    let at = 2;
    if (length === 126) {
      length = pending.readUInt16BE(2);
      at = 4;
    } else if (length === 127) {
      if (pending.length < 14) return null;
      length = Number(pending.readBigUInt64BE(2));
      at = 10;
    }
    if (pending.length < at + 4 + length) return null;
    const mask = pending.subarray(at, at + 4);
    const payload = Buffer.from(pending.subarray(at + 4, at + 4 + length));
    for (let i = 0; i < length; i++) payload[i]! ^= mask[i & 3]!;
    const opcode = pending[0]! & 15;
    pending = pending.subarray(at + 4 + length);
    return { opcode, payload };
  };
  const end = (reason: string) => {
    if (open) listener?.closed(reason);
    open = false;
    socket.end();
  };
  return {
    wait: null,
    open(who) {
      listener = who;
      socket.on('data', (bytes: Buffer) => {
        pending = Buffer.concat([pending, bytes]);
        for (let next = take(); next !== null && open; next = take()) {
          if (next.opcode === CLOSE) end('the peer said goodbye');
          else who.received(next.payload);
        }
      });
      socket.on('close', () => end('the socket was closed'));
    },
    send(bytes) {
      if (open) socket.write(frame(BINARY, bytes));
    },
    close() {
      if (!open) return;
      open = false;
      socket.end(frame(CLOSE, Uint8Array.of(3, 232)));
    },
  };
}
