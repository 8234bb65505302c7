/**
 * One region as a WebAssembly function `(cpu, depth) -> next instruction pointer`: guest registers, lazy flags and the
 * instruction budget live in locals; the memory image is exact wherever the region leaves.
 *
 * It never faults and never touches a device: an instruction that misses the look-aside table or would fault is left to
 * the interpreter, before it has changed anything (`LEFT`, with the reason in the field `leave`).
 */
import { leave } from '../src/execute/leave.ts';
import { type FlagKind, flagCode } from '../src/ir/flags.ts';
import { effects, memoryAccesses, type Node, PURE, results } from '../src/ir/micro-ops.ts';
import { aliasOf, type Schedule, schedule } from '../src/ir/schedule.ts';
import type { Type, Width } from '../src/ir/types.ts';
import { isX87 } from '../src/ir/x87-ops.ts';
import type { Emitter, Expr } from './emitter.ts';
import { withFastLoops } from './fast-loops.ts';
import { lookUpJump } from './jump-entry.ts';
import { lower, type Reader } from './lower.ts';
import type { InexactFlag } from './mxcsr.ts';
import { callsOut, dispatchPlace, graphOf, type Region, type RegionBlock } from './region.ts';
import { type BlockValues, RegionDoubles } from './region-doubles.ts';
import { RegionFlags } from './region-flags.ts';
import { RegionFloat } from './region-float.ts';
import { noneHeld, plainBits, RegionFrame } from './region-frame.ts';
import { chooseTarget, noteTarget } from './region-jumps.ts';
import { type Held, Liveness } from './region-liveness.ts';
import { RegionLoops } from './region-loops.ts';
import { RegionMemory } from './region-memory.ts';
import { emitPort } from './region-ports.ts';
import { segmentAccess } from './region-segment.ts';
import type { RegionX87 } from './region-x87.ts';
import { emitStructured } from './structure.ts';
import { regionX87 } from './x87-values.ts';

const DEPTH = 1;
/** How deep guest calls nest as WebAssembly calls before they go through the dispatcher again. */
export const callDepth = 400;

/** Instructions of a block that the region does itself. */
const emittedInstructions = (block: RegionBlock): number =>
  block.terminator.kind === 'leave' ? block.instructions - 1 : block.instructions;

/** How a region is to do floating point. */
export interface RegionWay {
  readonly x87: 'exact' | 'fast';
  readonly inexact: InexactFlag;
}

export class RegionEmitter implements Reader, BlockValues {
  readonly e: Emitter;
  readonly inRegion = true;
  private readonly region: Region;
  private readonly frame: RegionFrame;
  private readonly liveness: Liveness;
  private readonly places: RegionMemory;
  private readonly target: number;
  private readonly float: RegionFloat;
  private readonly doubles: RegionDoubles;
  /** Where a return inside the region goes. */
  private readonly returnTo: number;
  private readonly need: number[] = [];
  private readonly loops: RegionLoops;
  private readonly flags: RegionFlags;
  private readonly x87: RegionX87 | null;
  // The block being emitted.
  nodes: readonly Node[] = [];
  /** The values that are made: an expression is for its one user, functions give one for each. */
  private values: (Expr | (() => Expr) | undefined)[] = [];
  private plan!: Schedule;
  private current!: RegionBlock;
  private rip = 0n;
  private index = 0;
  private count = 0;
  /** What differs from memory here. */
  private dirty: Held = noneHeld;
  /** Passes control to an instruction pointer: within the region, or out of it. */
  private pass: (rip: bigint) => void = () => {};

  private constructor(e: Emitter, original: Region, { x87, inexact }: RegionWay) {
    this.e = e;
    const { region, loops } = withFastLoops(original);
    this.region = region;
    this.frame = new RegionFrame(e, region);
    this.liveness = new Liveness(region);
    this.places = new RegionMemory(e, region, loops, this);
    this.loops = new RegionLoops(e, this.frame, this.places, loops);
    this.flags = new RegionFlags(e, region, this.frame, (block) => this.loops.isFast(block));
    this.target = e.local('i32');
    this.returnTo = e.local('i64');
    this.float = new RegionFloat(e, region, this.frame, inexact);
    this.doubles = new RegionDoubles(e, region, this.frame);
    this.computeNeed();
    this.x87 = regionX87(e, region, x87, (condition) => this.exitIf(condition));
    this.frame.x87 = this.x87;
  }

  /** Adds the region as an exported function. True if the way's state of the inexact flag makes a difference. */
  static add(e: Emitter, name: string, region: Region, way: RegionWay): boolean {
    let isThere = false;
    const body = () => {
      const emitter = new RegionEmitter(e, region, way);
      isThere = emitter.float.isThere;
      emitter.emit();
    };
    e.addFunction(name, ['i32', 'i32'], 'i64', body, true, true);
    return isThere;
  }

  /** Instructions on the longest way from each block to the next place that checks the budget. */
  private computeNeed(): void {
    for (const block of [...this.region.blocks].reverse()) {
      let longest = 0;
      if (!callsOut(block)) {
        for (const s of block.successors) if (s.order > block.order) longest = Math.max(longest, this.need[s.order]!);
      }
      this.need[block.order] = emittedInstructions(block) + longest;
    }
  }

  private emit(): void {
    const { e, region, frame, liveness } = this;
    const live = liveness.live[0]!;
    const mask = live.mask | this.float.entryMask;
    frame.makeLeft = () => this.flags.makeLeft();
    frame.withLeaves(liveness.leaves, () => {
      frame.fill({ mask, flags: live.flags });
      if (region.entry.needsFlagBits) frame.flagsToBits();
      this.x87?.fill(0, () => frame.leave(region.entry.rip, leave.refuse, noneHeld));
      this.float.enter();
      this.places.openPages(() => frame.leave(region.entry.rip, leave.refuse, noneHeld));
      this.checkBudget(region.entry);
      emitStructured(graphOf(region.blocks), {
        block: (label, body) => e.block(label, body),
        loop: (label, body) => e.loop(label, body),
        br: (label) => e.br(label),
        node: (n, go) => this.block(region.blocks[n]!, go),
        dispatch: (labels) => e.switch(labels, labels[0]!, frame.i32(this.target)),
        setTarget: (n) => e.set(this.target, e.i32(n)),
        backEdge: (to) => this.backEdge(region.blocks[to]!),
      });
      e.unreachable();
    });
    e.unreachable();
  }

  readonly budget = (): Expr => this.frame.i32(this.frame.budget);
  readonly budgetAfter = (): Expr => this.e.op('i32.add', this.budget(), this.e.i32(this.count - this.index - 1));
  get isInexactClear(): boolean {
    return this.float.isInexactClear;
  }
  ifInexactClear(body: () => void): void {
    this.float.ifInexactClear(body);
  }

  private backEdge(to: RegionBlock): void {
    if (!this.loops.isFast(to)) this.checkBudget(to); // `again` has looked
  }
  /** Leaves if the budget does not cover the way from here to the next check. */
  private checkBudget(block: RegionBlock): void {
    const { e, frame } = this;
    const ends = e.op('i32.lt_s', frame.i32(frame.budget), e.i32(this.need[block.order]!));
    if (block.terminator.kind === 'dispatch') e.if(ends, () => this.exit(e.get(this.returnTo, 'i64')));
    else frame.leaveIf(ends, block.rip, leave.budget, this.dirty);
  }
  private exit(next: Expr): void {
    this.x87?.spill();
    this.frame.exit(next, this.dirty);
  }
  /** Leaves before the current instruction: the interpreter does it. */
  exitIf(condition: Expr): void {
    this.frame.leaveIf(condition, this.rip, leave.retry, this.dirty, Math.max(this.count - this.index, 0));
  }

  // --- a block
  private block(block: RegionBlock, go: (to: number) => void): void {
    const { e, frame } = this;
    this.dirty = this.liveness.dirty[block.order]!;
    this.x87?.begin(block.order);
    this.nodes = block.nodes;
    this.plan = schedule(block.nodes);
    this.values = new Array(block.nodes.length);
    this.places.begin(block);
    this.loops.begin(block);
    this.flags.begin(block);
    this.doubles.forget();
    const { terminator } = block;
    this.current = block;
    const passTo = (to: RegionBlock) => {
      const settle = frame.pendingFlags;
      this.flags.pass(block, to);
      const { nodes, plan, values, count, pass, dirty, index, x87, rip: here } = this;
      const comeBack = this.places.leaveBlock();
      const at = x87?.at;
      x87?.edge(to.order, () => {
        if (to.rip === dispatchPlace) this.exit(e.get(this.returnTo, 'i64'));
        else frame.leave(to.rip, leave.retry, dirty);
      });
      go(to.order); // may emit the successor here
      if (x87 !== null) x87.at = at!;
      this.nodes = nodes;
      this.plan = plan;
      this.values = values;
      this.count = count;
      this.pass = pass;
      this.dirty = dirty;
      this.rip = here;
      this.index = index;
      this.current = block;
      comeBack();
      frame.pendingFlags = settle;
      this.doubles.forget();
    };
    this.pass = (rip) => {
      const to = block.successors.find((s) => s.rip === rip);
      if (to === undefined) this.exit(e.i64(rip));
      else passTo(to);
    };
    // The instruction that is the interpreter's is not emitted: the region ends before it.
    const lastInsn = terminator.kind === 'leave' ? block.nodes.findLastIndex((n) => n.op === 'insn') : -1;
    const counted = emittedInstructions(block);
    if (counted > 0) e.set(frame.budget, e.op('i32.sub', frame.i32(frame.budget), e.i32(counted)));
    this.count = counted;
    const { steps } = this.plan;
    this.steps(steps, 0, lastInsn);
    const last = block.nodes.at(-1)!;
    const passFromEnd = (to: RegionBlock) => {
      this.float.pass(block, to, this.dirty);
      passTo(to);
    };
    const pass = (rip: bigint) => {
      const to = block.successors.find((s) => s.rip === rip);
      if (to === undefined) this.exit(e.i64(rip));
      else passFromEnd(to);
    };
    switch (terminator.kind) {
      case 'leave':
        return this.exit(e.i64(this.nodes[lastInsn]!.imm[0] as bigint));
      case 'jump':
        return pass(terminator.target);
      case 'branch': {
        if (terminator.taken === terminator.next) return pass(terminator.next);
        return e.if(
          this.value(last.args[0]!),
          () => pass(terminator.taken),
          () => pass(terminator.next),
        );
      }
      case 'indirect':
        return this.indirect(this.shared(last.args[0]!, 'i64'), terminator.site, terminator.targets);
      case 'return':
        if (!terminator.inside) return this.exit(this.value(last.args[0]!));
        e.set(this.returnTo, this.value(last.args[0]!));
        return pass(dispatchPlace);
      case 'dispatch': {
        const to = () => e.get(this.returnTo, 'i64');
        chooseTarget(e, to, terminator.targets, this.pass);
        return this.exit(to());
      }
      case 'choose':
        return this.loops.choose(block, this.need[block.successors[0]!.order]!, passFromEnd);
      case 'again':
        return this.loops.again(block, passFromEnd);
      case 'call':
        if (terminator.inside) return pass(terminator.target!);
        this.call(last, block, terminator.target, terminator.returnAddress);
        return pass(terminator.returnAddress);
      default:
        return terminator satisfies never;
    }
  }

  /** Goes to one of the targets that were seen, or notes the target for the next translation and leaves. */
  private indirect(to: () => Expr, site: bigint, targets: readonly bigint[]): void {
    const { e, region } = this;
    const inside = targets.filter((t) => region.blocks.some((b) => b.rip === t));
    chooseTarget(e, to, inside, this.pass);
    noteTarget(e, region.entry.rip, site, to);
    this.exit(to());
  }
  /** Emits steps from `from` up to the matching end of a `when`, or to the last. Returns the place after them. */
  private steps(steps: Schedule['steps'], from: number, stopAt: number): number {
    const { e } = this;
    for (let p = from; p < steps.length; p++) {
      const v = steps[p]! >> 1;
      const save = (steps[p]! & 1) !== 0;
      const node = this.nodes[v]!;
      if (stopAt >= 0 && v >= stopAt && !save && effects[node.code] !== PURE) return steps.length;
      if (save) {
        this.values[v] = e.share(this.frame.read(node.op, node.imm[0] as number), results[node.code]!);
        continue;
      }
      if (node.op === 'end') return p;
      if (node.op === 'when' && this.nodes[node.args[0]!]!.op === 'x87.done') {
        p = this.steps(steps, p + 1, stopAt); // what does not come to its end has left
        continue;
      }
      if (node.op === 'when' && this.nodes[node.args[0]!]!.op === 'x87.undone') {
        while (this.nodes[steps[p]! >> 1]!.op !== 'end') p++; // a probe alone: no other condition, and nothing to save
        continue;
      }
      if (node.op === 'when') {
        let after = p;
        const { known } = this.places;
        const { pendingFlags } = this.frame;
        e.if(this.value(node.args[0]!), () => {
          this.places.known = { ...known, hosts: new Map(known.hosts), streamed: new Map(known.streamed) };
          after = this.steps(steps, p + 1, stopAt);
        });
        this.doubles.forget();
        this.places.known = known;
        this.frame.pendingFlags = pendingFlags;
        p = after;
        continue;
      }
      this.node(v, node);
    }
    return steps.length;
  }

  readonly isKept = (v: number): boolean => this.values[v] !== undefined;
  isUsedOnce(v: number): boolean {
    return this.plan.uses[v] === 1;
  }
  value(v: number): Expr {
    const known = this.values[v];
    if (known !== undefined) return typeof known === 'number' ? known : known();
    const { op, imm } = this.nodes[v]!;
    if (aliasOf(this.nodes[v]!) >= 0) return this.frame.read(op, imm[0] as number);
    throw new Error(`region: value ${v} (${op}) is used before it is made`);
  }
  shared(v: number, type: Type): () => Expr {
    const known = this.values[v];
    if (typeof known === 'function') return known;
    const { op, imm } = this.nodes[v]!;
    if (known === undefined && op === 'reg.get') {
      const { local } = this.frame.register(op, imm[0] as number);
      return () => this.frame.i64(local);
    }
    return this.e.share(this.value(v), type);
  }
  /** Keeps an expression: at once in a local if it is used more than once or must not move. */
  private keep(v: number, expr: Expr, move: boolean): void {
    this.keepAs(v, expr, results[this.nodes[v]!.code]!, move);
  }
  private keepAs(v: number, expr: Expr, type: Type, move: boolean): void {
    if (move && this.plan.uses[v]! === 1) this.values[v] = expr;
    else this.values[v] = this.e.share(expr, type);
  }

  private node(v: number, node: Node): void {
    const { e, frame } = this;
    const { op, args, imm } = node;
    const arg = (i: number) => this.value(args[i]!);
    switch (op) {
      case 'i32.const':
      case 'i64.const':
      case 'f32.const':
      case 'f64.const':
      case 'v128.const':
        this.values[v] = () => lower(this, op, [], imm);
        return;
      case 'restart':
        return;
      case 'insn':
        this.rip = imm[0] as bigint;
        this.index = imm[1] as number;
        return;
      case 'reg.set':
      case 'xmm.set':
        return this.setRegister(op, imm[0] as number, args[0]!);
      case 'ymm.set':
        return frame.setUpperHalf(imm[0] as number, arg(0));
      case 'state.get32':
        return this.keep(v, this.field32(imm[0] as string), false);
      case 'state.get64':
        return this.keep(
          v,
          imm[0] === 'flagA'
            ? frame.i64(frame.flagA)
            : imm[0] === 'flagB'
              ? frame.i64(frame.flagB)
              : e.state64(imm[0] as string),
          false,
        );
      case 'state.set32':
        if ((imm[0] as string).endsWith('Selector')) this.x87?.selectorChanges();
        return e.setState32(imm[0] as string, arg(0));
      case 'state.set64':
        return e.setState64(imm[0] as string, arg(0));
      case 'flags.set':
        return this.setFlags(node);
      case 'flags.merge': {
        const mask = imm[0] as number;
        const word = e.share(arg(0), 'i32');
        this.flagsInMemory();
        const old = e.op('i32.and', e.call('flagsWord', [e.cpu()], 'i32'), e.i32(~mask));
        e.set(frame.flagA, e.op('i64.extend_u', e.op('i32.or', old, e.op('i32.and', word(), e.i32(mask)))));
        e.set(frame.flagB, e.i64(0n));
        e.set(frame.flagKind, e.i32(plainBits));
        this.flags.inLocals();
        this.dirty = { mask: this.dirty.mask, flags: true };
        return;
      }
      case 'flags.get':
        this.flagsInMemory();
        return this.keep(v, e.op('i32.and', e.call('flagsWord', [e.cpu()], 'i32'), e.i32(imm[0] as number)), false);
      case 'flags.test':
        this.flagsInMemory();
        return this.keep(v, e.call('flagsTest', [e.cpu(), e.i32(imm[0] as number)], 'i32'), false);
      case 'segment':
        return this.segment(v, node);
      case 'raise.if':
      case 'call.if':
        return this.exitIf(arg(0));
      case 'probe.read':
      case 'probe.write': {
        const address = this.shared(args[0]!, 'i64');
        this.places.probeOrLeave(op === 'probe.write', address, imm[0] as number, false);
        return;
      }
      case 'jump': {
        if (v === this.nodes.length - 1) return; // the terminator
        const target = this.nodes[args[0]!]!;
        return target.op === 'i64.const' ? this.pass(target.imm[0] as bigint) : this.exit(arg(0));
      }
      case 'branch':
        if (v === this.nodes.length - 1) return;
        return e.if(
          arg(0),
          () => this.pass(imm[0] as bigint),
          () => this.pass(imm[1] as bigint),
        );
      case 'call':
        return this.port(node);
      case 'raise':
      case 'reg.get':
      case 'xmm.get':
      case 'ymm.get':
      case 'when':
      case 'end':
        throw new Error(`region: ${op} cannot stand here`);
      default:
        if (memoryAccesses[node.code] !== null) return this.memory(v, node);
        if (isX87(op)) {
          const result = this.x87!.node(
            node,
            args.map((a) => this.value(a)),
          );
          if (typeof result === 'function') this.values[v] = result;
          else if (result !== null) this.keep(v, result, false);
          return;
        }
        return this.general(v, node);
    }
  }

  private general(v: number, node: Node): void {
    const { op, code, args, imm } = node;
    const index = this.places.indexInStream(v);
    if (index !== null) return this.keepAs(v, index, 'i32', true);
    const lane = this.doubles.lane(node, this);
    if (lane !== null) return this.keep(v, lane, true);
    const expr = lower(
      this,
      op,
      args.map((a) => this.value(a)),
      imm,
    );
    if (results[code] === null) this.e.emit(expr);
    else this.keep(v, expr, effects[code] === PURE);
  }

  private setRegister(op: string, index: number, v: number): void {
    const r = this.frame.register(op, index);
    if (op === 'reg.set') this.loops.beforeWrite(index);
    if (r.low === null) this.e.set(r.local, this.value(v));
    else this.doubles.set(index, v, this);
    this.dirty = { mask: this.dirty.mask | r.bit, flags: this.dirty.flags };
  }
  private setFlags(node: Node): void {
    const { e, frame } = this;
    const { args, imm } = node;
    if (this.flags.set(node, this)) {
      this.dirty = { mask: this.dirty.mask, flags: true };
      return;
    }
    const code = flagCode(imm[0] as FlagKind, imm[1] as Width);
    const carry = this.nodes[args[2]!]!;
    // All operands first: they may read the old flags.
    const later = this.loops.isFast(this.current); // where flags are made of them when registers have changed
    const operand = (v: number) => (later ? e.share(this.value(v), 'i64') : this.shared(v, 'i64'));
    const a = operand(args[0]!);
    const b = operand(args[1]!);
    this.dirty = { mask: this.dirty.mask, flags: true };
    const known = carry.op === 'i32.const' ? (carry.imm[0] as number) : null;
    if (this.loops.setFlags(this.current, code, a, b, known)) return;
    e.set(frame.flagKind, frame.kind(code, known ?? this.value(args[2]!), known !== null));
    e.set(frame.flagA, a());
    e.set(frame.flagB, b());
    this.flags.inLocals();
  }
  private field32(name: string): Expr {
    if (name === 'flagCode') return this.frame.flagCode();
    return name === 'flagCarry' ? this.frame.flagCarry() : this.e.state32(name);
  }
  /** For the general evaluators, which read the lazy flags in memory. */
  private flagsInMemory(): void {
    if (this.dirty.flags) this.frame.spillFlags();
  }

  private memory(v: number, { code, args }: Node): void {
    const { e } = this;
    const { kind: name, bytes } = memoryAccesses[code]!;
    const type: Type = bytes === 16 ? 'v128' : bytes === 8 ? 'i64' : 'i32';
    const { host, offset, value: given } = this.places.of(v, args[0]!, bytes, name !== 'load');
    if (name === 'store') return e.storeBytes(type, host(), given?.() ?? this.value(args[1]!), offset, bytes);
    const value = e.loadBytes(type, host(), offset, bytes);
    const next = this.nodes[v + 1]!;
    const taken = next.op.startsWith('x87.operand.') && next.args[0] === v && this.plan.uses[v] === 1;
    if (taken) this.values[v] = value;
    else this.keep(v, value, false);
  }
  private segment(v: number, node: Node): void {
    const { outside, linear } = segmentAccess(this.e, node, this.shared(node.args[0]!, 'i64'));
    this.exitIf(outside);
    this.keep(v, linear(), false);
  }
  private port(node: Node): void {
    const { e, frame, rip, dirty, nodes, region } = this;
    const again = () => frame.leave(rip, leave.retry, dirty);
    emitPort(e, frame, { nodes, node, context: region.context }, again, () => this.exit(e.i64(rip)));
  }

  /**
   * A guest call is a WebAssembly call of the region that stands at the target, if the jump cache has one; it returns the
   * guest's next instruction pointer, normally the return address. Anything else goes up to the dispatcher.
   */
  private call(last: Node, block: RegionBlock, target: bigint | null, returnAddress: bigint): void {
    const { e, frame } = this;
    const to = target === null ? this.shared(last.args[0]!, 'i64') : () => e.i64(target);
    const { misses, region } = lookUpJump(e, target, to);
    frame.spill(this.dirty);
    this.flags.inLocals();
    this.x87?.spill();
    this.dirty = noneHeld;
    const none = e.op('i32.or', e.op('i32.eqz', region()), e.op('i32.eqz', e.get(DEPTH, 'i32')));
    e.if(e.op('i32.or', misses(), none), () => e.return(to()));
    const depth = e.op('i32.sub', e.get(DEPTH, 'i32'), e.i32(1));
    const next = e.share(e.callIndirect(region(), [e.cpu(), depth], ['i32', 'i32'], 'i64'), 'i64');
    e.if(e.op('i64.ne', next(), e.i64(returnAddress)), () => e.return(next()));
    const [back] = block.successors;
    if (back === undefined) return e.return(next());
    frame.fill(this.liveness.live[back.order]!);
    this.x87?.fill(back.order, () => e.return(next()));
    if (back.needsFlagBits) frame.flagsToBits();
    this.checkBudget(back);
  }
}
