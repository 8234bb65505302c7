/** Types of the intermediate representation. Where it stands: DESIGN "The way of an instruction". */

/** The type of a value. 8- and 16-bit quantities live in an i32, as in wasm; their upper bits are unspecified unless said. */
export type Type = 'i32' | 'i64' | 'f32' | 'f64' | 'v128';
export type IntType = 'i32' | 'i64';

/** An SSA value: the number of the micro-op that makes it. */
export type Value<T extends Type = Type> = number & { readonly __type: T };
export type Int = Value<'i32'> | Value<'i64'>;

/** Operand width of an integer instruction, in bits. */
export type Width = 8 | 16 | 32 | 64;
