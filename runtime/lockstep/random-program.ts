/**
 * Random programs: blocks of random instructions joined by branches, loops, calls, returns and jumps through registers and
 * memory, which edit their page tables and their own code. They need not end: whoever runs one bounds its instructions.
 */
import { Builder } from '../../src/ir/builder.ts';
import { allForms } from '../../src/isa/all.ts';
import { decode } from '../../src/isa/decode.ts';
import { disassemble } from '../../src/isa/disassemble.ts';
import type { Form } from '../../src/isa/forms.ts';
import { sampleEncodings } from '../../src/isa/samples.ts';
import { CODE_PAGES, codeSizeOf, codeStart, DATA_PAGES, dataStart, type GuestKind, isFlat } from './guest.ts';
import type { Block, Item } from './program-items.ts';
import { Encoder, moveImmediate, type Size } from './random-encoding.ts';
import type { Random } from './random-numbers.ts';
import { selfModification } from './self-modification.ts';

export interface Program {
  readonly kind: GuestKind;
  readonly blocks: readonly Block[];
  /** Offset of the first byte in the code pages. */
  readonly start: number;
  /** Initial registers: 16 general ones, 16 xmm as 256 bytes. */
  readonly registers: BigUint64Array;
  readonly xmm: Uint8Array;
  /** The upper halves of the ymm registers, likewise. */
  readonly upperHalves: Uint8Array;
  readonly mxcsr: number;
  /** Control and status word, abridged tags, and the registers by number, 16 bytes each. */
  readonly x87: { readonly fcw: number; readonly fsw: number; readonly ftw: number; readonly registers: Uint8Array };
  /** Arithmetic flags. */
  readonly flags: number;
  /** The data pages. */
  readonly data: Uint8Array;
}

/** Helpers (src/system) whose instructions may stand in a program: they leave the machine as it is. */
const saves = 'fxsave fxrstor xsave xsaveopt xsavec xrstor xgetbv fldenv fnstenv frstor fnsave';
const harmless = new Set(`popf cpuid lar lsl verr verw random into ${saves}`.split(' '));
const harmlessToSupervisor = new Set([...harmless, 'cli', 'sti', 'wbinvd', 'clts', 'invlpg', 'xsaves', 'xrstors']);
const core =
  /^(?:ADD|SUB|CMP|TEST|AND|OR|XOR|ADC|SBB|INC|DEC|NEG|NOT|MOV|MOVZX|MOVSX|LEA|SHL|SHR|SAR|ROL|ROR|RCL|RCR|SETcc|CMOVcc|PUSH|POP|IMUL|MUL|SHLD|SHRD|BT|XCHG|CMPXCHG|XADD|LAHF|SAHF|CMC|CLC|STC|PUSHF)$/;
/** Read flags, or leave some of them as they are. */
const flagUsers =
  /^(?:PUSHF|LAHF|SETcc|CMOVcc|ADC|SBB|RCL|RCR|INC|DEC|CMC|SHL|SAR|ROL|ROR|ADCX|ADOX|BT|BSF|FCMOVcc|DAA|AAS|CLC|MUL|SHRD)$/;
/** End a block, and go on behind it. */
const flagSetters = /^(?:POPF|STI|STAC|CLAC)$/;
/** Mostly fault with random operands. */
const rare = /^(?:RDPKRU|DIV|IDIV|AAM|BOUND|LEAVE|ENTER|POPA|POP|LDMXCSR|FXRSTOR)$/;

interface Pool {
  readonly core: readonly Form[];
  readonly integer: readonly Form[];
  readonly flags: readonly Form[];
  readonly vector: readonly Form[];
  readonly x87: readonly Form[];
  readonly mmx: readonly Form[];
  readonly strings: readonly Form[];
  readonly rare: readonly Form[];
  readonly helpers: readonly Form[];
}
const pools = new Map<string, Pool>();

function context({ mode, cpl, iopl = 0 }: GuestKind) {
  const size = codeSizeOf(mode);
  return {
    codeSize: size,
    stackSize: size,
    flat: mode === '64' || mode === '32',
    cpl,
    protectedMode: mode !== 'real',
    virtual8086: mode === 'v86',
    iopl,
    x87: 'available',
    mmx: 'available',
    waitFaults: false,
    sse: 'available',
    avx: 'available',
    linearBits: 48,
    baseBits: 48,
  } as const;
}

function poolOf(kind: GuestKind): Pool {
  const key = `${kind.mode},${kind.cpl},${kind.iopl}`;
  const known = pools.get(key);
  if (known !== undefined) return known;
  const mode = codeSizeOf(kind.mode);
  const pool = {
    core: [],
    integer: [],
    flags: [],
    vector: [],
    x87: [],
    mmx: [],
    strings: [],
    rare: [],
    helpers: [],
  } as Record<keyof Pool, Form[]>;
  const allowed = kind.cpl === 0 ? harmlessToSupervisor : harmless;
  for (const form of allForms()) {
    for (const bytes of sampleEncodings(form, mode)) {
      const joined = new Uint8Array(16);
      joined.set(bytes);
      const decoded = decode(joined, 0, 16, 0x1000n, mode);
      if (decoded.failure !== null || decoded.form !== form) continue;
      const b = new Builder(context(kind));
      decoded.definition.record(b, decoded.insn);
      const { name } = form.definition;
      const last = b.nodes.at(-1);
      if (flagUsers.test(name)) pool.flags.push(form);
      if (form.protectedOnly && (kind.mode === 'real' || kind.mode === 'v86')) break;
      if (kind.cpl === 3 && /^(?:INS|OUTS)$/.test(name)) break;
      if (form.operands.some((o) => o.source.startsWith('string-'))) pool.strings.push(form);
      else if (b.ended && last?.op === 'call') {
        if (allowed.has(last.imm[0] as string)) pool.helpers.push(form);
      } else if (b.ended && last?.op === 'jump' && flagSetters.test(name)) pool.helpers.push(form);
      else if (b.ended || form.operands.some((o) => o.source === 'relative')) break;
      else if (rare.test(name)) pool.rare.push(form);
      else if (form.definition.feature === 'fpu') pool.x87.push(form);
      else if (form.operands.some((o) => o.file === 'mmx') || name === 'EMMS') pool.mmx.push(form);
      else if (core.test(name)) pool.core.push(form);
      else if (form.operands.some((o) => o.file === 'xmm')) pool.vector.push(form);
      else pool.integer.push(form);
      break;
    }
  }
  pools.set(key, pool);
  return pool;
}

/** What a program has beside integer instructions; with MMX instructions there are some of the x87 unit. */
type Floating = 'vector' | 'x87' | 'mmx' | null;

export class ProgramMaker {
  private readonly random: Random;
  private pageEntries: readonly number[] = [];

  constructor(random: Random) {
    this.random = random;
  }
  private pick<T>(list: readonly T[]): T {
    return list[this.random(list.length)]!;
  }
  private chance(percent: number): boolean {
    return this.random(100) < percent;
  }

  /** `pageEntries`: physical addresses of the data pages' entries in the page tables, which are mapped one to one. */
  make(kind: GuestKind, pageEntries: readonly number[]): Program {
    const { random } = this;
    this.pageEntries = isFlat(kind.mode) && kind.cpl === 0 ? pageEntries : [];
    const mode = codeSizeOf(kind.mode);
    const base = dataStart(kind);
    const encoder = new Encoder(mode, random, () => base + BigInt(this.offset()));
    const floating = ([null, null, 'vector', 'vector', 'x87', 'mmx'] as const)[random(6)]!;
    const count = 2 + random(6);
    const blocks: Block[] = [];
    for (let i = 0; i < count; i++) {
      const items: Item[] = [];
      const length = 1 + random(this.chance(10) ? 30 : 7);
      // Flags live across blocks: what reads or changes a part of them comes first.
      if (this.chance(25)) this.encoded(encoder, this.pick(poolOf(kind).flags), items);
      for (let n = 0; n < length; n++) this.instruction(kind, encoder, floating, count, items);
      this.ending(kind, i, count, items);
      blocks.push(items);
    }
    blocks.push([plain([0xf4])]);
    return {
      kind,
      blocks,
      start: this.chance(50) ? random(256) : 0xe00 + random(0x1f8),
      registers: this.registers(kind),
      xmm: this.lanes(256),
      upperHalves: this.lanes(256),
      mxcsr: this.chance(70)
        ? 0x1fa0
        : this.chance(60)
          ? 0x1f80
          : 0x1f80 | (random(4) << 13) | (this.chance(50) ? 0x20 : 0) | (this.chance(20) ? 0x8040 : 0),
      x87: this.x87(),
      flags: random(0x1000) & 0x8d5,
      data: this.data(kind, count),
    };
  }

  /** Offset of a memory operand in the data pages. */
  private offset(): number {
    const { random } = this;
    const kind = random(1000);
    if (kind < 500) return 0x100 + (random(8) << 4);
    if (kind < 700) return 0x100 + random(0x80);
    if (kind < 800) return 0x1000 - 16 + random(32);
    if (kind < 975) return random(0x2fff) & ~15;
    if (kind < 985) return 0x5000 + random(0x100);
    if (kind < 988) return 0x5ff0 + random(32);
    if (kind < 990) return DATA_PAGES * 4096 - random(16);
    return random(0x3000);
  }
  private registers(kind: GuestKind): BigUint64Array {
    const { random } = this;
    const made = new BigUint64Array(16);
    for (let i = 0; i < 16; i++) {
      const low = BigInt(random(0x40000000)) * 4n + BigInt(random(4));
      const high = BigInt(random(0x40000000)) * 4n;
      made[i] = this.pick([
        BigInt(random(16)),
        low,
        (high << 32n) | low,
        0xffffffffn,
        0x80000000n,
        0xffffffffffffffffn,
        0x8000000000000000n,
        dataStart(kind) + BigInt(this.offset()),
      ]);
    }
    made[4] = dataStart(kind) + 0x3800n;
    if (kind.mode !== '64') for (let i = 0; i < 16; i++) made[i] = i < 8 ? BigInt.asUintN(32, made[i]!) : 0n;
    return made.map((v) => BigInt.asUintN(64, v));
  }
  /** Floating point numbers of both sizes, special ones among them, and integers. */
  private lanes(bytes: number): Uint8Array {
    const { random } = this;
    const made = new Uint8Array(bytes);
    const view = new DataView(made.buffer);
    for (let at = 0; at < bytes; at += 16) {
      const kind = random(4);
      for (let i = 0; i < 16; i += kind === 0 ? 8 : 4) {
        const number = this.pick([
          0,
          -0,
          1,
          -1.5,
          3.25,
          random(1000) / 8,
          -random(1e6),
          1e-30,
          1e300,
          1e-310,
          1e-40,
          Number.POSITIVE_INFINITY,
          Number.NaN,
          2 ** 31,
          -(2 ** 63),
        ]);
        if (kind === 0) view.setFloat64(at + i, number, true);
        else if (kind === 1) view.setFloat32(at + i, number, true);
        else view.setUint32(at + i, random(0x40000000) * 4 + random(4), true);
      }
    }
    return made;
  }
  private x87(): Program['x87'] {
    const { random } = this;
    const registers = new Uint8Array(128);
    const view = new DataView(registers.buffer);
    for (let i = 0; i < 8; i++) {
      const integer = this.chance(50);
      view.setUint32(i * 16, integer ? 0 : random(2 ** 32), true);
      view.setUint32(
        i * 16 + 4,
        this.chance(5) ? random(2 ** 32) : 2 ** 31 + (integer ? random(256) * 2 ** 20 : random(2 ** 31)),
        true,
      );
      view.setUint16(
        i * 16 + 8,
        this.chance(8) ? random(0x10000) : 0x3fff - 20 + random(40) + random(2) * 0x8000,
        true,
      );
    }
    const fcw = this.chance(70) ? 0x37f : 0x7f | (this.pick([0, 2, 3]) << 8) | (random(4) << 10);
    return { fcw, fsw: random(8) << 11, ftw: this.chance(60) ? 0x3c : random(256), registers };
  }
  /** Random data; in the fourth page, where the stack is, the instruction pointers of blocks. */
  private data(kind: GuestKind, blocks: number): Uint8Array {
    const made = new Uint8Array(DATA_PAGES * 4096);
    made.set(this.lanes(0x3000));
    for (let i = 0; i < 512; i++) made[0x3000 + i * 8] = this.random(blocks); // turned into addresses when assembled
    void kind;
    return made;
  }

  private instruction(kind: GuestKind, encoder: Encoder, floating: Floating, blocks: number, items: Item[]): void {
    const pool = poolOf(kind);
    const n = this.random(1000);
    let forms: readonly Form[];
    if (n < 25) forms = pool.strings;
    else if (n < 40) forms = pool.rare;
    else if (n < 60) forms = pool.helpers;
    else if (n < 65) {
      items.push(this.stackReset(kind));
      return;
    } else if (n < 80) {
      items.push(...this.segmentCopy());
      return;
    } else if (n < 90 && this.pageEntries.length > 0) {
      items.push(...this.pageEdit(kind));
      return;
    } else if (n >= 90 && n < 105) {
      items.push(...selfModification(kind, this.random, this.random(blocks)));
      return;
    } else if (floating === 'mmx' && n < 200) forms = pool.x87;
    else if (floating !== null && n < 600) forms = pool[floating];
    else if (n < 850) forms = pool.core;
    else forms = pool.integer;
    this.encoded(encoder, this.pick(forms), items);
  }
  private encoded(encoder: Encoder, form: Form, items: Item[]): void {
    const { before, bytes, relative } = encoder.encode(form);
    for (const move of before) items.push(plain(move));
    items.push({
      bytes,
      fix:
        relative === null ? null : { kind: 'relative', at: relative.at, size: 4, end: bytes.length, to: relative.to },
    });
  }
  /** DS, SS or ES copied to DS or ES through AX: the same segment again. */
  private segmentCopy(): Item[] {
    const [from, to] = [this.pick([0, 2, 3]), this.pick([0, 3])];
    return [plain([0x8c, 0xc0 | (from << 3)]), plain([0x8e, 0xc0 | (to << 3)])];
  }
  /** A bit of a data page's entry is inverted, and INVLPG says so. */
  private pageEdit(kind: GuestKind): Item[] {
    const mode = codeSizeOf(kind.mode);
    const page = this.random(this.pageEntries.length);
    const bits = this.pick([1, 2, 4, 0x20, 0x40, 0x60, 0x1000]);
    const dword = [0, 8, 16, 24].map((shift) => (bits >> shift) & 0xff);
    return [
      plain(moveImmediate(mode, 7, mode, BigInt(this.pageEntries[page]!))),
      plain(moveImmediate(mode, 6, mode, kind.data + BigInt(page * 4096))),
      plain([0x81, 0x37, ...dword, 0x0f, 0x01, 0x3e]), // xor dword [edi], bits; invlpg [esi]
    ];
  }
  private stackReset(kind: GuestKind): Item {
    const mode = codeSizeOf(kind.mode);
    return plain(moveImmediate(mode, 4, mode, dataStart(kind) + 0x3400n + BigInt(this.random(64) * 8)));
  }

  /** How a block ends. */
  private ending(kind: GuestKind, at: number, blocks: number, items: Item[]): void {
    const { random } = this;
    const mode = codeSizeOf(kind.mode);
    const to = this.chance(8) ? blocks : random(blocks);
    const size = mode === 16 ? 2 : 4;
    const branch = (...opcode: number[]): Item => ({
      bytes: [...opcode, ...Array<number>(size).fill(0)],
      fix: { kind: 'relative', at: opcode.length, size, end: opcode.length + size, to },
    });
    const n = random(100);
    if (n < 12) return;
    if (n < 55) {
      if (this.chance(40))
        items.push(
          plain(
            [
              [0xff, 0xc8 + random(4)],
              [0x39, 0xc0 + random(64)],
              [0x85, 0xc0 + random(64)],
            ][random(3)]!,
          ),
        );
      items.push(branch(0x0f, 0x80 + random(16)));
      return;
    }
    if (n < 62) return void items.push(branch(0xe9));
    if (n < 76) return void items.push(branch(0xe8));
    if (n < 86) return void items.push(plain(this.chance(90) ? [0xc3] : [0xc2, random(3) * 8, 0]));
    if (n < 92) {
      // LOOP and JCXZ reach 127 bytes: over a jump.
      const opcode = 0xe0 + random(4);
      if (this.chance(70)) items.push(plain(moveImmediate(mode, 1, mode, BigInt(random(this.chance(20) ? 300 : 6)))));
      items.push({
        bytes: [opcode, 2, 0xeb, 1 + size, 0xe9, ...Array<number>(size).fill(0)],
        fix: { kind: 'relative', at: 5, size, end: 5 + size, to },
      });
      return;
    }
    // Through a register, or memory.
    const register = [0, 3, 6][random(3)]!;
    const bytes = moveImmediate(mode, register, mode, 0n);
    items.push({
      bytes,
      fix: { kind: 'absolute', at: bytes.length - mode / 8, size: mode / 8, end: 0, to },
    });
    const extension = this.chance(50) ? 4 : 2;
    items.push(plain([0xff, 0xc0 | (extension << 3) | register]));
    void at;
  }
}

const plain = (bytes: readonly number[]): Item => ({ bytes, fix: null });

export interface Assembled {
  readonly code: Uint8Array;
  /** Offset of each block in the code, and of each item. */
  readonly blocks: readonly number[];
  readonly items: readonly number[];
}

export function assemble(program: Program): Assembled {
  const { blocks, start, kind } = program;
  const places: number[] = [];
  const items: number[] = [];
  let at = 0;
  for (const block of blocks) {
    places.push(at);
    for (const { bytes } of block) {
      items.push(at);
      at += bytes.length;
    }
  }
  const code = new Uint8Array(Math.min(at, CODE_PAGES * 4096 - start));
  const origin = codeStart(kind) + BigInt(start);
  at = 0;
  for (const block of blocks) {
    for (const { bytes, fix } of block) {
      const made = [...bytes];
      if (fix !== null) {
        const to = typeof fix.to === 'number' ? origin + BigInt(places[fix.to]! + (fix.plus ?? 0)) : fix.to;
        const value = fix.kind === 'absolute' ? to : to - (origin + BigInt(at + fix.end));
        for (let i = 0; i < fix.size; i++)
          made[fix.at + i] = Number((BigInt.asUintN(64, value) >> BigInt(8 * i)) & 0xffn);
      }
      for (let i = 0; i < made.length && at + i < code.length; i++) code[at + i] = made[i]!;
      at += made.length;
    }
  }
  return { code, blocks: places, items };
}

/** The data pages with the stack's addresses in place. */
export function dataOf(program: Program, { blocks }: Assembled): Uint8Array {
  const data = program.data.slice();
  const view = new DataView(data.buffer);
  const size = codeSizeOf(program.kind.mode) / 8;
  const origin = codeStart(program.kind) + BigInt(program.start);
  for (let i = 0; i < 4096 / size; i++) {
    const number = program.data[0x3000 + (i % 512) * 8]!;
    const address = BigInt.asUintN(64, origin + BigInt(blocks[number % blocks.length]!));
    for (let k = 0; k < size; k++) view.setUint8(0x3000 + i * size + k, Number((address >> BigInt(8 * k)) & 0xffn));
  }
  return data;
}

/** A listing for people. */
export function listing(program: Program): string {
  const { code, blocks } = assemble(program);
  const mode: Size = codeSizeOf(program.kind.mode);
  const origin = codeStart(program.kind) + BigInt(program.start);
  const lines: string[] = [];
  const padded = new Uint8Array(code.length + 16);
  padded.set(code);
  let number = 0;
  for (let at = 0; at < code.length; ) {
    while (blocks[number] === at) lines.push(`block ${number++}:`);
    const decoded = decode(padded, at, padded.length - at, origin + BigInt(at), mode);
    const length = decoded.failure === null ? decoded.insn.length : 1;
    const bytes = [...code.subarray(at, at + length)].map((x) => x.toString(16).padStart(2, '0')).join(' ');
    const text = decoded.failure === null ? disassemble(decoded) : `(${decoded.failure})`;
    lines.push(`  ${(origin + BigInt(at)).toString(16)}  ${bytes.padEnd(33)} ${text}`);
    at += length;
  }
  return lines.join('\n');
}
