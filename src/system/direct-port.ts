/** What translated code learns of a port access that it makes by itself. */
export const directPort = {
  /** No program answers there: the interpreter makes the access. */
  nobody: 0,
  /** It is made. */
  done: 1,
  /** A program has seen it and passed it on: the interpreter makes it, at once. */
  passed: 2,
} as const;

/** What translated code asks for. */
export const portRequest = {
  write: 1,
  /** It has asked the program itself, which has passed the access on. */
  passed: 2,
} as const;
