/** Calls of helpers in the verifier: each argument against the helper's prototype, and what the result is. */
import type { AccessRules } from './access.ts';
import type { BpfArgument, BpfEnvironment, BpfHelper, BpfMap } from './environment.ts';
import { numberValue, type PointerValue, pointerValue, type State, type Value } from './machine-state.ts';
import { isKnown, knownScalar, type Scalar, scalarText, unknownScalar, unsignedScalar } from './scalar.ts';
import type { ArithmeticRules } from './verify-arithmetic.ts';

const ordinals = ['first', 'second', 'third', 'fourth', 'fifth'];

export class CallRules {
  private readonly access: AccessRules;
  private readonly arithmetic: ArithmeticRules;
  private readonly environment: BpfEnvironment;
  private readonly maps: readonly BpfMap[];

  constructor(access: AccessRules, arithmetic: ArithmeticRules, environment: BpfEnvironment, maps: readonly BpfMap[]) {
    this.access = access;
    this.arithmetic = arithmetic;
    this.environment = environment;
    this.maps = maps;
  }

  call(state: State, id: number, at: number): void {
    const helper = this.environment.helpers[id]!;
    let map: number | null = null;
    helper.arguments.forEach((argument, index) => {
      const found = this.argument(state, helper, argument, index, map, at);
      if (found !== null) map = found;
    });
    const { registers } = state.frame;
    const result = this.result(helper, map, at);
    registers.fill(null, 0, 6);
    registers[0] = result;
  }

  /** Answers the map if the argument is one. */
  private argument(
    state: State,
    helper: BpfHelper,
    argument: BpfArgument,
    index: number,
    map: number | null,
    at: number,
  ): number | null {
    const { access } = this;
    const register = index + 1;
    const value = access.read(state, register, at);
    const not = (expected: string): never =>
      access.refuse(
        'helper-argument',
        at,
        `the ${ordinals[index]} argument of ${helper.name}, r${register}, must be ${expected}, but is ${access.text(value)}`,
      );
    switch (argument.kind) {
      case 'number': {
        if (value.kind === 'pointer')
          return this.environment.pointersMayLeak === true && argument.max === undefined ? null : not('a number');
        const { min = 0n, max } = argument;
        const { wide } = value.scalar;
        if (wide.umin < min || (max !== undefined && wide.umax > max))
          not(`a number from ${min} to ${max ?? '2^64-1'}`);
        return null;
      }
      case 'context':
        return this.isPointer(value, 'context') ? null : not('a pointer to the context');
      case 'map':
        if (!this.isPointer(value, 'map') || value.to.kind !== 'map') return not('a map');
        if (argument.write === true && this.maps[value.to.map]?.write !== true) not('a map that may be written');
        return value.to.map;
      case 'key':
      case 'value': {
        const of = this.maps[map ?? -1];
        if (of === undefined) return not(`the ${argument.kind} of a map`);
        const size = argument.kind === 'key' ? of.keySize : of.valueSize;
        if (value.kind !== 'pointer') not(`a pointer to the ${size} bytes of a ${argument.kind} of map ${of.name}`);
        access.region(state, register, size, size, 'read', at);
        return null;
      }
      case 'memory': {
        const size = helper.arguments[index + 1] as BpfArgument & { kind: 'size' };
        const bounds = this.size(state, size, helper, index + 1, at);
        const isNull = value.kind === 'number' && isKnown(value.scalar) && value.scalar.bits.value === 0n;
        if (isNull && argument.nullable === true) return null;
        if (value.kind !== 'pointer') not('a pointer to memory');
        access.region(state, register, Number(bounds.wide.umin), Number(bounds.wide.umax), argument.access, at);
        return null;
      }
      case 'size':
        return null; // looked at with the memory before it
      default:
        return argument satisfies never;
    }
  }

  private isPointer(value: NonNullable<Value>, kind: PointerValue['to']['kind']): value is PointerValue {
    return (
      value.kind === 'pointer' &&
      value.to.kind === kind &&
      value.origin === 0 &&
      isKnown(value.offset) &&
      value.offset.bits.value === 0n
    );
  }

  private size(
    state: State,
    { min, max }: { min: number; max: number },
    helper: BpfHelper,
    index: number,
    at: number,
  ): Scalar {
    const value = this.access.read(state, index + 1, at);
    const found = value.kind === 'number' ? value.scalar : null;
    if (found === null || found.wide.umin < BigInt(min) || found.wide.umax > BigInt(max))
      return this.access.refuse(
        'helper-argument',
        at,
        `the ${ordinals[index]} argument of ${helper.name}, r${index + 1}, must be a size from ${min} to ${max}, but is ${found === null ? this.access.text(value) : scalarText(found)}`,
      );
    return found;
  }

  private result({ result, name }: BpfHelper, map: number | null, at: number): Value {
    const { targets } = this.access;
    switch (result.kind) {
      case 'none':
        return null;
      case 'number':
        if (result.min === undefined && result.max === undefined) return numberValue(unknownScalar);
        return numberValue(unsignedScalar(result.min ?? 0n, result.max ?? (1n << 64n) - 1n));
      case 'value':
        if (map === null)
          return this.access.refuse('helper-argument', at, `${name} gives the value of a map and gets no map`);
        return pointerValue(targets.value(map), knownScalar(0n), this.arithmetic.newOrigin());
      case 'region': {
        const origin = result.nullable ? this.arithmetic.newOrigin() : 0;
        return pointerValue(targets.region(result.region), knownScalar(0n), origin);
      }
      default:
        return result satisfies never;
    }
  }
}
