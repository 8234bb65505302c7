/** The C declarations of an environment, for programs that a C compiler makes. */
import type { BpfArgument, BpfEnvironment, BpfField } from './environment.ts';

const numbers = { 1: 'unsigned char', 2: 'unsigned short', 4: 'unsigned int', 8: 'unsigned long long' } as const;

function fieldType({ size, pointsTo }: BpfField): string {
  return pointsTo === undefined ? `${numbers[size]} ` : 'void *';
}
function argumentType(argument: BpfArgument): string {
  switch (argument.kind) {
    case 'number':
    case 'size':
      return numbers[8];
    case 'context':
      return 'struct device_access *';
    default:
      return 'void *';
  }
}

/**
 * A header with the context's structure, the helpers as functions, and macros for sections and maps: `PROGRAM("name")`
 * before a program's function, `MAP(name, value type, entries)` for an array map.
 */
export function cHeader({ context, helpers }: BpfEnvironment): string {
  const lines = ['/* Generated: what programs of this environment may use. */', '#pragma once', ''];
  lines.push(`struct ${context.name} {`);
  let at = 0;
  for (const field of [...context.fields].sort((a, b) => a.offset - b.offset)) {
    if (field.offset > at) lines.push(`  unsigned char gap${at}[${field.offset - at}];`);
    lines.push(`  ${fieldType(field)}${field.name};`);
    at = field.offset + field.size;
  }
  lines.push('};', '');
  for (const [id, helper] of Object.entries(helpers)) {
    const parameters = helper.arguments.map(argumentType).join(', ').replaceAll('device_access', context.name);
    const { kind } = helper.result;
    const result = kind === 'none' ? 'void ' : kind === 'number' ? `${numbers[8]} ` : 'void *';
    lines.push(`static ${result}(*const ${helper.name})(${parameters || 'void'}) = (void *)${id};`);
  }
  lines.push(
    '',
    '#define PROGRAM(name) __attribute__((section("device/" name), used))',
    '#define MAP(name, value_type, entries) \\',
    '  struct { int (*type)[2]; int (*max_entries)[entries]; unsigned int *key; value_type *value; } name \\',
    '      __attribute__((section(".maps"), used))',
    '',
  );
  return lines.join('\n');
}
