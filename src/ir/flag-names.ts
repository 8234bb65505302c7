/** Names of conditions and flags as the manual writes them. SDM volume 1, section 3.4.3 and appendix B. */

/** Condition codes 0-15, as in Jcc. */
export const conditionNames = ['o', 'no', 'b', 'ae', 'e', 'ne', 'be', 'a', 's', 'ns', 'p', 'np', 'l', 'ge', 'le', 'g'];

const flags: readonly (readonly [string, number])[] = [
  ['CF', 0x001],
  ['PF', 0x004],
  ['AF', 0x010],
  ['ZF', 0x040],
  ['SF', 0x080],
  ['OF', 0x800],
];

/** The arithmetic flags in a mask: `CF|ZF`. */
export const flagNames = (mask: number): string => {
  const names = flags.filter(([, bit]) => (mask & bit) !== 0).map(([name]) => name);
  return names.length === 0 ? 'none' : names.join('|');
};
