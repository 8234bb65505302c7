/**
 * Floating point in a region beside its operations: what MXCSR and the registers must be where the region or one of its
 * loops is entered (float-facts.ts), and the inexact flag.
 */
import { leave } from '../src/execute/leave.ts';
import type { Emitter, Expr } from './emitter.ts';
import { unfitMxcsr } from './exact-float.ts';
import { isUnfit, isVector, typeOfShape } from './float-class.ts';
import { type Demand, type FloatDemands, markFacts, ORDERED } from './float-facts.ts';
import { INEXACT, type InexactFlag } from './mxcsr.ts';
import type { Region, RegionBlock } from './region.ts';
import { noneHeld, type RegionFrame } from './region-frame.ts';
import { type Held, registerBit } from './region-liveness.ts';

export class RegionFloat {
  private readonly e: Emitter;
  private readonly region: Region;
  private readonly frame: RegionFrame;
  private readonly demands: FloatDemands | null;
  private readonly inexact: InexactFlag;
  /** Not zero while MXCSR's inexact flag is clear, if it may be either. */
  private readonly flagClear: number;

  /** Writes what is known of operands into the region's nodes. */
  constructor(e: Emitter, region: Region, frame: RegionFrame, inexact: InexactFlag) {
    this.inexact = inexact;
    this.e = e;
    this.region = region;
    this.frame = frame;
    this.demands = markFacts(region);
    this.flagClear = e.local('i32');
  }

  /** The region has floating point. */
  get isThere(): boolean {
    return this.demands !== null;
  }
  get isInexactClear(): boolean {
    return this.inexact === 'clear';
  }
  ifInexactClear(body: () => void): void {
    if (this.inexact === 'clear') body();
    else if (this.inexact === 'either') this.e.if(this.frame.i32(this.flagClear), body);
  }
  /** Registers that `enter` reads, as a mask of Held. */
  get entryMask(): number {
    return (this.demands?.entry ?? []).reduce((mask, { register }) => mask | registerBit('x', register), 0);
  }

  /** Refuses an MXCSR or registers for which the region's operations are not made. */
  enter(): void {
    const { e, region, frame, demands } = this;
    if (demands === null) return;
    const refuse = () => frame.leave(region.entry.rip, leave.refuse, noneHeld);
    e.if(unfitMxcsr(e, e.state32('mxcsr'), this.inexact), refuse);
    if (this.inexact === 'either')
      e.set(this.flagClear, e.op('i32.eqz', e.op('i32.and', e.state32('mxcsr'), e.i32(INEXACT))));
    for (const demand of demands.entry) e.if(this.unmet(demand), refuse);
  }
  /** Leaves between two blocks if the second one wants more of the registers than they are. */
  pass(from: RegionBlock, to: RegionBlock, dirty: Held): void {
    for (const demand of this.demands?.edge(from, to) ?? []) {
      this.frame.leaveIf(this.unmet(demand), to.rip, leave.retry, dirty);
    }
  }

  private unmet({ register, shape, facts }: Demand): Expr {
    const { e, frame } = this;
    const local = frame.register('x', register);
    if (shape === 'f64' && local.low !== null) {
      const { low } = local;
      return isUnfit(e, shape, () => e.get(low, 'f64'), (facts & ORDERED) !== 0);
    }
    const whole = frame.whole(local);
    const number = isVector(shape) ? whole : e.op(`${shape}x${shape === 'f64' ? 2 : 4}.extract_lane`, whole, 0);
    const x = e.share(number, typeOfShape(shape));
    return isUnfit(e, shape, x, (facts & ORDERED) !== 0);
  }
}
