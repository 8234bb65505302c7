/** What a look-aside table knew of an address space when that was left: pages, and numbers that say where they lead. */
export class SavedPages {
  /** As many pages of a table are kept: more would take longer to put back than to find again. */
  static readonly most = 128;
  /** Low halves, high halves, and where they lead. */
  readonly words = new Uint32Array(3 * SavedPages.most);
  /** Words in use. */
  used = 0;

  add(low: number, high: number, to: number): void {
    const { words, used } = this;
    words[used] = low;
    words[used + 1] = high;
    words[used + 2] = to;
    this.used = used + 3;
  }
  clear(): void {
    this.used = 0;
  }
}
