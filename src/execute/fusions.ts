/**
 * Micro-ops that often stand one after the other in the interpreter's blocks, and so have one record: what is fused is
 * only data, here. The case of such a record does what the cases of its parts do, one after the other (jit/core.ts), and
 * encode-fusions.ts finds the sequences in what was encoded. They were chosen by counting records in booting kernels.
 *
 * A fusion is written as the keys of its parts (records.ts), with ` > ` between them. In parentheses stand the operands
 * that are results of earlier parts, by their number; `_` is one that is read from its place. A result that is taken so
 * has no place of its own, unless `=` stands before its part.
 */

export interface FusionPart {
  readonly key: string;
  /** The result goes to its place although a later part takes it. */
  readonly keeps: boolean;
  /** By operand: the part whose result it is, or -1; those that are left out are read from their places. */
  readonly from: readonly number[];
}

/** Parts by how they are written: most stand in many fusions. */
const parsed = new Map<string, FusionPart>();

export function parseFusion(text: string): FusionPart[] {
  return text.split(' > ').map((written) => {
    let part = parsed.get(written);
    if (part === undefined) parsed.set(written, (part = parsePart(written)));
    return part;
  });
}

function parsePart(written: string): FusionPart {
  const found = /^(=?)([^()=]+)(?:\(([\d_,]+)\))?$/.exec(written);
  if (found === null) throw new Error(`fusions: ${written} is not written as it should be`);
  const from = found[3] === undefined ? [] : found[3].split(',').map((n) => (n === '_' ? -1 : Number(n)));
  return { key: found[2]!, keeps: found[1] !== '', from };
}

const bases = ['address.base,64', 'address.base,32'];
const indexed = [64, 32].flatMap((width) => [0, 1, 2, 3].map((scale) => `address.index,${scale},${width}`));
const sizes = [8, 16, 32, 64];
const widths = [32, 64];
const orders = ['eq', 'ne', 'lt_u', 'lt_s', 'le_u', 'le_s', 'gt_u', 'gt_s', 'ge_u', 'ge_s'];
/** With a place and with a constant as the last operand. */
const both = (key: string): string[] => [key, `${key}#`];
const compares = widths.flatMap((w) => [`i${w}.eqz`, ...orders.flatMap((name) => both(`i${w}.${name}`))]);

/** An access at an address that nobody else wants, or that others want, too. */
const accesses = [...bases, ...indexed].flatMap((address) =>
  sizes.flatMap((n) => [`load.${n}`, ...both(`store.${n}`)].map((access) => `${address} > ${access}(0)`)),
);
const accessesOfMore = [
  ...bases.flatMap((address) =>
    sizes.flatMap((n) =>
      [`modify.${n}`, `load.${n}`, ...both(`store.${n}`)].map((access) => `=${address} > ${access}(0)`),
    ),
  ),
  ...bases.flatMap((address) => [`${address} > load.128(0)`, `${address} > store.128(0)`]),
  ...sizes.flatMap((n) => [`load.${n}`, ...both(`store.${n}`)].map((access) => `i64.const > ${access}(0)`)),
  // In a segment with a base, in 64-bit mode.
  ...sizes.flatMap((n) =>
    [`load.${n}`, ...both(`store.${n}`)].flatMap((access) => [
      `copy.64 > i64.add#(0) > ${access}(1)`,
      `i64.add# > ${access}(0)`,
    ]),
  ),
];

/** PUSH, CALL, POP, RET. */
const stack = widths.flatMap((w) => [
  ...both(`store.${w}`).flatMap((store) => [
    `address.base,${w} > ${store}(0) > copy.64(0)`,
    `address.base,${w} > ${store}(0) > copy.64(0) > jump,constant`,
    `=address.base,${w} > ${store}(0) > copy.64(0)`,
  ]),
  `load.${w} > address.base,${w}`,
  `load.${w} > address.base,${w} > jump(0)`,
]);
const canonical = (from: string, first: number): string =>
  `i64.shr_s#${from} > i64.add#(${first}) > i64.gt_u#(${first + 1}) > raise.if(${first + 2})`;
const transfers = [
  canonical('', 0),
  `load.64 > ${canonical('(0)', 1)} > address.base,64 > jump(0)`,
  'flags.test > branch(0)',
  ...compares.map((compare) => `${compare} > branch(0)`),
  ...both('flags.code').flatMap((flags) => compares.map((compare) => `${flags} > ${compare} > branch(1)`)),
];

/** Arithmetic with its flags: those of the operands come first, those of a result after it. */
const shifts = ['shl#', 'shr_u#', 'shr_s#'];
const flags = [
  ...widths.flatMap((w) => [
    ...['and', 'or', 'xor'].flatMap((name) => both(`i${w}.${name}`)).map((op) => `=${op} > flags.code#(0)`),
    ...both(`i${w}.and`).map((op) => `${op} > flags.code#(0)`),
  ]),
  'i32.and# > i32.and#(0) > flags.code#(1)',
  'i32.and# > i32.and# > i32.and(0,1) > flags.code#(2)',
  ...['i64.add', 'i64.sub'].map((op) => `flags.code > ${op}`),
  ...['i64.add#', 'i64.sub#', ...shifts.map((name) => `i64.${name}`)].map((op) => `flags.code# > ${op}`),
  ...['i32.add', 'i32.sub'].flatMap((op) => [
    `flags.code > ${op}`,
    `i64.extend_u > i64.extend_u > flags.code(0,1) > ${op}`,
    `i64.extend_u > flags.code(0,_) > ${op}`,
  ]),
  ...['i32.add#', 'i32.sub#', ...shifts.map((name) => `i32.${name}`)].flatMap((op) => [
    `flags.code# > ${op}`,
    `i64.extend_u > flags.code#(0) > ${op}`,
  ]),
  'i64.extend_u > i64.extend_u > flags.code(0,1)',
  'i64.extend_u > flags.code(0,_)',
  'i64.extend_u > flags.code(_,0)',
  'i64.extend_u > flags.code#(0)',
  ...sizes.flatMap((n) => [
    `load.${n} > flags.code#(0)`,
    ...bases.flatMap((address) => [
      `${address} > load.${n}(0) > flags.code#(1)`,
      `${address} > load.${n}(0) > flags.code(1,_)`,
      `${address} > load.${n}(0) > flags.code(_,1)`,
    ]),
  ]),
  ...bases.map((address) => `${address} > load.8(0) > i32.and#(1) > flags.code#(2)`),
  // Rotations.
  'i32.and# > i32.shr_u# > i32.and#(1) > i32.xor(0,2) > i32.shl#(3) > i32.or(0,4) > flags.merge(5)',
  'i32.shr_u# > i32.and#(0) > i32.shr_u# > i32.and#(2) > i32.xor(1,3) > i32.shl#(4) > i32.or(1,5) > flags.merge(6)',
];
const others = [
  ...bases.flatMap((address) => [
    `${address} > i64.extend_u(0)`,
    `${address} > load.32(0) > i64.extend_s(1)`,
    `${address} > i32.and# > store.8(0,1)`,
    `${address} > i32.and# > store.16(0,1)`,
  ]),
  // How far a string instruction goes, by DF; and the end of its repetition.
  'i64.extend_u > i32.shr_u#(0) > i32.and#(1) > i32.const > i32.sub(3,2) > i64.extend_s(4) > i64.add(_,5)',
  'i64.extend_u > i32.shr_u#(0) > i32.and#(1) > i32.const > =i32.sub(3,2) > =i64.extend_s(4) > i64.add(_,5)',
  'i64.extend_u > i32.shr_u#(0) > i32.and#(1) > i32.const > =i32.sub(3,2) > i32.add(_,4)',
  'i64.extend_u > i32.shr_u#(0) > i32.and#(1) > i32.const > i32.sub(3,2) > i32.add(_,4)',
  ...widths.flatMap((w) => [
    `=i${w}.sub# > i${w}.ne#(0) > branch(1)`,
    `i${w}.add > =i${w}.sub# > i${w}.ne#(1) > branch(2)`,
  ]),
  'flags.test > i32.select(0)',
  'flags.test > i64.select(0)',
  'flags.test > insert8(_,0)',
];

/** Of two instructions: the first must not be one that stores (encode-fusions.ts). */
const copies = [...both('copy.64'), 'i64.extend_u'];
const pop = 'load.64 > address.base,64';
const across = [
  ...copies.flatMap((first) => copies.map((second) => `${first} > ${second}`)),
  'copy.64 > copy.64 > copy.64',
  ...both('copy.64').flatMap((copy) => [
    `${copy} > address.base,64 > store.64#(1) > copy.64(1) > jump,constant`,
    `${copy} > =address.base,64 > store.64(1) > copy.64(1)`,
    `${copy} > address.base,64 > store.64(1) > copy.64(1)`,
    `${copy} > jump,constant`,
  ]),
  'flags.constant > copy.64#',
  ...both('flags.code').map((flags) => `${flags} > branch`),
  ...bases.flatMap((address) =>
    widths.flatMap((w) => [
      `${address} > load.${w}(0) > copy.64`,
      `copy.64 > ${address} > load.${w}(1)`,
      `${address} > load.${w}(0) > ${address} > load.${w}(2)`,
    ]),
  ),
  `${pop} > ${pop}`,
  `${pop} > ${pop} > ${pop}`,
  `${pop} > ${pop} > load.64 > ${canonical('(4)', 5)} > address.base,64 > jump(4)`,
  `${pop} > load.64 > ${canonical('(2)', 3)} > address.base,64 > jump(2)`,
  'load.32 > address.base,32 > load.32 > address.base,32',
  'load.32 > address.base,32 > load.32 > address.base,32 > jump(2)',
  // TEST, CMP and the jump behind them.
  ...widths.flatMap((w) =>
    both(`i${w}.and`).flatMap((and) =>
      ['', '='].map((keeps) => `${keeps}${and} > flags.code#(0) > i${w}.eqz(0) > branch(2)`),
    ),
  ),
  ...both('i32.and').map((and) => `${and} > flags.code#(0) > branch(0)`),
  ...compares
    .filter((name) => name.startsWith('i32.'))
    .flatMap((compare) =>
      compare === 'i32.eqz' || compare.endsWith('#')
        ? [`i64.extend_u > flags.code#(0) > ${compare} > branch(2)`]
        : [
            `i64.extend_u > i64.extend_u > flags.code(0,1) > ${compare} > branch(3)`,
            `i64.extend_u > flags.code(0,_) > ${compare} > branch(2)`,
          ],
    ),
  'i64.extend_u > flags.code#(0) > branch',
  ...bases.flatMap((address) => [
    ...sizes.flatMap((n) =>
      ['eqz', 'eq#', 'ne#'].map(
        (name) => `${address} > load.${n}(0) > flags.code#(1) > i${n === 64 ? 64 : 32}.${name}(1) > branch(3)`,
      ),
    ),
    `${address} > load.8(0) > flags.code#(1) > branch(1)`,
    `${address} > load.32(0) > flags.code#(1) > branch(1)`,
    `${address} > load.8(0) > i32.and#(1) > flags.code#(2) > i32.eqz(2) > branch(4)`,
    `${address} > load.8(0) > i32.and#(1) > flags.code#(2) > branch(2)`,
  ]),
];

/** Chains of arithmetic, as hashes and decompressors have them. */
const chains = [
  ...widths.flatMap((w) => {
    const rotations = w === 32 ? ['rotl#', 'rotr#'] : [];
    const plain = ['add', 'sub', 'and', 'or', 'xor'].map((name) => `i${w}.${name}`);
    const constants = [...plain.map((op) => `${op}#`), ...['shl#', 'shr_u#', ...rotations].map((n) => `i${w}.${n}`)];
    return [...plain, ...constants].flatMap((first) => [
      ...constants.map((second) => `${first} > ${second}(0)`),
      ...plain.flatMap((second) => [`${first} > ${second}(0,_)`, `${first} > ${second}(_,0)`]),
    ]);
  }),
  'i64.extend_s > i64.add(_,0)',
  'i64.extend_s > i64.add(0,_)',
];

export const fusions: readonly string[] = [
  ...accesses,
  ...accessesOfMore,
  ...stack,
  ...transfers,
  ...flags,
  ...others,
  ...across,
  ...chains,
];
