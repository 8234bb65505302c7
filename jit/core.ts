/**
 * The core module: the loop that runs blocks and regions, built once at build time through the same lowering that
 * translates regions. `enter(cpu, block)` looks up the instruction pointer in the jump cache and runs what it finds,
 * until it must leave (src/execute/leave.ts); with a block given it runs that block once.
 *
 * The interpreter is a loop over records (src/execute/records.ts) with one case for each kind.
 */

import { blockEntriesOffset, blockHeaderBytes, blockNext, blockPlace } from '../src/execute/encode.ts';
import { hotThreshold, LEFT, leave, retriesPerLeave } from '../src/execute/leave.ts';
import { allKinds, isSpecial, joinImmediates, type Part, partStep, type RecordKind } from '../src/execute/records.ts';
import { FLAG_CARRY_BIT } from '../src/ir/flags.ts';
import type { Type } from '../src/ir/types.ts';
import { jumpCacheEntry, jumpCacheEntryBytes, jumpCacheOffset, offsetOf, profileEntries } from '../src/state/layout.ts';
import { importLibrary } from './arith.ts';
import { agreement, agreementSection } from './core-agreement.ts';
import { addAskProgram } from './direct-memory.ts';
import { Emitter, type Expr, type MemoryLimits } from './emitter.ts';
import { addFlagFunctions } from './flag-functions.ts';
import { addIsRight, addIsRightBlock } from './jump-check.ts';
import { jumpIndex } from './jump-entry.ts';
import { lower, type Reader } from './lower.ts';
import { probe } from './probe.ts';
import { callDepth } from './region-emitter.ts';
import { addSmapAccess } from './smap.ts';
import { addTimeStamp } from './time-stamp.ts';
import './lower-families.ts';
import { isX87 } from '../src/ir/x87-ops.ts';
import { lowerX87 } from './lower-x87.ts';
import { addX87Functions } from './x87-functions.ts';

const CPU = 0;
const BLOCK = 1;

class CoreBuilder implements Reader {
  readonly e = new Emitter();
  readonly inRegion = false;
  readonly isInexactClear = false;
  private pc = 0;
  /** The part of a record that is being made, its number, and the results of those before it. */
  private part!: Part;
  private index = 0;
  /** So many bytes on stands the next record; 0 = the record has other parts. */
  private bytes = 0;
  private results: { type: Type; value: () => Expr }[] = [];

  build(memory: MemoryLimits): Uint8Array {
    const { e } = this;
    e.importMemory(memory);
    e.importTable(1);
    e.importFunction('slowRead', 'env', ['i32', 'i32', 'i32'], 'i32');
    e.importFunction('slowWrite', 'env', ['i32', 'i32', 'i32', 'i32'], 'i32');
    e.importFunction('helper', 'env', ['i32', 'i32'], 'i32');
    e.importFunction('hostTime', 'env', ['i32'], null);
    importLibrary(e);
    addFlagFunctions(this);
    addX87Functions(e);
    addTimeStamp(e);
    addIsRight(e);
    addIsRightBlock(e);
    addAskProgram(e);
    addSmapAccess(e);
    e.addFunction('enter', ['i32', 'i32'], 'i32', () => this.enter(), true);
    e.addSection(agreementSection, agreement());
    e.validate();
    e.optimise(['simplify-locals', 'vacuum', 'coalesce-locals', 'reorder-locals']);
    const bytes = e.binary();
    e.dispose();
    return bytes;
  }

  private get(local: number): Expr {
    return this.e.get(local, 'i32');
  }

  private enter(): void {
    const { e } = this;
    this.pc = e.local('i32');
    const once = e.local('i32');
    const entry = e.local('i32');
    const budget = e.local('i32');
    const entries = e.local('i32');
    const rip = e.local('i64');
    /** The block that has just ended, since this was entered: memory of blocks is not used again meanwhile. */
    const before = e.local('i32');
    const field = (offset: number) => e.load('i32', this.get(entry), jumpCacheOffset + offset);
    e.set(once, this.get(BLOCK));
    e.loop('next', () => {
      e.if(e.op('i32.eqz', this.get(BLOCK)), () => {
        e.if(this.get(once), () => e.return(e.i32(leave.done)));
        e.if(e.state32('attention'), () => e.return(e.i32(leave.attention)));
        e.set(rip, e.state64('rip'));
        e.block('found', () => {
          e.if(this.get(before), () => this.follow(before, rip));
          this.findEntry(entry, rip, leave.lookup);
          e.if(field(jumpCacheEntry.region), () => {
            e.set(before, e.i32(0));
            e.setState64(
              'translated',
              e.op('i64.add', e.state64('translated'), e.op('i64.extend_s', e.state32('budget'))),
            );
            const main = field(jumpCacheEntry.region);
            e.set(rip, e.callIndirect(main, [this.get(CPU), e.i32(callDepth)], ['i32', 'i32'], 'i64'));
            e.setState64(
              'translated',
              e.op('i64.sub', e.state64('translated'), e.op('i64.extend_s', e.state32('budget'))),
            );
            e.if(e.op('i64.eq', e.get(rip, 'i64'), e.i64(LEFT)), () => this.leftRegion(entry, rip));
            e.setState64('rip', e.get(rip, 'i64'));
            e.if(e.op('i32.ge_s', e.state32('profileCount'), e.i32(profileEntries)), () =>
              e.return(e.i32(leave.profile)),
            );
            e.set(BLOCK, e.i32(0));
            e.br('next');
          });
          e.set(BLOCK, field(jumpCacheEntry.block));
          e.store('i32', this.get(BLOCK), e.state32('codeEpoch'), blockPlace.epoch);
          e.if(this.get(before), () => {
            const [last, other] = blockNext;
            e.store('i32', this.get(before), e.load('i32', this.get(before), last), other);
            e.store('i32', this.get(before), this.get(BLOCK), last);
          });
        });
        e.set(entries, e.op('i32.add', e.load('i32', this.get(BLOCK), blockEntriesOffset), e.i32(1)));
        e.store('i32', this.get(BLOCK), this.get(entries), blockEntriesOffset);
        e.if(e.op('i32.eq', this.get(entries), e.i32(hotThreshold)), () => e.return(e.i32(leave.hot)));
      });
      e.set(budget, e.op('i32.sub', e.state32('budget'), e.load('i32', this.get(BLOCK))));
      e.if(e.op('i32.lt_s', this.get(budget), e.i32(0)), () => e.return(e.i32(leave.budget)));
      e.setState32('budget', this.get(budget));
      e.setState32('blockRecord', this.get(BLOCK));
      e.set(this.pc, e.op('i32.add', this.get(BLOCK), e.i32(blockHeaderBytes)));
      e.set(before, this.get(BLOCK));
      e.set(BLOCK, e.i32(0));
      e.loop('record', () => this.records());
    });
    e.unreachable();
  }

  /** A region has left: for an instruction that begins a block too, the block is run. */
  private leftRegion(entry: number, rip: number): void {
    const { e } = this;
    const again = e.i32(leave.retry);
    e.if(e.op('i32.ne', e.state32('leave'), again), () => e.return(e.state32('leave')));
    const retries = e.share(e.op('i32.add', e.state32('retries'), e.i32(1)), 'i32');
    e.setState32('retries', retries());
    e.if(e.op('i32.ge_u', retries(), e.i32(retriesPerLeave)), () => e.return(e.i32(leave.retry)));
    e.set(rip, e.state64('rip'));
    this.findEntry(entry, rip, leave.retry);
    e.if(e.load('i32', this.get(entry), jumpCacheOffset + jumpCacheEntry.region), () => e.return(e.i32(leave.retry)));
    e.set(BLOCK, e.i32(0));
    e.br('next');
  }

  /** Goes on to `found` if the block at `rip` is one of those that came after the last one. */
  private follow(before: number, rip: number): void {
    const { e } = this;
    const place = (type: 'i32' | 'i64', offset: number) => e.load(type, this.get(BLOCK), offset);
    for (const next of blockNext) {
      e.set(BLOCK, e.load('i32', this.get(before), next));
      e.if(this.get(BLOCK), () =>
        e.if(e.op('i64.eq', place('i64', blockPlace.rip), e.get(rip, 'i64')), () => {
          e.brIf('found', e.op('i64.eq', place('i64', blockPlace.context), e.codeInForce()));
          e.brIf('found', e.call('isRightBlock', [this.get(CPU), this.get(BLOCK), e.get(rip, 'i64')], 'i32'));
        }),
      );
    }
  }

  /** Sets `entry` to what `rip` leads to in the jump cache, or leaves. */
  private findEntry(entry: number, rip: number, otherwise: number): void {
    const { e } = this;
    const low = () => e.op('i32.wrap', e.get(rip, 'i64'));
    const offset = e.op('i32.mul', jumpIndex(e, low), e.i32(jumpCacheEntryBytes));
    e.set(entry, e.op('i32.add', this.get(CPU), offset));
    const miss = () =>
      e.op(
        'i32.or',
        e.op('i64.ne', e.load('i64', this.get(entry), jumpCacheOffset), e.get(rip, 'i64')),
        e.op('i64.ne', e.load('i64', this.get(entry), jumpCacheOffset + jumpCacheEntry.context), e.codeInForce()),
      );
    const isRight = () => e.call('isRight', [this.get(CPU), this.get(entry), e.get(rip, 'i64')], 'i32');
    const here = e.label('here');
    e.block(here, () => {
      e.brIf(here, e.op('i32.eqz', miss()));
      e.brIf(here, isRight());
      // Perhaps another entry has pushed it aside.
      e.set(entry, e.op('i32.xor', this.get(entry), e.i32(jumpCacheEntryBytes)));
      e.brIf(here, e.op('i32.eqz', miss()));
      e.brIf(here, isRight());
      e.return(e.i32(otherwise));
    });
  }

  private records(): void {
    const { e } = this;
    const kinds = allKinds();
    const labels = kinds.map((k) => `k${k.id}`);
    // Each case stands behind a block that the cases before it and the switch are in.
    let before = e.collect(() => e.switch(labels, labels[0]!, e.load('i32', this.get(this.pc), 0, 'load16_u')));
    for (const kind of kinds) {
      const inner = before;
      before = e.collect(() => {
        e.block(labels[kind.id]!, () => {
          for (const statement of inner) e.emit(statement);
        });
        this.cases(kind);
      });
    }
    for (const statement of before) e.emit(statement);
  }
  private cases({ parts, bytes }: RecordKind): void {
    this.results = [];
    for (const [index, part] of parts.entries()) {
      this.part = part;
      this.index = index;
      this.bytes = index === parts.length - 1 ? bytes : 0;
      this.case(part.kind);
    }
  }

  // --- parts of a record
  private place(offset: number): Expr {
    return this.e.op('i32.add', this.get(CPU), this.e.load('i32', this.get(this.pc), offset, 'load16_u'));
  }
  private operand(kind: RecordKind, i: number): Expr {
    const { e } = this;
    const type = kind.operands[i]!;
    if (kind.constantOperand && i === kind.operands.length - 1) {
      const value = e.load('i32', this.get(this.pc), this.part.immediates[0]!);
      return type === 'i64' ? e.op('i64.extend_s', value) : value;
    }
    const from = this.part.from[i]!;
    return from < 0 ? e.load(type, this.place(this.part.operands[i]!)) : this.handedOn(type, this.results[from]!);
  }
  /** An earlier part's result as what would be read from its place. */
  private handedOn(type: Type, { type: made, value }: { type: Type; value: () => Expr }): Expr {
    if (type === made) return value();
    return this.e.op(made === 'i32' ? 'i64.extend_u' : 'i32.wrap', value());
  }
  private immediate(kind: RecordKind, index: number): Expr {
    return this.e.load(kind.immediates[index]!, this.get(this.pc), this.part.immediates[index]!);
  }
  private extra(): Expr {
    return this.e.load('i32', this.get(this.pc), this.part.extra, 'load16_u');
  }
  private result(type: Type, value: Expr): void {
    const { e } = this;
    const { handsOn, destination } = this.part;
    const made = handsOn ? e.share(value, type) : () => value;
    this.results[this.index] = { type, value: made };
    if (destination < 0) return;
    if (type === 'i32') e.store('i64', this.place(destination), e.op('i64.extend_u', made()));
    else e.store(type, this.place(destination), made());
  }
  /** What follows a part whose cases are all done here: the next record, or the next part. */
  private advance(): void {
    const { e } = this;
    if (this.bytes === 0) return;
    e.set(this.pc, e.op('i32.add', this.get(this.pc), e.i32(this.bytes)));
    e.br('record');
  }
  /** Where a fault finds the part's instruction. */
  private recordAddress(): Expr {
    return this.index === 0
      ? this.get(this.pc)
      : this.e.op('i32.add', this.get(this.pc), this.e.i32(this.index * partStep));
  }
  private fault(): void {
    this.e.setState32('leaveRecord', this.recordAddress());
    this.e.return(this.e.i32(leave.fault));
  }
  private raise(vector: Expr, errorCode: Expr): void {
    this.e.setState32('faultVector', vector);
    this.e.setState32('faultErrorCode', errorCode);
    this.fault();
  }
  budget(): Expr {
    return this.e.state32('budget');
  }
  ifInexactClear(): void {
    throw new Error('core: only a region asks for this');
  }
  exitIf(condition: Expr, vector: number, errorCode = -1): void {
    this.e.if(condition, () => this.raise(this.e.i32(vector), this.e.i32(errorCode)));
  }

  private case(kind: RecordKind): void {
    const { e } = this;
    const { op } = kind;
    if (op === 'copy.64' || op === 'copy.128') {
      this.result(kind.operands[0]!, this.operand(kind, 0));
      return this.advance();
    }
    if (op === 'set.32') {
      e.store('i32', this.place(this.part.destination), this.operand(kind, 0));
      return this.advance();
    }
    if (op === 'flags.code' || op === 'flags.constant') {
      const given = op === 'flags.code';
      e.setState64('flagA', given ? this.operand(kind, 0) : e.op('i64.extend_s', this.immediate(kind, 0)));
      e.setState64('flagB', given ? this.operand(kind, 1) : e.op('i64.extend_s', this.immediate(kind, 1)));
      e.setState32('flagKind', this.extra());
      return this.advance();
    }
    if (op === 'stop') {
      e.setState64('rip', this.immediate(kind, 0));
      e.setState32('leaveRecord', this.get(this.pc));
      return e.return(e.i32(leave.stop));
    }
    if (isSpecial(op)) return this.special(kind);
    if (/^(load|modify|store)\./.test(op)) return this.memory(kind);
    const args = kind.operands.map((_, i) => this.operand(kind, i));
    if (op.endsWith('.shuffle')) return this.shuffle(kind);
    if (isX87(op)) {
      const value = lowerX87(
        this,
        op,
        args,
        kind.immediates.map((_, i) => this.immediate(kind, i)),
      );
      if (kind.result === null) e.emit(value);
      else this.result(kind.result, value);
      return this.advance();
    }
    const dynamic = kind.immediates.slice(kind.constantOperand ? 1 : 0);
    if (op.startsWith('address.')) return this.address(kind, args);
    let value: Expr;
    if (dynamic.length > 0)
      value = this.immediate(kind, kind.constantOperand ? 1 : 0); // a constant
    else value = lower(this, op, args, joinImmediates(op, kind.fixed, []) as number[]);
    if (kind.result === null) e.emit(value);
    else this.result(kind.result, value);
    this.advance();
  }

  /** The displacement stands in the record: added to the sum of the lowering with displacement 0. */
  private address(kind: RecordKind, args: Expr[]): void {
    const { e } = this;
    args[0] = e.op('i64.add', args[0], e.op('i64.extend_s', this.immediate(kind, 0)));
    this.result(
      'i64',
      lower(
        this,
        kind.op as 'address.base',
        args,
        joinImmediates(kind.op as 'address.base', kind.fixed, [0]) as number[],
      ),
    );
    this.advance();
  }

  /** Lanes chosen by an immediate in the record: two swizzles, since an index out of range gives zero. */
  private shuffle(kind: RecordKind): void {
    const { e } = this;
    const lanes = e.share(this.immediate(kind, 0), 'v128');
    const low = e.op('i8x16.swizzle', this.operand(kind, 0), lanes());
    const high = e.op(
      'i8x16.swizzle',
      this.operand(kind, 1),
      e.op('i8x16.sub', lanes(), e.v128(new Array<number>(16).fill(16))),
    );
    this.result('v128', e.op('v128.or', low, high));
    this.advance();
  }

  private memory(kind: RecordKind): void {
    const { e } = this;
    const [name, bits] = kind.op.split('.') as [string, string];
    const bytes = Number(bits) / 8;
    const type: Type = bytes === 16 ? 'v128' : bytes === 8 ? 'i64' : 'i32';
    const suffix = bytes === 1 ? '8' : bytes === 2 ? '16' : '';
    const isStore = name === 'store';
    const address = e.share(this.operand(kind, 0), 'i64');
    const table = e.state32(name === 'load' ? 'tlbRead' : 'tlbWrite');
    const { hit, host } = probe(e, table, 0, address, bytes);
    if (isStore) {
      this.either(
        hit(),
        () => e.store(type, host(), this.operand(kind, 1), 0, `store${suffix}` as 'store'),
        () => {
          e.setState64('argument3', address());
          e.store(type, this.get(CPU), this.operand(kind, 1), offsetOf('scratch0'));
          const ok = e.call('slowWrite', [this.get(CPU), e.i32(bytes), this.extra(), this.recordAddress()], 'i32');
          e.if(e.op('i32.eqz', ok), () => this.fault());
        },
      );
      return this.advance();
    }
    const loadKind = (suffix === '' ? 'load' : `load${suffix}_u`) as 'load';
    const value = this.bytes === 0 ? e.local(type) : 0;
    const give = (loaded: Expr): void => (this.bytes === 0 ? e.set(value, loaded) : this.result(type, loaded));
    this.either(
      hit(),
      () => give(e.load(type, host(), 0, loadKind)),
      () => {
        e.setState64('argument3', address());
        const flags = e.op('i32.or', this.extra(), e.i32(name === 'modify' ? 2 : 0));
        e.setState32('leaveRecord', this.recordAddress());
        e.if(e.op('i32.eqz', e.call('slowRead', [this.get(CPU), e.i32(bytes), flags], 'i32')), () => this.fault());
        give(e.load(type, this.get(CPU), offsetOf('scratch0'), loadKind));
      },
    );
    if (this.bytes === 0) this.result(type, e.get(value, type));
    this.advance();
  }
  /** One of two ways to do the part; behind the likely one its record is done. */
  private either(condition: Expr, likely: () => void, other: () => void): void {
    const { e } = this;
    if (this.bytes === 0) return e.if(condition, likely, other);
    e.if(condition, () => {
      likely();
      this.advance();
    });
    other();
  }

  private helper(kind: RecordKind): void {
    const { e } = this;
    e.setState64('rip', this.immediate(kind, 1));
    e.setState64('result0', this.immediate(kind, 2));
    e.if(e.call('helper', [this.get(CPU), this.immediate(kind, 0)], 'i32'), () => e.return(e.i32(leave.exit)));
    e.br('next');
  }
  private special(kind: RecordKind): void {
    const { e } = this;
    const operand = (i: number) => this.operand(kind, i);
    const immediate = (i: number) => this.immediate(kind, i);
    switch (kind.op) {
      case 'flags.set':
        e.setState64('flagA', operand(0));
        e.setState64('flagB', operand(1));
        e.setState32('flagKind', e.op('i32.or', immediate(0), e.op('i32.shl', operand(2), e.i32(FLAG_CARRY_BIT))));
        return this.advance();
      case 'flags.merge': {
        const old = e.op(
          'i32.and',
          e.call('flagsWord', [this.get(CPU)], 'i32'),
          e.op('i32.xor', immediate(0), e.i32(-1)),
        );
        const word = e.op('i32.or', old, e.op('i32.and', operand(0), immediate(0)));
        e.setState64('flagA', e.op('i64.extend_u', word));
        e.setState32('flagKind', e.i32(0));
        return this.advance();
      }
      case 'flags.get':
        this.result('i32', e.op('i32.and', e.call('flagsWord', [this.get(CPU)], 'i32'), immediate(0)));
        return this.advance();
      case 'flags.test':
        this.result('i32', e.call('flagsTest', [this.get(CPU), immediate(0)], 'i32'));
        return this.advance();
      case 'segment': {
        const offset = e.share(operand(0), 'i64');
        const range = e.share(e.op('i32.add', this.get(CPU), immediate(0)), 'i32');
        const last = e.op('i64.add', offset(), e.op('i64.extend_u', immediate(1)));
        const below = e.op('i64.lt_u', offset(), e.op('i64.extend_u', e.load('i32', range())));
        const above = e.op('i64.gt_u', last, e.op('i64.extend_u', e.load('i32', range(), 4)));
        e.if(e.op('i32.or', below, above), () => this.raise(this.extra(), e.i32(0)));
        const base = e.load('i64', e.op('i32.add', this.get(CPU), immediate(2)));
        this.result('i64', e.op('i64.and', e.op('i64.add', base, offset()), e.i64(0xffffffffn)));
        return this.advance();
      }
      case 'probe.read':
      case 'probe.write': {
        e.setState64('argument3', operand(0));
        const stack = this.extra();
        const flags = e.op('i32.or', stack, e.i32(kind.op === 'probe.write' ? 2 | 4 : 4));
        e.if(e.op('i32.eqz', e.call('slowRead', [this.get(CPU), immediate(0), flags], 'i32')), () => this.fault());
        return this.advance();
      }
      case 'raise':
        return this.raise(immediate(0), immediate(1));
      case 'raise.if':
        e.if(operand(0), () => this.raise(immediate(0), immediate(1)));
        return this.advance();
      case 'when':
        e.if(e.op('i32.eqz', operand(0)), () => {
          e.set(this.pc, e.op('i32.add', this.get(this.pc), immediate(0)));
          e.br('record');
        });
        return this.advance();
      case 'jump':
        e.setState64('rip', kind.operands.length === 0 ? immediate(0) : operand(0));
        return e.br('next');
      case 'branch': {
        const yes = immediate(0);
        e.setState64('rip', e.select(operand(0), yes, immediate(1)));
        return e.br('next');
      }
      case 'call':
        return this.helper(kind);
      case 'call.if':
        e.if(operand(0), () => this.helper(kind));
        return this.advance();
      default:
        throw new Error(`core: no case for ${kind.op}`);
    }
  }
}

/** The core module's bytes. */
export function buildCore(memory: MemoryLimits): Uint8Array {
  return new CoreBuilder().build(memory);
}
