/**
 * Pages of supervisors' code that have gone to the compiler's thread, as both ends of the way keep them: most regions of a
 * kernel go on in a page or two of common functions, and to ask for these each time would double all requests. User pages
 * are not kept: another address space has others at the same addresses.
 */
import type { Context } from '../src/execute/context.ts';

/** A page, and the request that it went with. */
export interface KeptPage<T> {
  readonly request: number;
  readonly page: T;
}

/** Both ends keep so many at most: the same ones, as long as they see the same requests. */
const maximumPages = 512;

export class KeptPages<T> {
  private readonly contexts = new Map<number, Map<bigint, KeptPage<T>>>();
  private count = 0;

  put({ id, cpl }: Pick<Context, 'id' | 'cpl'>, linear: bigint, request: number, page: T): void {
    if (cpl === 3) return;
    if (this.count >= maximumPages) this.clear();
    let pages = this.contexts.get(id);
    if (pages === undefined) this.contexts.set(id, (pages = new Map()));
    if (!pages.has(linear)) this.count++;
    pages.set(linear, { request, page });
  }
  get(context: number, linear: bigint): KeptPage<T> | undefined {
    return this.contexts.get(context)?.get(linear);
  }
  clear(): void {
    this.contexts.clear();
    this.count = 0;
  }
}
