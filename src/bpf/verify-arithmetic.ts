/** Arithmetic in the verifier: of numbers, and of pointers, to which numbers within bounds may be added. */
import type { AccessRules } from './access.ts';
import { maximumObject } from './environment.ts';
import { aluOperations, type BpfInstruction, immediateSource } from './instructions.ts';
import { type NumberValue, numberValue, type PointerValue, type State, type Value } from './machine-state.ts';
import { isKnown, knownScalar, type Scalar, unknownScalar } from './scalar.ts';
import { computeScalar, extendScalar, negateScalar, swapScalar } from './scalar-arithmetic.ts';

type Arithmetic = BpfInstruction & { kind: 'alu' | 'negate' | 'extend' | 'swap' };

const limit = BigInt(maximumObject);
const isFar = ({ wide }: Scalar): boolean => wide.smin < -limit || wide.smax > limit;
const wordLimit = 1n << 32n;

export class ArithmeticRules {
  private readonly access: AccessRules;
  private readonly mayLeak: boolean;
  private origins = 0;

  constructor(access: AccessRules, mayLeak: boolean) {
    this.access = access;
    this.mayLeak = mayLeak;
  }

  /** A name for values that are the same number, or null together. */
  newOrigin(): number {
    return ++this.origins;
  }

  execute(state: State, i: Arithmetic, at: number): void {
    const { registers } = state.frame;
    registers[i.register] = this.result(state, i, at);
  }

  private result(state: State, i: Arithmetic, at: number): Value {
    switch (i.kind) {
      case 'negate':
        return this.ofNumber(this.access.read(state, i.register, at), 'negation', at, (s) => negateScalar(i.width, s));
      case 'swap':
        return this.ofNumber(this.access.read(state, i.register, at), 'a byte swap', at, (s) =>
          swapScalar(i.order, i.bits, s),
        );
      case 'extend':
        return this.ofNumber(this.access.read(state, i.source, at), 'a sign-extending move', at, (s) =>
          extendScalar(i.width, i.bits, s),
        );
      case 'alu':
        return i.operation === 'mov' ? this.move(state, i, at) : this.combine(state, i, at);
      default:
        return i satisfies never;
    }
  }

  private ofNumber(value: NonNullable<Value>, what: string, at: number, make: (s: Scalar) => Scalar): Value {
    if (value.kind === 'number') return numberValue(make(value.scalar));
    return this.access.refuse('pointer-arithmetic', at, `${what} of ${this.access.text(value)} is not allowed`);
  }

  private move(state: State, i: Arithmetic & { kind: 'alu' }, at: number): Value {
    if (i.source === immediateSource)
      return numberValue(computeScalar('mov', i.width, unknownScalar, knownScalar(BigInt(i.immediate))));
    const value = this.access.read(state, i.source, at);
    if (value.kind === 'pointer') {
      if (i.width === 64) return value;
      if (this.mayLeak) return numberValue(computeScalar('mov', 32, unknownScalar, unknownScalar));
      return this.access.refuse('pointer-leak', at, `the low half of ${this.access.text(value)} would become a number`);
    }
    if (i.width === 32 && value.scalar.wide.umax >= wordLimit)
      return numberValue(computeScalar('mov', 32, unknownScalar, value.scalar));
    return i.source === i.register ? value : this.share(state, i.source, value);
  }

  /** The number of a register that is to be somewhere else as well: what one is found to be the other is, too. */
  share(state: State, register: number, value: NumberValue): NumberValue {
    if (isKnown(value.scalar) || value.origin !== 0) return value;
    const shared = numberValue(value.scalar, this.newOrigin());
    state.frame.registers[register] = shared;
    return shared;
  }

  private combine(state: State, i: Arithmetic & { kind: 'alu' }, at: number): Value {
    const left = this.access.read(state, i.register, at);
    const right: NonNullable<Value> =
      i.source === immediateSource
        ? numberValue(knownScalar(BigInt(i.immediate)))
        : this.access.read(state, i.source, at);
    if (left.kind === 'number' && right.kind === 'number') {
      // A register minus itself, or in exclusive or with itself, is zero whatever it was.
      if (i.source === i.register && (i.operation === 'sub' || i.operation === 'xor'))
        return numberValue(knownScalar(0n));
      return numberValue(computeScalar(i.operation, i.width, left.scalar, right.scalar));
    }
    return this.ofPointers(left, right, i, at);
  }

  private ofPointers(
    left: NonNullable<Value>,
    right: NonNullable<Value>,
    i: Arithmetic & { kind: 'alu' },
    at: number,
  ): Value {
    const { access } = this;
    const names = `r${i.register} ${aluOperations[i.operation].symbol} ${i.source === immediateSource ? i.immediate : `r${i.source}`}`;
    const not = (why: string): never => access.refuse('pointer-arithmetic', at, `${names}: ${why}`);
    if (i.width === 32) return not('arithmetic of 32 bits on a pointer is not allowed');
    if (i.operation !== 'add' && i.operation !== 'sub')
      return not('only addition and subtraction are allowed for pointers');
    if (left.kind === 'pointer' && right.kind === 'pointer') {
      const same = left.to === right.to && left.origin === 0 && right.origin === 0;
      if (i.operation === 'sub' && same) return numberValue(computeScalar('sub', 64, left.offset, right.offset));
      return not(`${access.text(left)} and ${access.text(right)} cannot be combined`);
    }
    if (left.kind === 'number' && i.operation === 'sub') return not('a pointer cannot be subtracted from a number');
    const [pointer, number] = (left.kind === 'pointer' ? [left, right] : [right, left]) as [PointerValue, NumberValue];
    if (pointer.origin !== 0)
      access.refuse('null-pointer', at, `${names}: ${access.text(pointer)}; compare it with 0 first`);
    if (pointer.to.kind === 'map') return not(`nothing can be added to ${access.text(pointer)} itself`);
    if (isFar(number.scalar)) return not(`${access.text(number)} may lead more than ${limit} bytes away`);
    const offset = computeScalar(i.operation, 64, pointer.offset, number.scalar);
    if (isFar(offset)) return not(`the pointer may be more than ${limit} bytes away from what it points to`);
    return { ...pointer, offset };
  }
}
