/** gdb over TCP, and all else of `jit86/gdb`, in Node. */
import { createServer, type Server, type Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { type GdbDuplex, type GdbEnd, GdbServer, type GdbServerOptions } from '../gdb/server.ts';
import type { GdbTarget } from '../gdb/target.ts';
import type { Vm } from '../vm/vm.ts';

export * from '../gdb/index.ts';

/** Where gdb is waited for, and how it is served. */
export interface GdbListenOptions extends GdbServerOptions {
  /** TCP port; 0: one that is free. */
  readonly port: number;
  /** Address to listen at; 127.0.0.1 if left out. Who can connect there can do anything to the guest. */
  readonly host?: string;
}

/** A port that waits for gdb, one session at a time. */
export interface GdbListener extends AsyncDisposable {
  readonly port: number;
  /** The next session's end, after which the guest is at rest and another gdb may connect. */
  session(): Promise<GdbEnd>;
  /** Ends the session, if there is one, and listens no longer. */
  close(): Promise<void>;
}

/** A socket's two directions. */
export function socketDuplex(socket: Socket): GdbDuplex {
  socket.setNoDelay(true);
  // gdb resets connections: that ends the session and nothing else.
  socket.on('error', () => {});
  return Duplex.toWeb(socket) as GdbDuplex;
}

/**
 * Listens for gdb: `target remote 127.0.0.1:port`. The guest is run by the sessions alone; a second connection beside one is
 * closed at once.
 * @throws what Node says if the port cannot be had
 */
export async function listenForGdb(target: Vm | GdbTarget, options: GdbListenOptions): Promise<GdbListener> {
  let current: GdbServer | null = null;
  const ends: Promise<GdbEnd>[] = [];
  let waiter: ((end: Promise<GdbEnd>) => void) | null = null;
  const listening: Server = createServer((socket) => {
    if (current !== null) {
      socket.destroy();
      return;
    }
    const server = new GdbServer(target, socketDuplex(socket), options);
    current = server;
    const end = server.closed.finally(() => {
      current = null;
      socket.destroy();
    });
    end.catch(() => {}); // whoever waits for the session is told
    if (waiter === null) ends.push(end);
    else waiter(end);
    waiter = null;
  });
  await new Promise<void>((done, fail) => {
    listening.once('error', fail);
    listening.listen(options.port, options.host ?? '127.0.0.1', () => {
      listening.off('error', fail);
      done();
    });
  });
  const address = listening.address();
  const close = async () => {
    const stopped = new Promise<void>((done) => listening.close(() => done()));
    const { closed } = current ?? { closed: null };
    current?.close();
    await closed?.catch(() => {});
    await stopped;
    waiter?.(Promise.resolve('disconnected'));
  };
  return {
    port: typeof address === 'object' && address !== null ? address.port : options.port,
    async session() {
      const known = ends.shift();
      if (known !== undefined) return known;
      return new Promise<Promise<GdbEnd>>((done) => {
        waiter = (end) => done(end);
      }).then((end) => end);
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}
