/** Random programs as text that the verifier mostly accepts: numbers, memory, branches, loops, calls, each kind of helper. */
import { aluOperations, conditions } from '../../src/bpf/instructions.ts';
import type { Random } from './random.ts';

const alu = Object.values(aluOperations).map(({ symbol }) => symbol);
const tests = Object.values(conditions).map(({ symbol }) => symbol);
/** Registers of numbers; r6 is the context, r7 the state, r8 counts a loop. */
const numbers = [0, 2, 3, 4, 5, 9];
const stackSlots = [-8, -16, -24, -32];

export class RandomProgram {
  private readonly random: Random;
  private readonly lines: string[] = [];
  private labels = 0;
  private inLoop = false;

  constructor(random: Random) {
    this.random = random;
  }

  text(): string {
    const { lines } = this;
    lines.push(
      'r6 = r1',
      'r7 = *(u64 *)(r6 + 24)',
      'r0 = *(u64 *)(r6 + 0)',
      'r9 = *(u64 *)(r6 + 8)',
      'r8 = 1',
      'r5 = -7',
    );
    lines.push('r2 = *(u32 *)(r6 + 16)', 'r3 = r0', `r4 = ${this.constant()} ll`);
    for (const slot of stackSlots) lines.push(`*(u64 *)(r10 - ${-slot}) = r${this.random.pick(numbers)}`);
    const functions = this.random.below(3);
    this.body(4 + this.random.below(25), functions);
    // A function that nobody calls would be unreachable.
    for (let n = 0; n < functions; n++) lines.push('r1 = r9', 'r2 = r10', 'r2 += -16', `call f${n}`);
    lines.push('*(u64 *)(r6 + 8) = r9', 'exit');
    for (let n = 0; n < functions; n++) this.function(n);
    return lines.join('\n');
  }

  private number(): string {
    return `r${this.random.pick(numbers)}`;
  }
  private constant(): bigint {
    return this.random.number();
  }
  private immediate(): number {
    return Number(BigInt.asIntN(32, this.random.number()));
  }

  private body(count: number, functions: number): void {
    for (let i = 0; i < count; i++) this.statement(functions);
  }

  private statement(functions: number): void {
    const { lines, random } = this;
    const [a, b] = [this.number(), this.number()];
    const narrow = (register: string) => register.replace('r', 'w');
    switch (random.below(18)) {
      case 0:
      case 1:
      case 2:
        lines.push(`${a} ${random.pick(alu)} ${b}`);
        return;
      case 3:
        lines.push(`${narrow(a)} ${random.pick(alu)} ${narrow(b)}`);
        return;
      case 4:
        lines.push(`${a} ${random.pick(alu)} ${this.immediate()}`);
        return;
      case 5:
        lines.push(`${narrow(a)} ${random.pick(alu)} ${this.immediate()}`);
        return;
      case 6:
        lines.push(
          random.pick([
            `${a} = -${a}`,
            `${narrow(a)} = -${narrow(a)}`,
            `${a} = (s${random.pick([8, 16, 32])})${b}`,
            `${narrow(a)} = (s${random.pick([8, 16])})${narrow(b)}`,
            `${a} = ${random.pick(['le', 'be', 'bswap'])}${random.pick([16, 32, 64])} ${a}`,
          ]),
        );
        return;
      case 7:
        lines.push(`${a} = ${this.constant()} ll`);
        return;
      case 8:
      case 9:
        return this.branch(functions);
      case 10:
        return this.stack(a, b);
      case 11:
      case 12:
        return this.state(a, b);
      case 13:
        return this.atomic(a);
      case 14:
        return this.helper();
      case 15:
        return this.map(a);
      case 16:
        return this.loop(functions);
      default:
        if (functions === 0) return;
        lines.push(`r1 = ${a}`, 'r2 = r10', `r2 += ${random.pick(stackSlots)}`, `call f${random.below(functions)}`);
        return this.restore();
    }
  }

  private branch(functions: number): void {
    const { lines, random } = this;
    const label = `l${this.labels++}`;
    const width = random.pick(['r', 'w']);
    const operand = random.below(2) === 0 ? this.number().replace('r', width) : `${this.immediate()}`;
    lines.push(`if ${this.number().replace('r', width)} ${random.pick(tests)} ${operand} goto ${label}`);
    this.body(1 + random.below(4), functions);
    if (random.below(3) === 0) {
      const end = `l${this.labels++}`;
      lines.push(`goto${random.pick(['', 'l'])} ${end}`, `${label}:`);
      this.body(1 + random.below(3), functions);
      lines.push(`${end}:`);
    } else lines.push(`${label}:`);
  }

  private stack(a: string, b: string): void {
    const { lines, random } = this;
    const size = random.pick([1, 2, 4, 8]);
    const at = random.pick(stackSlots) + size * random.below(8 / size);
    const sign = size < 8 && random.below(3) === 0 ? 's' : 'u';
    lines.push(
      random.pick([
        `*(u${size * 8} *)(r10 - ${-at}) = ${a}`,
        `*(u${size * 8} *)(r10 - ${-at}) = ${this.immediate()}`,
        `${b} = *(${sign}${size * 8} *)(r10 - ${-at})`,
      ]),
    );
  }

  private state(a: string, b: string): void {
    const { lines, random } = this;
    const size = random.pick([1, 2, 4, 8]);
    const bits = size * 8;
    const access = (base: string, offset: number) =>
      random.pick([
        `*(u${bits} *)(${base} + ${offset}) = ${b}`,
        `${b} = *(u${bits} *)(${base} + ${offset})`,
        `*(u${bits} *)(${base} + ${offset}) = ${this.immediate()}`,
      ]);
    if (random.below(3) === 0) {
      lines.push(access('r7', random.below(65 - size)));
      return;
    }
    const index = random.pick(['r1']);
    const label = `l${this.labels++}`;
    switch (random.below(3)) {
      case 0:
        lines.push(`${index} = ${a}`, `${index} &= 31`, `${index} += r7`, access(index, random.below(33 - size)));
        break;
      case 1:
        lines.push(
          `${index} = ${a}`,
          `if ${index} > 40 goto ${label}`,
          `${index} += r7`,
          access(index, 8),
          `${label}:`,
        );
        break;
      default:
        lines.push(`w1 = w${a.slice(1)}`, `w1 %= 48`, `r1 += r7`, access('r1', 8), `${label}:`);
    }
  }

  private atomic(a: string): void {
    const { lines, random } = this;
    const bits = random.pick([32, 64]);
    const base = random.pick(['r7', 'r10']);
    const place = base === 'r7' ? `r7 + ${random.below(8) * 8}` : `r10 - ${-random.pick(stackSlots)}`;
    const source = bits === 64 ? a : a.replace('r', 'w');
    const zero = bits === 64 ? 'r0' : 'w0';
    const exchange = bits === 64 ? 'xchg_64' : 'xchg32_32';
    lines.push(
      random.pick([
        `lock *(u${bits} *)(${place}) ${random.pick(['+=', '|=', '&=', '^='])} ${source}`,
        `${source} = atomic_fetch_${random.pick(['add', 'or', 'and', 'xor'])}((u${bits} *)(${place}), ${source})`,
        `${source} = ${exchange}(${place}, ${source})`,
        `${zero} = cmp${exchange}(${place}, ${zero}, ${source})`,
      ]),
    );
  }

  private helper(): void {
    const { lines, random } = this;
    const label = `l${this.labels++}`;
    const three = () => [1, 2, 3].map((n) => `r${n} = ${this.number()}`);
    lines.push(
      ...random.pick([
        ['call 5'],
        ['r1 = r9', 'r2 = r9', 'r3 = r0', 'call 6'],
        ['r1 = r9', 'r2 = 1193182', 'r3 = r9', 'r3 &= 1023', 'call 13'],
        ['r1 = r0', 'r1 &= 63', 'call 7', 'r1 = r7', 'r1 += r0', '*(u8 *)(r1 + 48) = 3'],
        ['r1 = r9', 'call 8', `if r0 == 0 goto ${label}`, '*(u32 *)(r0 + 4) = 5', 'r0 = *(u8 *)(r0 + 4)', `${label}:`],
        ['r1 = r7', 'r2 = r9', 'r2 &= 63', 'call 10'],
        ['r1 = r10', 'r1 += -32', 'r2 = 13', 'call 11', 'r0 = 1'],
        ['r1 = r6', 'call 12'],
        [...three().slice(0, 1), 'r1 %= 101', 'call 7'],
      ]),
    );
    this.restore();
  }

  private map(a: string): void {
    const { lines, random } = this;
    const label = `l${this.labels++}`;
    lines.push(`r1 = ${a}`, 'r1 &= 7', '*(u32 *)(r10 - 40) = r1', 'r1 = map 0 ll', 'r2 = r10', 'r2 += -40');
    if (random.below(2) === 0) lines.push('r3 = r10', 'r3 += -32', `r4 = ${random.below(4)}`, 'call 2');
    else
      lines.push('call 1', `if r0 == 0 goto ${label}`, '*(u64 *)(r0 + 8) = r9', 'r0 = *(u16 *)(r0 + 9)', `${label}:`);
    this.restore();
  }

  private loop(functions: number): void {
    if (this.inLoop) return;
    this.inLoop = true;
    const label = `l${this.labels++}`;
    const turns = 1 + this.random.below(6);
    if (this.random.below(2) === 0) this.lines.push(`r8 = ${turns}`);
    else this.lines.push('r8 = *(u64 *)(r6 + 0)', 'r8 &= 3', 'r8 += 1');
    this.lines.push(`${label}:`);
    this.body(1 + this.random.below(5), functions);
    this.lines.push('r8 -= 1', `if r8 != 0 goto ${label}`);
    this.inLoop = false;
  }

  /** A call spoils r1 to r5. */
  private restore(): void {
    this.lines.push('r2 = r9', 'r3 = r0', `r4 = ${this.constant()} ll`, 'r5 = 3');
  }

  private function(n: number): void {
    const { lines, random } = this;
    lines.push(`f${n}: r6 = r1`, '*(u64 *)(r10 - 8) = r2', 'r0 = *(u64 *)(r2 + 0)');
    for (let i = 0; i < 1 + random.below(4); i++) {
      lines.push(
        random.pick([
          `r0 ${random.pick(alu)} r6`,
          `w0 ${random.pick(alu)} w6`,
          'r2 = *(u64 *)(r10 - 8)',
          '*(u64 *)(r2 + 0) = r6',
        ]),
      );
    }
    lines.push('r1 = r0', 'exit');
  }
}
