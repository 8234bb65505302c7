/**
 * Where a region finds the guest's memory: looks linear addresses up, shares what it has found among the accesses of a
 * block, and keeps the pages that a loop stays on. An access that misses leaves before its instruction.
 */
import type { Node } from '../src/ir/micro-ops.ts';
import type { Type } from '../src/ir/types.ts';
import { stackTlbBits, stackTlbOffsets, tlbOffsets } from '../src/state/layout.ts';
import { accessGroups, type GroupedAccess } from './access-groups.ts';
import { AccessSlots, type Slot } from './access-slots.ts';
import { answeredAt, askProgram, endsLeaving } from './direct-memory.ts';
import type { Emitter, Expr } from './emitter.ts';
import type { FastLoop, Member, Stream } from './fast-loops.ts';
import { type Probe, probe, probeBoth } from './probe.ts';
import type { Region, RegionBlock } from './region.ts';

/** What the emission of a block lends. */
interface Emission {
  readonly nodes: readonly Node[];
  value(v: number): Expr;
  /** A value of that type that is used several times, all of them before registers change. */
  shared(v: number, type: Type): () => Expr;
  exitIf(condition: Expr): void;
  /** What is left of the budget after the current instruction. */
  budgetAfter(): Expr;
}
/** Where an access finds its bytes. */
export interface Place {
  readonly host: () => Expr;
  readonly offset: number;
  /** Of a store, what it is to write, where that has been looked at. */
  readonly value?: () => Expr;
}

interface Found {
  readonly host: () => Expr;
  /** The local that holds it, if a program may have answered instead ({@link answeredAt}): that holds for one access. */
  readonly answered: number | null;
}
const keyOf = (value: number, write: boolean, bytes: number): number => value * 64 + bytes * 2 + (write ? 1 : 0);

/** What is known at one place of the code. */
interface Known {
  /** Host addresses by the value that is the linear address, kind and size of the access. */
  readonly hosts: Map<number, Found>;
  /** The same of a stream's accesses, by value and stream. */
  readonly streamed: Map<string, () => Expr>;
  /** The block's accesses that share a look-up with others. */
  readonly groups: Map<number, GroupedAccess>;
}

/** The places in memory that one region touches. */
export class RegionMemory {
  /** To be saved and restored where emission turns to another block and comes back. */
  known: Known = { hosts: new Map(), streamed: new Map(), groups: new Map() };
  private readonly e: Emitter;
  private readonly region: Region;
  private readonly emission: Emission;
  private readonly slots: AccessSlots;
  private readonly pages = new Map<Slot, { readonly tag: number; readonly addend: number }>();

  private readonly loops: readonly FastLoop[];
  /** Of each stream, what leads from linear to host addresses; and the same with its fixed registers and least constant. */
  private readonly bases = new Map<Stream, { readonly addend: number; readonly fixed: number }>();
  private members: ReadonlyMap<number, Member> | undefined;

  constructor(e: Emitter, region: Region, loops: readonly FastLoop[], emission: Emission) {
    this.e = e;
    this.region = region;
    this.loops = loops;
    this.emission = emission;
    // The slow copy of a loop shares its nodes with the fast one.
    const slow = new Set(loops.flatMap((l) => l.slowBlocks));
    const members = new Map(loops.flatMap((l) => [...l.members]));
    this.slots = new AccessSlots(region, (block, v) => slow.has(block) || members.get(block)?.has(v) === true);
  }

  begin(block: RegionBlock): void {
    const { context, apart } = this.region;
    const groups = context.flat ? accessGroups(block.nodes, context.codeSize === 64 ? 64 : 32, apart) : new Map();
    this.known = { hosts: new Map(), streamed: new Map(), groups };
    this.members = this.loops.find((l) => l.members.has(block))?.members.get(block);
  }
  /** Emission turns to another block; `comeBack` with the answer when it returns. */
  leaveBlock(): () => void {
    const { known, members } = this;
    return () => {
      this.known = known;
      this.members = members;
    };
  }
  /** Host address, and offset from it, of the access that node `v` makes at the address that value `at` is. */
  of(v: number, at: number, bytes: number, write: boolean): Place {
    const member = this.members?.get(v);
    if (member !== undefined) return this.inStream(member, at);
    if (this.leavesOften(v) && endsLeaving(this.emission.nodes, v)) return this.orAnswered(v, at, bytes, write);
    const grouped = this.known.groups.get(v);
    const slot = this.slots.of(this.emission.nodes[v]!);
    return grouped === undefined
      ? { host: this.single(v, at, bytes, write, slot), offset: 0 }
      : { host: this.inGroup(v, at, grouped, slot), offset: grouped.offset - grouped.group.low };
  }
  /** The table in force: its address as `probe` wants it. */
  private table(write: boolean): [Expr | null, number] {
    const { e } = this;
    const user = this.region.context.cpl === 3;
    const table = tlbOffsets[user ? (write ? 'userWrite' : 'userRead') : write ? 'supervisorWrite' : 'supervisorRead'];
    return e.cpuBase === null ? [e.cpu(), table] : [null, e.cpuBase + table];
  }
  /** The look-up of an address at its own place in the table in force. */
  private probe(write: boolean, address: () => Expr, bytes: number): Probe {
    return probe(this.e, ...this.table(write), address, bytes);
  }
  /**
   * A look-up whose miss leaves the region: a call in its place would cost every loop around it registers. Where it happens
   * often, pages may have driven each other to their other places: both are looked at then.
   */
  probeOrLeave(write: boolean, address: () => Expr, bytes: number, often: boolean): Omit<Probe, 'hit' | 'missed'> {
    const { e } = this;
    const leaveIf = (missed: Expr) => this.emission.exitIf(missed);
    if (often) return probeBoth(e, ...this.table(write), address, bytes, leaveIf);
    const found = this.probe(write, address, bytes);
    leaveIf(found.missed());
    return found;
  }
  /** The instruction of a node has left its region often. */
  private leavesOften(node: number): boolean {
    const { nodes } = this.emission;
    let at = node;
    while (at > 0 && nodes[at]!.op !== 'insn') at--;
    return nodes[at]!.op === 'insn' && this.region.apart.has(nodes[at]!.imm[0] as bigint);
  }

  /** An access that has often missed the tables: a program may answer it, and is asked for each by itself. */
  private orAnswered(node: number, at: number, bytes: number, write: boolean): Place {
    const { e, emission } = this;
    const { hosts } = this.known;
    const key = keyOf(at, write, bytes);
    const before = hosts.get(key);
    if (before !== undefined && before.answered === null) return { host: before.host, offset: 0 };
    const address = emission.shared(at, 'i64');
    const value = write ? emission.shared(emission.nodes[node]!.args[1]!, 'i32') : null;
    const answered = before?.answered ?? e.local('i32');
    const host = () => e.get(answered, 'i32');
    const find = () => {
      const done = e.label('answered');
      const missIf = (missed: Expr) =>
        e.if(missed, () => {
          askProgram(e, { address, bytes, value, budget: emission.budgetAfter() }, (c) => emission.exitIf(c));
          e.set(answered, answeredAt(e));
          e.br(done);
        });
      const slot = this.slots.of(emission.nodes[node]!);
      const page = this.pageOf(slot, write);
      e.block(done, () => {
        if (slot === undefined || page === undefined) {
          return e.set(answered, probeBoth(e, ...this.table(write), address, bytes, missIf).host());
        }
        e.if(isAway(e, page.tag, address, bytes), () => {
          const { tag, addend } = probeBoth(e, ...this.table(slot.write), address, bytes, missIf);
          e.set(page.tag, tag());
          e.set(page.addend, addend());
        });
        e.set(answered, e.op('i32.add', e.get(page.addend, 'i32'), e.op('i32.wrap', address())));
      });
    };
    if (before === undefined) find();
    else e.if(e.op('i32.eq', host(), answeredAt(e)), find);
    hosts.set(key, { host, answered });
    if (write) hosts.set(keyOf(at, false, bytes), { host, answered });
    return { host, offset: 0, ...(value && { value }) };
  }
  /** Host address of an access on its own. */
  private single(node: number, v: number, bytes: number, write: boolean, slot: Slot | undefined): () => Expr {
    const { e } = this;
    const { hosts } = this.known;
    const key = keyOf(v, write, bytes);
    const known = hosts.get(key);
    if (known?.answered === null) return known.host;
    if (known !== undefined) this.emission.exitIf(e.op('i32.eq', known.host(), answeredAt(e)));
    const host = known?.host ?? this.lookUp(node, this.emission.shared(v, 'i64'), bytes, write, slot);
    hosts.set(key, { host, answered: null });
    if (write) hosts.set(keyOf(v, false, bytes), { host, answered: null }); // a writable page is readable
    return host;
  }
  /** Host address of the first byte of the access's group, looked up at the first access. */
  private inGroup(node: number, v: number, { group, offset }: GroupedAccess, slot: Slot | undefined): () => Expr {
    const { e } = this;
    if (group.host === null) {
      const distance = group.low - offset;
      const address = () => this.emission.value(v);
      const low =
        distance === 0
          ? this.emission.shared(v, 'i64')
          : e.share(
              group.width === 64
                ? e.op('i64.add', address(), e.i64(BigInt(distance)))
                : e.op('i64.extend_u', e.op('i32.add', e.op('i32.wrap', address()), e.i32(distance))),
              'i64',
            );
      group.host = this.lookUp(node, low, group.high - group.low, group.write, slot);
    }
    return group.host;
  }
  /** Host address of an access of a fast loop. */
  private inStream(member: Member, at: number): { host: () => Expr; offset: number } {
    const { e } = this;
    const { stream, kind } = member;
    const { addend, fixed } = this.bases.get(stream)!;
    if (kind === 'fixed') return { host: () => e.get(fixed, 'i32'), offset: member.constant - stream.least };
    if (kind === 'index') return { host: () => this.emission.value(at), offset: member.constant - stream.least };
    const key = `${at} ${addend}`;
    let host = this.known.streamed.get(key);
    if (host === undefined) {
      host = e.share(e.op('i32.add', e.op('i32.wrap', this.emission.value(at)), e.get(addend, 'i32')), 'i32');
      this.known.streamed.set(key, host);
    }
    return { host, offset: 0 };
  }
  /** What stands for an address that only accesses of a stream use; null: node `v` is no such address. */
  indexInStream(v: number): Expr | null {
    const { e } = this;
    const member = this.members?.get(v);
    if (member?.kind !== 'index' || !this.emission.nodes[v]!.op.startsWith('address.')) return null;
    const index = shifted(e, e.op('i32.wrap', this.emission.value(member.value)), member.shift);
    return e.op('i32.add', index, e.get(this.bases.get(member.stream)!.fixed, 'i32'));
  }
  /**
   * Finds the pages on which the streams of a loop begin; `enough` is emitted where all are there. `more` is then how often
   * the loop may go round after the first time.
   */
  findStreams({ streams }: FastLoop, register: (index: number) => Expr, enough: (more: () => Expr) => void): void {
    const { e } = this;
    const wide = this.region.context.codeSize === 64;
    const more = e.local('i32');
    e.set(more, e.i32(4095));
    const find = (n: number): void => {
      const stream = streams[n];
      if (stream === undefined) return enough(() => e.get(more, 'i32'));
      const { parts, step, low, high, write, aligned } = stream;
      const sum = (list: typeof parts, type: 'i32' | 'i64', constant: number): Expr => {
        const values = list.map((p) => {
          const whole = register(p.register);
          return shifted(e, type === 'i64' ? whole : e.op('i32.wrap', whole), p.shift, type);
        });
        const last = type === 'i64' ? e.i64(BigInt(constant)) : e.i32(constant);
        return [...values, last].reduce((a, c) => e.op(`${type}.add`, a, c));
      };
      const first = wide ? sum(parts, 'i64', low) : e.op('i64.extend_u', sum(parts, 'i32', low));
      const address = e.share(first, 'i64');
      const found = this.probe(write, address, high - low);
      const rest = (n: number) => e.op('i32.and', e.op('i32.add', e.op('i32.wrap', address()), e.i32(n)), e.i32(15));
      const fits = aligned === null ? found.hit() : e.op('i32.and', found.hit(), e.op('i32.eqz', rest(aligned - low)));
      e.if(fits, () => {
        const [addend, fixed] = [e.local('i32'), e.local('i32')];
        this.bases.set(stream, { addend, fixed });
        e.set(addend, found.addend());
        const constant = Number.isFinite(stream.least) ? stream.least : 0;
        const registers = parts.filter((p) => p.fixed);
        e.set(fixed, e.op('i32.add', e.get(addend, 'i32'), sum(registers, 'i32', constant)));
        if (step !== 0) {
          const offset = e.op('i32.and', e.op('i32.wrap', address()), e.i32(4095));
          const left = step > 0 ? e.op('i32.sub', e.i32(4096 - (high - low)), offset) : offset;
          const count = e.share(e.op('i32.shr_u', left, e.i32(Math.ceil(Math.log2(Math.abs(step))))), 'i32');
          const fewer = e.op('i32.lt_u', count(), e.get(more, 'i32'));
          e.set(more, e.select(fewer, count(), e.get(more, 'i32')));
        }
        find(n + 1);
      });
    };
    find(0);
  }
  /** The page that a slot is on, where it serves the access. */
  private pageOf(slot: Slot | undefined, write: boolean) {
    return slot === undefined || (write && !slot.write) ? undefined : this.pages.get(slot);
  }
  private lookUp(node: number, address: () => Expr, bytes: number, write: boolean, slot: Slot | undefined): () => Expr {
    const { e } = this;
    const often = this.leavesOften(node);
    const page = this.pageOf(slot, write);
    if (slot === undefined || page === undefined) {
      return e.share(this.probeOrLeave(write, address, bytes, often).host(), 'i32');
    }
    e.if(isAway(e, page.tag, address, bytes), () => {
      const found = this.probeOrLeave(slot.write, address, bytes, often);
      e.set(page.tag, found.tag());
      e.set(page.addend, found.addend());
    });
    return e.share(e.op('i32.add', e.get(page.addend, 'i32'), e.op('i32.wrap', address())), 'i32');
  }
  /**
   * Gives each slot a page to begin with. Outside 64-bit mode that is a page that no address is on; in it the stack's,
   * since there is no such page: if the stack's is not in its look-aside table, the region refuses to run.
   */
  openPages(refuse: () => void): void {
    const { e } = this;
    for (const slot of this.slots.slots) this.pages.set(slot, { tag: e.local('i64'), addend: e.local('i32') });
    if (this.pages.size === 0) return;
    const long = this.region.context.codeSize === 64;
    let tag = () => e.i64(1n << 40n);
    let addend = () => e.i32(0);
    if (long) {
      const stack = e.share(e.state64('rsp'), 'i64');
      const table = stackTlbOffsets[this.region.context.cpl === 3 ? 'user' : 'supervisor'];
      const found =
        e.cpuBase === null
          ? probe(e, e.cpu(), table, stack, 1, stackTlbBits)
          : probe(e, null, e.cpuBase + table, stack, 1, stackTlbBits);
      e.if(found.missed(), refuse);
      tag = e.share(found.tag(), 'i64');
      addend = e.share(found.addend(), 'i32');
    }
    for (const page of this.pages.values()) {
      e.set(page.tag, tag());
      e.set(page.addend, addend());
    }
  }
}

const isAway = (e: Emitter, tag: number, address: () => Expr, bytes: number): Expr =>
  e.op('i64.gt_u', e.op('i64.xor', e.get(tag, 'i64'), address()), e.i64(BigInt(4096 - bytes)));
const shifted = (e: Emitter, value: Expr, by: number, type: 'i32' | 'i64' = 'i32'): Expr =>
  by === 0 ? value : e.op(`${type}.shl`, value, type === 'i64' ? e.i64(BigInt(by)) : e.i32(by));
