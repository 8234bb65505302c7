/**
 * What a helper throws to come out of the middle of an instruction that is given up (src/mmu/access-log.ts knows that it
 * is): the instruction has had no effect, the vCPU comes back, and the next entry executes the instruction once more. The
 * engine catches it (src/execute/engine.ts). No Error, like a guest's fault: it is part of the machine.
 */
export const exitRequest: unique symbol = Symbol('an exit to the embedder');
