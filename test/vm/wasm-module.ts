/** Small WebAssembly modules by hand, right and wrong ones. */
type Type = 'i32' | 'i64';
const types: Record<Type, number> = { i32: 0x7f, i64: 0x7e };

export interface ModuleParts {
  /** Functions: name, parameters, results, module (`jit86`). */
  readonly imports?: readonly (readonly [string, readonly Type[], readonly Type[], string?])[];
  /** Code of `access`, its END left out; it gives an i32. */
  readonly body?: readonly number[];
  /** Locals of 32 bits besides the parameter. */
  readonly locals?: number;
  readonly parameters?: readonly Type[];
  readonly entry?: string;
  readonly memory?: 'import' | 'own' | 'none';
  readonly pages?: number;
  /** Variable globals of 32 bits, which begin as zero. */
  readonly globals?: number;
}

const leb = (value: number): number[] => (value < 128 ? [value] : [(value & 0x7f) | 0x80, ...leb(value >> 7)]);
const name = (text: string): number[] => [...leb(text.length), ...new TextEncoder().encode(text)];
const section = (id: number, items: readonly (readonly number[])[]): number[] => {
  const bytes = [...leb(items.length), ...items.flat()];
  return items.length === 0 ? [] : [id, ...leb(bytes.length), ...bytes];
};

export function aModule({
  imports = [],
  body = [0x41, 0],
  locals = 0,
  parameters = ['i32'],
  entry = 'access',
  memory = 'import',
  pages = 1,
  globals = 0,
}: ModuleParts): Uint8Array {
  const type = (from: readonly Type[], result: readonly Type[]) => [
    ...[0x60, ...leb(from.length), ...from.map((t) => types[t])],
    ...[...leb(result.length), ...result.map((t) => types[t])],
  ];
  const code = [...(locals === 0 ? [0] : [1, ...leb(locals), 0x7f]), ...body, 0x0b];
  return Uint8Array.from([
    ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, [...imports.map(([, from, result]) => type(from, result)), type(parameters, ['i32'])]),
    ...section(2, [
      ...imports.map(([what, , , from = 'jit86'], index) => [...name(from), ...name(what), 0, ...leb(index)]),
      ...(memory === 'import' ? [[...name('env'), ...name('memory'), 2, 0, ...leb(pages)]] : []),
    ]),
    ...section(3, [leb(imports.length)]),
    ...section(5, memory === 'own' ? [[0, ...leb(pages)]] : []),
    ...section(
      6,
      Array.from({ length: globals }, () => [0x7f, 1, 0x41, 0, 0x0b]),
    ),
    ...section(7, [[...name(entry), 0, ...leb(imports.length)]]),
    ...section(10, [[...leb(code.length), ...code]]),
  ]);
}
