/**
 * What an access throws that the embedder is to answer: the instruction is given up before it has had an effect, the vCPU
 * comes back, and the next entry executes the instruction once more. The engine catches it (src/execute/engine.ts). No Error,
 * like a guest's fault: it is part of the machine.
 */
export const exitRequest: unique symbol = Symbol('an exit to the embedder');
