/**
 * How an instruction is defined: its name, its encodings in the manual's notation, and what it does, recorded through
 * the builder. Decode tables, disassembler and tests are made from the form strings.
 *
 * A form string is `[prefixes] opcode [/n] [operands] [options]`, fields separated by blanks:
 *
 *   prefixes   `NP` (no 66, F3, F2 allowed as mandatory), `NFx` (no F3, F2; 66 = operand size), `66`, `F3`, `F2`: a mandatory prefix. Without one of them the
 *              form takes whatever prefixes there are (66 = operand size). F2 and F3 hide 66: a `66` form wants neither.
 *              A mandatory 66 is not an operand size besides. `VEX`, with `.NP/.66/.F3/.F2`, `.0F/.0F38/.0F3A`,
 *              `.L0/.L1/.LIG`, `.W0/.W1/.WIG`: `VEX.NP.0F38.L0 F2`, W left out = W is the operand size (REX.W), L left
 *              out = either.
 *   opcode     bytes in hex, `0F`, `0F 38`, `0F 3A` maps included; `50+r` (register in the low three bits, REX.B), `70+cc`.
 *   /n         ModRM.reg as opcode extension. `/n!` = the form has a ModRM with mod = 3 only, `/n@` = memory only; `/!`
 *              and `/@` say the same where ModRM.reg is an operand. A third byte of a fixed ModRM (`0F 01 D0`, x87
 *              `D9 E8`, `D8 C0+r`) is written as an opcode byte, upper case, `+r` in it is rm.
 *   operands   comma-separated, the SDM's appendix A codes:
 *              E register or memory, G ModRM.reg, M memory only, R register only (ModRM.rm), B VEX.vvvv general register,
 *              Z register in the opcode, I immediate, J relative, A far pointer, O moffs, X DS:rSI, Y ES:rDI,
 *              S segment register (reg), C control (reg), D debug (reg), V xmm (reg), W xmm or memory, U xmm (rm only),
 *              H VEX.vvvv xmm, L xmm in imm8[7:4], P mmx (reg), Q mmx or memory, N mmx (rm only)
 *              then the size: b 8, w 16, d 32, q 64, v 16/32/64 by operand size, z 16/32 (an immediate is then
 *              sign-extended to the operand size), y 32/64, p far pointer 16:16/16:32/16:64, a (BOUND pair), x 128 (256
 *              with VEX.L), ss 32, sd 64, ps/pd 128 (256 with VEX.L), dq 128, t 80, s (6/10 bytes, SGDT), nothing: no
 *              size (LEA, FXSAVE; width 0).
 *              `Ib` (unsigned, width 8); where the other operand is wider, `Ibs`: sign-extended to the operand size.
 *              Fixed: AL CL DX AX eAX (AX/EAX) rAX (AX/EAX/RAX) eDX/rDX..., `1`, ES CS SS DS FS GS, ST0, STi (rm), XMM0.
 *              J is `x.target` and no operand. With a C or D operand the R is a register whatever mod says.
 *   options    `x64` only in 64-bit mode; `i64` invalid in 64-bit mode; `d64` operand size defaults to 64 there (66 = 16);
 *              `f64` operand size is 64 there whatever the prefixes (near branches); `lock` LOCK allowed with a memory
 *              operand; `rep` F3/F2 repeat it (`x.repeat` is `none` in other forms); `w0`, `w1` only with REX.W so;
 *              `real` also valid outside protected mode is the default, `protected` means #UD in real and virtual-8086
 *              mode (VEX forms always); `vsib` the memory operand's index is a vector register of the vector length, `vsibx`
 *              an xmm register (#UD without a SIB byte); `osz` nothing.
 *
 * `x.width` is the operand size as soon as one operand follows it (v, y, rAX; z and eAX: at most 32), else the size of the
 * first general or memory operand (DX and immediates do not count), else the operand size.
 *
 * Where two forms match, the more specific one wins: mandatory prefix, then REX.W, then fixed ModRM byte, then /n, then
 * mod, then an exact opcode byte before `+r` and `+cc` (but with REX.B `+r` wins: 41 90 is XCHG), then x64 or i64. Two
 * forms of equal rank for the same bytes are an error.
 */
import type { Builder } from '../ir/builder.ts';
import type { Insn } from '../ir/operand.ts';

/** CPUID features that make an instruction exist. */
export type Feature =
  | 'base'
  | 'fpu'
  | 'tsc'
  | 'msr'
  | 'fsgsbase'
  | 'smap'
  | 'invpcid'
  | 'pku'
  | 'cmov'
  | 'cx8'
  | 'cx16'
  | 'mmx'
  | 'fxsr'
  | 'sse'
  | 'sse2'
  | 'sse3'
  | 'ssse3'
  | 'sse4.1'
  | 'sse4.2'
  | 'popcnt'
  | 'aes'
  | 'pclmulqdq'
  | 'sha'
  | 'lzcnt'
  | 'movbe'
  | 'bmi1'
  | 'bmi2'
  | 'adx'
  | 'rdtscp'
  | 'syscall'
  | 'sep'
  | 'clflush'
  | 'lahf64'
  | 'nopl'
  | 'prefetchw'
  | 'rdrand'
  | 'rdseed'
  | 'rdpid'
  | 'clflushopt'
  | 'clwb'
  | 'movdiri'
  | 'movdir64b'
  | 'serialize'
  | 'waitpkg'
  | 'avx'
  | 'avx2'
  | 'fma'
  | 'f16c'
  | 'xsave'
  | 'xsaveopt'
  | 'xsavec'
  | 'xsaves';

export interface Definition {
  /** The manual's mnemonic, upper case; `Jcc`, `SETcc`, `CMOVcc` for the condition families. */
  readonly name: string;
  readonly forms: readonly string[];
  readonly feature: Feature;
  readonly record: (b: Builder, x: Insn) => void;
}

/** Every definition made by `define`, in order: importing the families registers them. */
export const definitions: Definition[] = [];

export function define(
  name: string,
  forms: readonly string[],
  record: (b: Builder, x: Insn) => void,
  feature: Feature = 'base',
): Definition {
  const definition: Definition = { name, forms, feature, record };
  definitions.push(definition);
  return definition;
}

/** Exception vectors. */
export const DE = 0,
  DB = 1,
  NMI = 2,
  BP = 3,
  OF_TRAP = 4,
  BR = 5,
  UD = 6,
  NM = 7,
  DF = 8,
  TS = 10,
  NP = 11,
  SS_FAULT = 12,
  GP = 13,
  PF_FAULT = 14,
  MF = 16,
  AC = 17,
  MC = 18,
  XM = 19;
