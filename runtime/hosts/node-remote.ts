/** `jit86/remote` in Node: with Unix sockets among the transports. */
export * from '../remote/index.ts';
export {
  connectBlockingSocket,
  connectSocket,
  listenSocket,
  type SocketListener,
  socketTransport,
} from './node-socket.ts';
