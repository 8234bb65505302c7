/** Brings objdump's text and ours to one spelling. */

const prefixWord =
  /^(?:rex(?:\.\w+)?|data16|data32|addr16|addr32|repz|repnz|rep|repne|repe|lock|bnd|notrack|xacquire|xrelease|[cdefgs]s) /;

/** Mnemonics that objdump spells otherwise than the manual: it tells sizes by suffixes and has its own defaults. */
const spellings: Readonly<Record<string, string>> = {
  movabs: 'mov',
  lret: 'retf',
  sal: 'shl',
  fwait: 'wait',
  xlatb: 'xlat',
  icebp: 'int1',
  pushad: 'pusha',
  popad: 'popa',
};
const sizedMnemonics =
  /^(ret|retf|lret|push|pop|call|jmp|enter|leave|iret|pusha|popa|pushf|popf|loop|loope|loopne|[ls][gi]dt|sysret|sysexit|fldenv|fnstenv|frstor|fnsave)[wdlq]$/;
const pointers: Readonly<Record<string, string>> = { byte: 'b', word: 'w', dword: 'd', qword: 'q' };
const accumulators: Readonly<Record<string, string>> = { al: 'b', ax: 'w', eax: 'd', rax: 'q' };

function stringInstruction(text: string): string | null {
  const match = /^(movs|cmps|stos|lods|scas|ins|outs) (.*)$/.exec(text);
  if (match === null) return null;
  const pointer = /\b(byte|word|dword|qword) ptr/.exec(match[2]!)?.[1];
  const accumulator = /\b(al|ax|eax|rax)\b/.exec(match[2]!)?.[1];
  const suffix = pointer !== undefined ? pointers[pointer] : accumulator !== undefined ? accumulators[accumulator] : '';
  return `${match[1]}${suffix}`;
}

const predicates = (
  'eq lt le unord neq nlt nle ord eq_uq nge ngt false neq_oq ge gt true eq_os lt_oq le_oq unord_s neq_us nlt_uq nle_uq ord_s ' +
  'eq_us nge_uq ngt_uq false_os neq_os ge_oq gt_oq true_us'
).split(' ');
/** objdump names the predicate of a comparison, and the quadwords of a carry-less product, in the mnemonic. */
function withImmediate(text: string): string {
  const compare = /^vcmp([a-z_]+?)(ps|pd|ss|sd) (.*)$/.exec(text);
  if (compare !== null && predicates.includes(compare[1]!))
    return `vcmp${compare[2]} ${compare[3]},0x${predicates.indexOf(compare[1]!).toString(16)}`;
  // It heeds W where the manual ignores it.
  if (/^v(?:movmskp[sd]|pmovmskb|pextr[bw]|pinsr[bw]|extractps) /.test(text))
    return text
      .replace(/\br(..)\b/g, (whole, name) => (/\d/.test(name) ? whole : `e${name}`))
      .replace(/\br(\d+)\b/g, 'r$1d')
      .replace(/\br([89])\b/g, 'r$1d');
  if (text.startsWith('vlddqu')) return text.replace(/\w+ ptr /, '');
  // It gives a stored scalar the register of the vector length, which is ignored.
  return /^vmovs[sd] /.test(text) ? text.replace('ymm', 'xmm') : text;
}

/** `targetBits`: branch targets are compared in that many bits, for objdump does not cut them as a processor does. */
export function normal(text: string, targetBits: 16 | 64): string {
  let t = text.toLowerCase().replace(/\s+/g, ' ').trim();
  const target = /# (0x[0-9a-f]+)/.exec(t)?.[1];
  t = t.replace(/ ?#.*$/, '').replace(/,p[nt]\b/, '');
  while (prefixWord.test(t)) t = t.replace(prefixWord, '');
  t = t.replace(/, /g, ',').replace(/\boword\b/, 'xmmword');
  t = t.replace(/\[[er]ip[+-]0x[0-9a-f]+\]/, `[${target}]`);
  t = t.replace(/[er]iz\*1\+/, '').replace(/\+[er]iz\*[1248]/, '');
  t = t.replace(/\b([cdefgs]s):(0x[0-9a-f]+)/, '$1:[$2]').replace(/\bds:\[0x/, '[0x');
  t = withImmediate(t.replaceAll('st(0)', 'st'));
  const whole = stringInstruction(t);
  if (whole !== null) return whole;
  const [mnemonic, ...rest] = t.split(' ');
  const name = mnemonic!.replace(sizedMnemonics, '$1').replace(/^(v?pcmpestr[im])q$/, '$1');
  if (name === 'xlat') return name;
  if (targetBits === 16 && /^(?:j\w+|call|loop\w*) 0x[0-9a-f]+$/.test(`${name} ${rest.join(' ')}`)) {
    return `${name} ${(Number(rest[0]) & 0xffff).toString(16)}`;
  }
  // An absolute address with the accumulator: objdump leaves the size out in the moffs forms.
  if (name === 'mov' && /(?:^|,)(?:al|e?ax|rax)(?:,|$)/.test(rest.join(' '))) {
    return `mov ${rest.join(' ').replace(/\w+ ptr (?=(?:..:)?\[0x)/, '')}`;
  }
  // objdump has no far pointers of 16:64, no size for table registers, and 66 makes its FS base instructions 16 bits wide;
  // the registers of waits have 32 bits whatever REX.W says, and an address's.
  if (/^(?:(?:rd|wr)[fg]sbase|umonitor|umwait|tpause)$/.test(name)) return name;
  if (/^(?:call|jmp)$/.test(name)) return `${name} ${rest.join(' ').replace(/\b(?:tbyte|fword|dword) ptr/, 'far ptr')}`;
  if (/^(?:l[sfg]s|[ls][gi]dt|invpcid|movdir64b)$/.test(name))
    return `${name} ${rest.join(' ').replace(/\w+ ptr /, '')}`;
  return [spellings[name] ?? name, ...rest].join(' ');
}
