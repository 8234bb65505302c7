/**
 * Loads and stores as the verifier sees them: whether an access stays within what the pointer points to, may be made, is
 * aligned, reads nothing that was not written and gives no pointer away.
 */
import type { BpfEnvironment, BpfField, BpfMap } from './environment.ts';
import { type BpfCode, BpfError } from './errors.ts';
import type { AccessSize } from './instructions.ts';
import {
  type Frame,
  numberValue,
  type PointerValue,
  pointerValue,
  type State,
  type Target,
  Targets,
  targetText,
  type Value,
  valueText,
} from './machine-state.ts';
import { stackBytes } from './relevance.ts';
import { isKnown, knownScalar, type Scalar, scalarText } from './scalar.ts';
import { addScalars, extendScalar, loadedScalar } from './scalar-arithmetic.ts';

export type AccessKind = 'read' | 'write' | 'read-write';

/** The range that an access touches, in bytes from the start of what it points to. */
interface Extent {
  readonly from: bigint;
  readonly to: bigint;
  readonly offset: Scalar;
}

const plural = (count: number | bigint): string => `${count} byte${count === 1 || count === 1n ? '' : 's'}`;

export class AccessRules {
  readonly targets = new Targets();
  /** Bytes of stack that each function uses, by its start. */
  readonly depths = new Map<number, number>();
  private readonly environment: BpfEnvironment;
  private readonly maps: readonly BpfMap[];
  /** The context's fields by each of their bytes. */
  private readonly fields: readonly (BpfField | undefined)[];

  /** Fields of the context that the program looks at, on any way through it. */
  readonly fieldsRead = new Set<string>();

  constructor(environment: BpfEnvironment, maps: readonly BpfMap[]) {
    this.environment = environment;
    this.maps = maps;
    const fields: (BpfField | undefined)[] = new Array(environment.context.size).fill(undefined);
    for (const field of environment.context.fields) fields.fill(field, field.offset, field.offset + field.size);
    this.fields = fields;
  }

  refuse(code: BpfCode, at: number, reason: string): never {
    throw new BpfError(code, at, reason);
  }
  text(value: Value): string {
    return valueText(value, this.maps);
  }
  /** The register's value, which must have one. */
  read(state: State, register: number, at: number): NonNullable<Value> {
    const value = state.frame.registers[register]!;
    if (value === null)
      this.refuse('uninitialised-register', at, `r${register} is read before anything was written to it`);
    return value;
  }
  /** The register as a pointer that is not null. */
  pointer(state: State, register: number, at: number): PointerValue {
    const value = this.read(state, register, at);
    if (value.kind !== 'pointer')
      this.refuse('not-a-pointer', at, `r${register} is used as an address, but is ${this.text(value)}`);
    if (value.origin !== 0)
      this.refuse('null-pointer', at, `r${register} is ${this.text(value)}; compare it with 0 first`);
    return value;
  }

  /** What a load puts into its register. */
  load(state: State, base: number, offset: number, size: AccessSize, signed: boolean, at: number): Value {
    const pointer = this.pointer(state, base, at);
    const extent = this.extent(pointer, offset, BigInt(size));
    const unknown = numberValue(loadedScalar(size * 8, signed));
    switch (pointer.to.kind) {
      case 'context': {
        const field = this.contextField(base, extent, size, 'read', at);
        return field?.pointsTo === undefined ? unknown : pointerValue(this.targets.region(field.pointsTo));
      }
      case 'stack': {
        const frame = this.stack(state, pointer.to.frame, base, extent, BigInt(size), at);
        const [from, to] = [Number(extent.from), Number(extent.to)];
        if (!frame.isWritten(from, to)) this.refuseUnwritten(frame, base, from, to, at);
        const stored = isKnown(extent.offset) ? frame.load(from, size) : null;
        if (stored?.kind === 'pointer') return stored;
        if (stored?.kind === 'number')
          return signed ? numberValue(extendScalar(64, (size * 8) as 8, stored.scalar)) : stored;
        if (frame.holdsPointer(from, to) && this.environment.pointersMayLeak !== true)
          this.refuse('pointer-leak', at, `the load through r${base} would read a part of a pointer as a number`);
        return unknown;
      }
      default:
        this.object(pointer, base, extent, BigInt(size), 'read', at);
        return this.constantValue(pointer.to, extent, size, signed) ?? unknown;
    }
  }

  /** @param value what is stored; a number of which only the low bytes are */
  store(state: State, base: number, offset: number, size: AccessSize, value: NonNullable<Value>, at: number): void {
    const pointer = this.pointer(state, base, at);
    const extent = this.extent(pointer, offset, BigInt(size));
    const leaks = this.environment.pointersMayLeak === true;
    if (value.kind === 'pointer' && size !== 8 && !leaks)
      this.refuse('pointer-leak', at, `${plural(size)} of ${this.text(value)} would be stored as a number`);
    switch (pointer.to.kind) {
      case 'context':
        this.contextField(base, extent, size, 'write', at);
        break;
      case 'stack': {
        const index = pointer.to.frame;
        const frame = this.stack(state, index, base, extent, BigInt(size), at);
        const [from, to] = [Number(extent.from), Number(extent.to)];
        if (!isKnown(extent.offset)) {
          if (value.kind === 'pointer' || frame.holdsPointer(from, to))
            this.refuse(
              'pointer-leak',
              at,
              `a pointer is stored, or overwritten, at an unknown place: r${base} is ${this.text(pointer)}`,
            );
          return frame.blur(from, to);
        }
        if (value.kind === 'pointer' && value.to.kind === 'stack' && value.to.frame > index)
          this.refuse(
            'pointer-leak',
            at,
            `${this.text(value)} would outlive its frame on ${targetText(pointer.to, this.maps)}`,
          );
        const whole = size === 8 || value.kind === 'number';
        return frame.store(from, size, whole ? value : null);
      }
      default:
        this.object(pointer, base, extent, BigInt(size), 'write', at);
    }
    if (value.kind === 'pointer' && !leaks)
      this.refuse('pointer-leak', at, `${this.text(value)} would be stored in ${targetText(pointer.to, this.maps)}`);
  }

  /** A read, change and write in one. */
  atomic(state: State, base: number, offset: number, size: 4 | 8, at: number): void {
    const pointer = this.pointer(state, base, at);
    const extent = this.extent(pointer, offset, BigInt(size));
    switch (pointer.to.kind) {
      case 'context':
        return this.refuse('context-access', at, 'atomic operations on the context are not allowed');
      case 'stack': {
        const frame = this.stack(state, pointer.to.frame, base, extent, BigInt(size), at);
        const [from, to] = [Number(extent.from), Number(extent.to)];
        if (!frame.isWritten(from, to)) this.refuseUnwritten(frame, base, from, to, at);
        if (frame.holdsPointer(from, to))
          this.refuse('pointer-leak', at, 'an atomic operation would change a pointer on the stack');
        return isKnown(extent.offset) ? frame.store(from, size, null) : frame.blur(from, to);
      }
      default:
        this.object(pointer, base, extent, BigInt(size), 'read-write', at);
        this.aligned(extent.offset, size, base, pointer, at);
    }
  }

  /** Memory handed to a helper: up to `most` bytes, of which `least` certainly are used. */
  region(state: State, register: number, least: number, most: number, access: 'read' | 'write', at: number): void {
    const pointer = this.pointer(state, register, at);
    const extent = this.extent(pointer, 0, BigInt(most));
    if (pointer.to.kind === 'context')
      this.refuse('helper-argument', at, `r${register} is ${this.text(pointer)}, which helpers take only as a whole`);
    if (most === 0) return;
    if (pointer.to.kind !== 'stack') return this.object(pointer, register, extent, BigInt(most), access, at);
    const frame = this.stack(state, pointer.to.frame, register, extent, null, at);
    const [from, to] = [Number(extent.from), Number(extent.to)];
    const pointers = frame.holdsPointer(from, to);
    if (pointers && this.environment.pointersMayLeak !== true)
      this.refuse('pointer-leak', at, `the memory at r${register} that the helper gets holds a pointer`);
    if (access === 'read') {
      if (!frame.isWritten(from, to)) this.refuseUnwritten(frame, register, from, to, at);
      return;
    }
    frame.blur(from, to);
    if (isKnown(extent.offset)) frame.fill(from, from + least);
  }

  private extent(pointer: PointerValue, offset: number, size: bigint): Extent {
    const at = offset === 0 ? pointer.offset : addScalars(pointer.offset, knownScalar(BigInt(offset)));
    return { from: at.wide.smin, to: at.wide.smax + size, offset: at };
  }

  /** The context's field that an access lies in, if it is one. */
  private contextField(
    base: number,
    extent: Extent,
    size: number,
    access: 'read' | 'write',
    at: number,
  ): BpfField | null {
    const { context } = this.environment;
    if (!isKnown(extent.offset))
      this.refuse(
        'context-access',
        at,
        `the offset into ${context.name} must be a constant, but is ${scalarText(extent.offset)}`,
      );
    const from = Number(extent.from);
    if (from < 0 || from + size > context.size)
      this.refuse(
        'context-access',
        at,
        `${plural(size)} at offset ${from} lie outside of ${context.name}, which has ${context.size}`,
      );
    if (from % size !== 0)
      this.refuse('misaligned', at, `${plural(size)} at offset ${from} of ${context.name} are not aligned`);
    const verb = access === 'read' ? 'read' : 'written';
    for (let byte = from; byte < from + size; byte++) {
      const field = this.fields[byte];
      if (field === undefined)
        this.refuse(
          'context-access',
          at,
          `r${base} is used for byte ${byte} of ${context.name}, where there is no field`,
        );
      if (!field[access])
        this.refuse('access-denied', at, `field ${field.name} of ${context.name} must not be ${verb}`);
      if (access === 'read') this.fieldsRead.add(field.name);
      if (field.pointsTo !== undefined && (from !== field.offset || size !== field.size))
        this.refuse(
          'context-access',
          at,
          `field ${field.name} of ${context.name} holds a pointer and is ${verb} whole only`,
        );
    }
    return this.fields[from] ?? null;
  }

  /** The frame that an access goes to, after its bounds were checked; `size` null: alignment does not matter. */
  private stack(
    state: State,
    index: number,
    base: number,
    { from, to, offset }: Extent,
    size: bigint | null,
    at: number,
  ): Frame {
    const limit = BigInt(stackBytes);
    if (from < -limit || to > 0n)
      this.refuse(
        'stack-bounds',
        at,
        `r${base} leads to bytes ${from} to ${to - 1n} from the upper end of the stack, which has -${limit} to -1`,
      );
    if (size !== null && ((offset.bits.value | offset.bits.mask) & (size - 1n)) !== 0n)
      this.refuse('misaligned', at, `${plural(size)} at offset ${scalarText(offset)} of the stack are not aligned`);
    const frame = state.frames[index]!;
    const used = Number(-from);
    if (used > (this.depths.get(frame.start) ?? 0)) this.depths.set(frame.start, used);
    return frame;
  }

  private refuseUnwritten(frame: Frame, base: number, from: number, to: number, at: number): never {
    let first = from;
    while (first < to && frame.isWritten(first, first + 1)) first++;
    return this.refuse(
      'uninitialised-stack',
      at,
      `the read through r${base} reaches byte ${first} of the stack, to which nothing was written`,
    );
  }

  /** A map's value or a region. */
  private object(
    pointer: PointerValue,
    base: number,
    extent: Extent,
    size: bigint,
    access: AccessKind,
    at: number,
  ): void {
    const { to } = pointer;
    const name = targetText(to, this.maps);
    if (to.kind === 'map')
      return this.refuse(
        'access-denied',
        at,
        `r${base} is ${this.text(pointer)} itself, whose memory is not accessible`,
      );
    const map = to.kind === 'value' ? this.maps[to.map]! : null;
    const region = to.kind === 'region' ? this.environment.regions[to.region]! : null;
    const whole = BigInt(map?.valueSize ?? region?.size ?? 0);
    if (extent.from < 0n || extent.to > whole)
      this.refuse(
        'out-of-bounds',
        at,
        `r${base} is ${this.text(pointer)}: an access of ${plural(size)} may reach from ${extent.from} to ${extent.to}, but ${name} has ${plural(whole)}`,
      );
    const reads = access !== 'write';
    const writes = access !== 'read';
    if (reads && region?.read === false) this.refuse('access-denied', at, `${name} must not be read`);
    if (writes && !(map?.write ?? region?.write)) this.refuse('access-denied', at, `${name} must not be written`);
    if (this.environment.strictAlignment === true) this.aligned(extent.offset, Number(size), base, pointer, at);
  }

  private aligned(offset: Scalar, size: number, base: number, pointer: PointerValue, at: number): void {
    if (((offset.bits.value | offset.bits.mask) & BigInt(size - 1)) !== 0n)
      this.refuse(
        'misaligned',
        at,
        `r${base} is ${this.text(pointer)}: ${plural(size)} at offset ${scalarText(offset)} are not aligned`,
      );
  }

  /** What lies in a map of one value that nobody writes. */
  private constantValue(to: Target, { from, offset }: Extent, size: number, signed: boolean): Value {
    if (to.kind !== 'value' || !isKnown(offset)) return null;
    const map = this.maps[to.map]!;
    if (map.write || map.maxEntries !== 1) return null;
    let value = 0n;
    for (let byte = size - 1; byte >= 0; byte--)
      value = (value << 8n) | BigInt(map.contents?.[Number(from) + byte] ?? 0);
    return numberValue(knownScalar(signed ? BigInt.asIntN(size * 8, value) : value));
  }
}
