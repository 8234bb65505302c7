/**
 * The compiler's thread in Node. The compiler, which takes long to load, is loaded at the first message: the translator
 * says when.
 */
import { type MessagePort, workerData } from 'node:worker_threads';

const port = workerData as MessagePort;
const early: unknown[] = [];
let take = (message: unknown): void => void early.push(message);

port.on('message', (message) => take(message));
port.once('message', async () => {
  const { serveCompiler } = await import('../../jit/compiler.ts');
  serveCompiler({
    post: (message, transfer = []) => port.postMessage(message, [...transfer]),
    onMessage: (listener) => {
      take = listener;
      for (const message of early) listener(message);
    },
  });
});
