/** The helper `muldiv64` of device programs as a module of its own, for programs that are WebAssembly already. */
import { addIntrinsics } from './bpf-intrinsics.ts';
import { Emitter } from './emitter.ts';

/** Exports `run(a, b, c)`: a * b / c with a product of 128 bits; all ones where the quotient needs more than 64 bits. */
export function muldivModule(): Uint8Array {
  const e = new Emitter();
  addIntrinsics(e);
  const body = () =>
    e.return(
      e.call(
        'muldiv64',
        [0, 1, 2].map((parameter) => e.get(parameter, 'i64')),
        'i64',
      ),
    );
  e.addFunction('run', ['i64', 'i64', 'i64'], 'i64', body, true);
  e.addOffered();
  // The intrinsics that nobody calls are not there, and so nothing needs a memory.
  const bytes = e.binary();
  e.dispose();
  return bytes;
}
