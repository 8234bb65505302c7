/**
 * The verifier: follows every path of a program with what is known about its registers and stack, and refuses it at the
 * first instruction that is not certainly safe. The model is that of the Linux kernel's verifier ("eBPF verifier" in its
 * documents); the rules stand in access.ts, verify-arithmetic.ts and verify-calls.ts.
 *
 * A loop is accepted if walking it comes to an end: each turn is followed until the condition that ends it is certain. A
 * path ends early where a more general state was found safe before.
 */
import { AccessRules } from './access.ts';
import { analyseFlow, type BpfFunction, type ControlFlow } from './control-flow.ts';
import { decode } from './decode.ts';
import { type BpfEnvironment, type BpfMap, checkEnvironment } from './environment.ts';
import { BpfError } from './errors.ts';
import {
  type BpfCodeList,
  type BpfInstruction,
  conditions,
  framePointer,
  immediateSource,
  registerWritten,
} from './instructions.ts';
import { Frame, numberValue, type PointerValue, pointerValue, State, type Value } from './machine-state.ts';
import { RelevanceAnalysis, stackBytes } from './relevance.ts';
import { isKnown, knownScalar, mayBe, scalarText, unknownScalar } from './scalar.ts';
import { truncateScalar } from './scalar-arithmetic.ts';
import { type Refined, refine } from './scalar-conditions.ts';
import { covers, unchanged } from './state-compare.ts';
import { ArithmeticRules } from './verify-arithmetic.ts';
import { CallRules } from './verify-calls.ts';

/** A program as loaders make it and embedders hand it over. */
export interface BpfProgramSource {
  readonly name: string;
  /** Instructions; the program starts at the first. References to maps are numbers in `maps`. */
  readonly bytes: Uint8Array;
  readonly maps: readonly BpfMap[];
}

/** A program that is safe in the environment it was verified for. */
export interface VerifiedProgram extends BpfProgramSource {
  readonly code: BpfCodeList;
  readonly environment: BpfEnvironment;
  readonly functions: readonly BpfFunction[];
  /** Bytes of stack that each function uses, by its start; multiples of 8. */
  readonly frameBytes: ReadonlyMap<number, number>;
  /** The most stack that nested calls use together. */
  readonly stackBytes: number;
  /** Instructions that the verifier looked at. */
  readonly complexity: number;
  /** Fields of the context that it may look at; the others need not be set. */
  readonly fieldsRead: ReadonlySet<string>;
}

const defaultComplexity = 200_000;
/** States are remembered at joins that are so many instructions apart, and at each loop's head. */
const rememberEvery = 8;

/** A remembered state, and how many paths from it have not ended. */
interface Checkpoint {
  /** Null: forgotten, for it never helped. */
  state: State | null;
  readonly before: Checkpoint | null;
  open: number;
  hits: number;
  misses: number;
}

interface Path {
  readonly at: number;
  readonly state: State;
  readonly last: Checkpoint | null;
  readonly since: number;
}

/** For tests of the verifier. */
export interface VerifierOptions {
  /**
   * Follows paths to their ends even where a more general state was found safe: the verdict is the same, at many times the
   * cost.
   */
  readonly everyPath?: boolean;
  /** Called with what is known before each instruction on each path. */
  readonly observe?: (at: number, state: State) => void;
}

/**
 * @throws BpfError with the instruction and the reason if the program is not certainly safe
 */
export function verify(
  source: BpfProgramSource,
  environment: BpfEnvironment,
  options: VerifierOptions = {},
): VerifiedProgram {
  checkEnvironment(environment, source.maps);
  const code = decode(source.bytes);
  const flow = analyseFlow(code);
  const search = new Search(code, flow, environment, source.maps, options);
  search.run();
  const { frameBytes, deepest } = stackUse(flow, search.access.depths);
  return {
    ...source,
    code,
    environment,
    functions: flow.functions,
    frameBytes,
    stackBytes: deepest,
    complexity: search.looked,
    fieldsRead: search.access.fieldsRead,
  };
}

function stackUse(flow: ControlFlow, depths: ReadonlyMap<number, number>) {
  const frameBytes = new Map(flow.functions.map(({ start }) => [start, ((depths.get(start) ?? 0) + 7) & ~7]));
  const byStart = new Map(flow.functions.map((f) => [f.start, f]));
  const totals = new Map<number, number>();
  const total = (start: number): number => {
    const known = totals.get(start);
    if (known !== undefined) return known;
    const found = frameBytes.get(start)! + Math.max(0, ...byStart.get(start)!.calls.map(total));
    totals.set(start, found);
    return found;
  };
  const deepest = total(0);
  if (deepest > stackBytes)
    throw new BpfError('stack-depth', 0, `nested calls use ${deepest} bytes of stack, and there are ${stackBytes}`);
  return { frameBytes, deepest };
}

class Search {
  readonly access: AccessRules;
  looked = 0;
  private readonly code: BpfCodeList;
  private readonly flow: ControlFlow;
  private readonly environment: BpfEnvironment;
  private readonly maps: readonly BpfMap[];
  private readonly relevance: RelevanceAnalysis;
  private readonly arithmetic: ArithmeticRules;
  private readonly calls: CallRules;
  private readonly remembered = new Map<number, Checkpoint[]>();
  private readonly waiting: Path[] = [];
  private readonly limit: number;
  private readonly options: VerifierOptions;

  constructor(
    code: BpfCodeList,
    flow: ControlFlow,
    environment: BpfEnvironment,
    maps: readonly BpfMap[],
    options: VerifierOptions,
  ) {
    this.options = options;
    this.code = code;
    this.flow = flow;
    this.environment = environment;
    this.maps = maps;
    this.relevance = new RelevanceAnalysis(code, flow, environment);
    this.access = new AccessRules(environment, maps);
    this.arithmetic = new ArithmeticRules(this.access, environment.pointersMayLeak === true);
    this.calls = new CallRules(this.access, this.arithmetic, environment, maps);
    this.limit = environment.maxComplexity ?? defaultComplexity;
  }

  run(): void {
    this.code.forEach((instruction, at) => {
      if (instruction !== null) this.checkReferences(instruction, at);
    });
    const first = new Frame(0, -1);
    first.registers[1] = pointerValue(this.access.targets.context);
    first.registers[framePointer] = pointerValue(this.access.targets.stack(0));
    this.waiting.push({ at: 0, state: new State([first]), last: null, since: 0 });
    for (let path = this.waiting.pop(); path !== undefined; path = this.waiting.pop()) this.follow(path);
  }

  /** Follows a path to its end; what branches off waits. */
  private follow({ at, state, last, since }: Path): void {
    for (;;) {
      if (++this.looked > this.limit)
        throw new BpfError(
          'too-complex',
          at,
          `after ${this.limit} instructions on all paths there is no end in sight; a loop has no bound that can be seen, or too many turns`,
        );
      if (this.flow.joins.has(at) && this.options.everyPath !== true) {
        if (this.isKnown(at, state)) break;
        if (since >= rememberEvery || this.flow.loopHeads.has(at)) {
          last = { state: state.copy(), before: last, open: 1, hits: 0, misses: 0 };
          const list = this.remembered.get(at);
          if (list === undefined) this.remembered.set(at, [last]);
          else list.push(last);
          since = 0;
        }
      }
      since++;
      this.options.observe?.(at, state);
      const i = this.code[at]!;
      if (i.kind === 'branch') {
        const outcomes = this.branch(state, i, at);
        if (outcomes.taken !== null && outcomes.passed !== null) {
          if (last !== null) last.open++;
          this.waiting.push({ at: i.target, state: outcomes.taken, last, since });
        }
        const next = outcomes.passed ?? outcomes.taken;
        if (next === null) break; // no number gets here
        state = next;
        at = outcomes.passed === null ? i.target : at + 1;
        continue;
      }
      const next = this.step(state, i, at);
      if (next < 0) break;
      at = next;
    }
    for (let ended = last; ended !== null; ended = ended.before) if (--ended.open > 0) break;
  }

  /** A state that was found safe here holds this one; a path that is back where it was never ends. */
  private isKnown(at: number, state: State): boolean {
    const list = this.remembered.get(at);
    if (list === undefined) return false;
    for (let index = list.length - 1; index >= 0; index--) {
      const found = list[index]!;
      const known = found.state!;
      if (found.open > 0) {
        if (unchanged(known, state, at, this.relevance))
          this.access.refuse('endless-loop', at, 'the loop comes back here and nothing that could end it has changed');
      } else if (covers(known, state, at, this.relevance)) {
        found.hits++;
        return true;
      }
      if (++found.misses <= found.hits * 3 + 3) continue;
      list.splice(index, 1);
      found.state = null;
    }
    return false;
  }

  /** The number of the next instruction, or -1 at the path's end. */
  private step(
    state: State,
    i: BpfInstruction & { kind: Exclude<BpfInstruction['kind'], 'branch'> },
    at: number,
  ): number {
    const { access } = this;
    const { registers } = state.frame;
    switch (i.kind) {
      case 'alu':
      case 'negate':
      case 'extend':
      case 'swap':
        this.arithmetic.execute(state, i, at);
        return at + 1;
      case 'constant':
        registers[i.register] = numberValue(knownScalar(i.value));
        return at + 2;
      case 'map':
        registers[i.register] = pointerValue(access.targets.map(i.map));
        return at + 2;
      case 'map-value':
        registers[i.register] = pointerValue(access.targets.value(i.map), knownScalar(BigInt(i.offset)));
        return at + 2;
      case 'load':
        registers[i.register] = access.load(state, i.base, i.offset, i.size, i.signed, at);
        return at + 1;
      case 'store':
        access.store(state, i.base, i.offset, i.size, this.stored(state, i, at), at);
        return at + 1;
      case 'atomic':
        this.atomic(state, i, at);
        return at + 1;
      case 'goto':
        return i.target;
      case 'call':
        this.calls.call(state, i.helper, at);
        return at + 1;
      case 'call-local': {
        const frame = new Frame(i.target, at + 1);
        for (let r = 1; r <= 5; r++) frame.registers[r] = registers[r]!;
        frame.registers[framePointer] = pointerValue(access.targets.stack(state.frames.length));
        state.frames.push(frame);
        return i.target;
      }
      case 'exit':
        return this.exit(state, at);
      default:
        return i satisfies never;
    }
  }

  private stored(state: State, i: BpfInstruction & { kind: 'store' }, at: number): NonNullable<Value> {
    const value =
      i.source === immediateSource
        ? numberValue(knownScalar(BigInt(i.immediate)))
        : this.access.read(state, i.source, at);
    if (value.kind === 'pointer') return value;
    if (i.size < 8) return numberValue(truncateScalar(i.size * 8, value.scalar));
    return i.source === immediateSource ? value : this.arithmetic.share(state, i.source, value);
  }

  /** What holds wherever the instruction stands, in code that is never run, too: it is translated with the rest. */
  private checkReferences(i: BpfInstruction, at: number): void {
    const { access } = this;
    if (registerWritten(i) === framePointer) access.refuse('read-only-register', at, 'r10 cannot be written');
    if (i.kind === 'call' && this.environment.helpers[i.helper] === undefined)
      access.refuse('unknown-helper', at, `there is no helper ${i.helper}`);
    if (i.kind !== 'map' && i.kind !== 'map-value') return;
    const found = this.maps[i.map];
    if (found === undefined)
      return access.refuse('unknown-map', at, `there is no map ${i.map}; the program has ${this.maps.length}`);
    if (i.kind === 'map-value' && i.offset >= found.valueSize)
      access.refuse(
        'out-of-bounds',
        at,
        `offset ${i.offset} lies outside of the ${found.valueSize} bytes of map ${found.name}`,
      );
  }

  private atomic(state: State, i: BpfInstruction & { kind: 'atomic' }, at: number): void {
    const { access } = this;
    const { registers } = state.frame;
    for (const register of i.operation === 'compare-exchange' ? [i.source, 0] : [i.source]) {
      const value = access.read(state, register, at);
      if (value.kind === 'pointer')
        access.refuse('pointer-leak', at, `an atomic operation cannot use r${register}, ${access.text(value)}`);
    }
    access.atomic(state, i.base, i.offset, i.size, at);
    if (!i.fetch) return;
    const scalar = i.size === 4 ? truncateScalar(32, unknownScalar) : unknownScalar;
    registers[i.operation === 'compare-exchange' ? 0 : i.source] = numberValue(scalar);
  }

  private exit(state: State, at: number): number {
    const { access } = this;
    const frame = state.frame;
    const value = frame.registers[0]!;
    if (state.frames.length === 1) {
      const { min, max } = this.environment.result;
      const found = access.read(state, 0, at);
      if (found.kind === 'pointer') {
        if (this.environment.pointersMayLeak !== true)
          access.refuse('pointer-leak', at, `the program would return r0, ${access.text(found)}`);
      } else if (found.scalar.wide.umin < min || found.scalar.wide.umax > max)
        access.refuse('result-range', at, `r0 must be ${min} to ${max} at the end, but is ${scalarText(found.scalar)}`);
      return -1;
    }
    if (value?.kind === 'pointer' && value.to.kind === 'stack' && value.to.frame === state.frames.length - 1)
      access.refuse('pointer-leak', at, 'the function would return a pointer to its own stack');
    state.frames.pop();
    const { registers } = state.frame;
    registers.fill(null, 0, 6);
    registers[0] = value;
    return frame.returnTo;
  }

  /** The states behind a branch; null for a way that cannot be gone. `state` becomes one of them. */
  private branch(
    state: State,
    i: BpfInstruction & { kind: 'branch' },
    at: number,
  ): { taken: State | null; passed: State | null } {
    const { access } = this;
    const left = access.read(state, i.register, at);
    const right =
      i.source === immediateSource ? numberValue(knownScalar(BigInt(i.immediate))) : access.read(state, i.source, at);
    const after = (outcome: boolean): ((to: State) => void) | null => {
      if (left.kind === 'number' && right.kind === 'number') {
        const refined = refine(i.condition, i.width, outcome, left.scalar, right.scalar);
        return refined === null ? null : (to) => this.learn(to, i, [left, right], refined);
      }
      return this.comparePointers(i, outcome, left, right, at);
    };
    const taken = after(true);
    const passed = after(false);
    const apply = (change: ((to: State) => void) | null, to: State): State | null => {
      change?.(to);
      return change === null ? null : to;
    };
    const other = taken !== null && passed !== null ? state.copy() : state;
    return { taken: apply(taken, other), passed: apply(passed, state) };
  }

  private learn(
    state: State,
    i: BpfInstruction & { kind: 'branch' },
    before: readonly Value[],
    refined: NonNullable<Refined>,
  ): void {
    [i.register, i.source].forEach((register, index) => {
      const value = before[index];
      const scalar = refined[index]!;
      if (register === immediateSource || value?.kind !== 'number' || scalar === value.scalar) return;
      const changed = numberValue(scalar, value.origin);
      if (value.origin !== 0) state.replace(value.origin, () => changed);
      else state.frame.registers[register] = changed;
    });
  }

  private comparePointers(
    i: BpfInstruction & { kind: 'branch' },
    outcome: boolean,
    left: NonNullable<Value>,
    right: NonNullable<Value>,
    at: number,
  ): ((to: State) => void) | null {
    const nothing = (): void => {};
    const equality = i.condition === 'eq' || i.condition === 'ne';
    const not = (): never =>
      this.access.refuse(
        'pointer-comparison',
        at,
        `${this.access.text(left)} cannot be compared by ${conditions[i.condition].symbol} with ${this.access.text(right)}`,
      );
    if (i.width === 32) return this.environment.pointersMayLeak === true ? nothing : not();
    if (left.kind === 'pointer' && right.kind === 'pointer') {
      if (left.to === right.to && left.origin === 0 && right.origin === 0)
        return this.compareOffsets(i, outcome, left, right);
      return equality || this.environment.pointersMayLeak === true ? nothing : not();
    }
    const [pointer, number] = left.kind === 'pointer' ? [left, right] : [right as PointerValue, left];
    const isZero = number.kind === 'number' && isKnown(number.scalar) && mayBe(number.scalar, 0n);
    if (!equality || !isZero) return this.environment.pointersMayLeak === true ? nothing : not();
    const isNull = (i.condition === 'eq') === outcome;
    if (pointer.origin === 0) return isNull ? null : nothing;
    return (to) =>
      to.replace(pointer.origin, (value) => (isNull ? numberValue(knownScalar(0n)) : { ...value, origin: 0 }));
  }

  /** Pointers to the same thing compare as their offsets do, unless one may have gone below its start. */
  private compareOffsets(
    i: BpfInstruction & { kind: 'branch' },
    outcome: boolean,
    left: PointerValue,
    right: PointerValue,
  ): ((to: State) => void) | null {
    const equality = i.condition === 'eq' || i.condition === 'ne';
    const fromStack = left.to.kind === 'stack';
    const ordered = !fromStack && left.offset.wide.smin >= 0n && right.offset.wide.smin >= 0n;
    if (i.condition === 'set' || (!equality && !ordered)) return () => {};
    const refined = refine(i.condition, 64, outcome, left.offset, right.offset);
    if (refined === null) return null;
    return (to) => {
      const { registers } = to.frame;
      if (i.register !== framePointer) registers[i.register] = { ...left, offset: refined[0] };
      if (i.source !== framePointer) registers[i.source] = { ...right, offset: refined[1] };
    };
  }
}
