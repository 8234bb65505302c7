/** Basic blocks of a processor's code, with their micro-ops and translations: for `jit86 disasm`. */
import { interpreterBlock, recordBlock } from '../../src/execute/frontend.ts';
import { printByInstruction } from '../../src/ir/print.ts';
import { decoderWithout } from '../../src/isa/decode.ts';
import { disassemble } from '../../src/isa/disassemble.ts';
import type { Vcpu } from '../vm/vcpu.ts';
import type { BlockListing } from './machine.ts';

/** Blocks from `address` on, in the processor's present mode, until they hold `count` instructions. */
export async function listBlocks(vcpu: Vcpu, address: number, count: number): Promise<readonly BlockListing[]> {
  const { translationText } = await import('../../jit/translate.ts');
  const { engine } = vcpu;
  const context = engine.contexts.current(vcpu.fields);
  const listings: BlockListing[] = [];
  let rip = BigInt(address);
  for (let left = count; left > 0; ) {
    const block = recordBlock(engine.pages, context, rip, left);
    const optimised = interpreterBlock(engine.pages, context, rip, left);
    if ('fetchFault' in block || 'fetchFault' in optimised) break;
    const texts = printByInstruction(optimised.nodes);
    const instructions = [];
    let at = rip;
    for (const node of block.nodes) {
      if (node.op !== 'insn') continue;
      at = node.imm[0] as bigint;
      const offset = Number(at & 0xfffn);
      const page = engine.pages.page(at)!;
      const decoded = decoderWithout(context.lacks)(page, offset, 4096 - offset, at, context.codeSize);
      const length = decoded.failure === null ? decoded.insn.length : 1;
      instructions.push({
        address: Number(at),
        bytes: page.slice(offset, offset + length),
        text: decoded.failure === null ? disassemble(decoded) : `(${decoded.failure})`,
        microOps: texts.find((t) => t.rip === at)?.lines ?? [],
      });
    }
    listings.push({ address: Number(rip), instructions, wasm: translationText(engine.pages, context, rip) ?? '' });
    left -= block.instructions;
    rip += BigInt(block.length);
  }
  return listings;
}
