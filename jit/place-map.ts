/** What is known of places in code: by execution context, and instruction pointer as a number. */
export class PlaceMap<T> {
  private readonly contexts = new Map<number, Map<number, T>>();

  get(context: number, key: number): T | undefined {
    return this.contexts.get(context)?.get(key);
  }
  has(context: number, key: number): boolean {
    return this.contexts.get(context)?.has(key) === true;
  }
  set(context: number, key: number, value: T): void {
    const places = this.contexts.get(context);
    if (places === undefined) this.contexts.set(context, new Map([[key, value]]));
    else places.set(key, value);
  }
  /** False if nothing was known. */
  delete(context: number, key: number): boolean {
    return this.contexts.get(context)?.delete(key) === true;
  }
  clear(): void {
    this.contexts.clear();
  }
}
