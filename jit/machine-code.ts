/**
 * What a host may be able to do: hand out the machine code that its engine has made of a WebAssembly module, and take it
 * back in a later process, where the module then runs at full speed from its first call on.
 */
export interface MachineCode {
  /**
   * What the engine's optimising compiler has made so far; null: nothing that could be kept.
   *
   * @param main the module's function that counts, of whatever instance: until it is optimised there is nothing to keep
   */
  of(module: WebAssembly.Module, main: WebAssembly.ExportValue): Uint8Array | null;
  /**
   * The module of machine code that `of` has answered, here or in another process; null: this engine does not take it,
   * and the module is to be compiled.
   *
   * @param wasm the very bytes of that module: nobody else will notice if they are not
   */
  module(code: Uint8Array, wasm: Uint8Array): WebAssembly.Module | null;
}
