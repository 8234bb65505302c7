/** Far JMP, CALL and RET, IRET, software interrupts, and the fast system calls. SDM volume 2. */
import type { Builder } from '../ir/builder.ts';
import type { FarOperand, ImmediateOperand, Insn, MemoryOperand } from '../ir/operand.ts';
import { define, GP } from './define.ts';
import { loadFar } from './segments.ts';

const bytes = (b: Builder, x: Insn) => b.i32(x.width / 8);

for (const [name, helper, direct, extension] of [
  ['JMP', 'far-jump', 'EA', 5],
  ['CALL', 'far-call', '9A', 3],
] as const)
  define(name, [`${direct} Ap i64`, `FF /${extension} Mp`], (b, x) => {
    if (x.dst.kind === 'far') {
      const { selector, offset } = x.dst as FarOperand;
      b.call(helper, x, b.i32(selector), b.i64(offset), bytes(b, x));
    } else {
      const pointer = loadFar(b, x, x.dst as MemoryOperand);
      b.call(helper, x, pointer.selector, pointer.offset, bytes(b, x));
    }
  });

define('RETF', ['CB'], (b, x) => b.call('far-return', x, bytes(b, x), b.i32(0)));
define('RETF', ['CA Iw'], (b, x) =>
  b.call('far-return', x, bytes(b, x), b.i32(Number((x.dst as ImmediateOperand).value))));
define('IRET', ['CF'], (b, x) => b.call('iret', x, bytes(b, x)));

define('INT', ['CD Ib'], (b, x) => {
  b.call('int', x, b.i32(Number((x.dst as ImmediateOperand).value)));
});
define('INT3', ['CC'], (b, x) => b.call('int3', x));
define('INTO', ['CE i64'], (b, x) => b.call('into', x));
define('INT1', ['F1'], (b, x) => b.call('int1', x));

define('SYSCALL', ['0F 05 x64'], (b, x) => b.call('syscall', x), 'syscall');
define('SYSRET', ['0F 07 x64'], (b, x) => b.call('sysret', x, bytes(b, x)), 'syscall');
define('SYSENTER', ['0F 34'], (b, x) => b.call('sysenter', x), 'sep');
define('SYSEXIT', ['0F 35'], (b, x) => b.call('sysexit', x, bytes(b, x)), 'sep');
define(
  'SWAPGS',
  ['0F 01 F8 x64'],
  (b) => {
    if (b.context.cpl !== 0) return b.raise(GP, 0);
    const base = b.state64('gsBase');
    b.setState64('gsBase', b.state64('kernelGsBase'));
    b.setState64('kernelGsBase', base);
  },
  'syscall',
);
