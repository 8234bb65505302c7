/** Why generated code returns to TypeScript. */
export const leave = {
  /** The instruction budget does not cover the next block. */
  budget: 1,
  /** The attention word is set. */
  attention: 2,
  /** No block or region is known for the instruction pointer. */
  lookup: 3,
  /** The block at the instruction pointer has become hot. */
  hot: 4,
  /** A fault: faultVector, faultErrorCode, faultAddress; leaveRecord is the interpreter's record. */
  fault: 5,
  /** A helper asks for an exit (halt, shutdown, port or memory exit). */
  exit: 6,
  /** A region could not do the instruction at rip: interpret it. Most stay in the core: {@link retriesPerLeave}. */
  retry: 7,
  /** A block that was to be executed once is done. */
  done: 8,
  /** A region does not take the state it finds: interpret a block. */
  refuse: 10,
  /** The profile of indirect jumps is full. */
  profile: 11,
  /** The running block's code was overwritten: rip is exact, go on with a look-up. */
  stop: 9,
} as const;

/** What a region returns in place of an instruction pointer when it leaves for another reason (in the field `leave`). */
export const LEFT = -0x8000000000000000n;
/**
 * Block entries before a block counts as hot: some 0.1 ms of interpretation, against several of translating it. With a
 * tenth of that, loops that are entered in their middle at the end of a slice get translations that hardly run.
 */
export const hotThreshold = 1000;
/** Entries until a block that is not worth a translation is asked for again. */
export const neverAgain = 0x7fffffff;
/**
 * Where the jump cache has a block for an instruction that a region could not do, the core goes on with it; one time of so
 * many the engine is told. No pattern of the guest's has this period.
 */
export const retriesPerLeave = 7;
