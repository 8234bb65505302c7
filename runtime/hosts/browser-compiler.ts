/**
 * The compiler's thread in a page. The compiler, which takes long to load, is loaded at the first message: the translator
 * says when.
 */

/** What this file needs of a dedicated worker's scope. */
interface WorkerScope {
  postMessage(message: unknown, transfer: readonly ArrayBuffer[]): void;
  addEventListener(type: 'message', listener: (event: { readonly data: unknown }) => void): void;
}
const scope = globalThis as unknown as WorkerScope;
const early: unknown[] = [];
let take: ((message: unknown) => void) | undefined;

scope.addEventListener('message', async ({ data }) => {
  if (take !== undefined) return take(data);
  if (early.push(data) > 1) return; // loading already
  const { serveCompiler } = await import('../../jit/compiler.ts');
  serveCompiler({
    post: (message, transfer = []) => scope.postMessage(message, transfer),
    onMessage: (listener) => {
      take = listener;
      for (const message of early) listener(message);
    },
  });
});
