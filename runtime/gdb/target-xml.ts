/** The target description that tells gdb which registers there are. GDB manual, "Target Description Format". */
import type { GdbArchitecture, GdbFeature } from './registers.ts';

const flag = (name: string, bit: number) => `<field name="${name}" start="${bit}" end="${bit}"/>`;

/** RFLAGS by its bits. SDM volume 1, section 3.4.3. */
const eflags =
  '<flags id="i386_eflags" size="4">' +
  [
    ['CF', 0],
    ['', 1],
    ['PF', 2],
    ['AF', 4],
    ['ZF', 6],
    ['SF', 7],
    ['TF', 8],
    ['IF', 9],
    ['DF', 10],
    ['OF', 11],
    ['NT', 14],
    ['RF', 16],
    ['VM', 17],
    ['AC', 18],
    ['VIF', 19],
    ['VIP', 20],
    ['ID', 21],
  ]
    .map(([name, bit]) => flag(name as string, bit as number))
    .join('') +
  '</flags>';
/** SDM volume 1, section 10.2.3. */
const mxcsr =
  '<flags id="i386_mxcsr" size="4">' +
  ['IE', 'DE', 'ZE', 'OE', 'UE', 'PE', 'DAZ', 'IM', 'DM', 'ZM', 'OM', 'UM', 'PM'].map(flag).join('') +
  flag('FZ', 15) +
  '</flags>';

/** An XMM register in every way that gdb likes to print it. */
const views = [
  ['v4_float', 'ieee_single', 4],
  ['v2_double', 'ieee_double', 2],
  ['v16_int8', 'int8', 16],
  ['v8_int16', 'int16', 8],
  ['v4_int32', 'int32', 4],
  ['v2_int64', 'int64', 2],
] as const;
const vec128 =
  views.map(([name, type, count]) => `<vector id="${name}_type" type="${type}" count="${count}"/>`).join('') +
  '<union id="vec128">' +
  views.map(([name]) => `<field name="${name}" type="${name}_type"/>`).join('') +
  '<field name="uint128" type="uint128"/></union>';

const typesOf = (feature: string): string =>
  feature.endsWith('.core') ? eflags : feature.endsWith('.sse') ? vec128 + mxcsr : '';

/** The description of a processor with these features; registers are numbered as they stand. */
export function targetXml(architecture: GdbArchitecture, features: readonly GdbFeature[]): string {
  let number = 0;
  const lines = features.map(({ name: feature, registers }) => {
    const list = registers.map(({ name, bytes, type, group }) => {
      const saved = group === 'system' ? ' save-restore="no"' : '';
      return `<reg name="${name}" bitsize="${bytes * 8}" type="${type}" regnum="${number++}" group="${group}"${saved}/>`;
    });
    return `<feature name="${feature}">${typesOf(feature)}\n${list.join('\n')}\n</feature>`;
  });
  return [
    '<?xml version="1.0"?><!DOCTYPE target SYSTEM "gdb-target.dtd">',
    `<target version="1.0"><architecture>${architecture}</architecture>`,
    ...lines,
    '</target>\n',
  ].join('\n');
}
