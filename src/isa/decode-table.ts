/**
 * From forms to dense tables: which form the opcode, mandatory prefix, REX.W, REX.B or VEX.L and ModRM select.
 *
 * A slot is one combination of all of these but ModRM. What it holds is worked out when it is first asked for: nothing,
 * one form, or one form per ModRM byte. Forms are parsed then, too.
 */
import { acceptsModrm, type Form, type FormText, VEX_ROW } from './forms.ts';

export const slotOf = (row: number, opcode: number, prefix: number, w: number, bOrL: number): number =>
  (((row << 8) | opcode) << 4) | (prefix << 2) | (w << 1) | bOrL;
export const slotCount = 8 << 12;

const prefixes = ['none', '66', 'F3', 'F2'] as const;

export type Selection =
  | { readonly kind: 'none' }
  | { readonly kind: 'form'; readonly form: Form }
  | { readonly kind: 'modrm'; readonly forms: readonly (Form | null)[] };

const nothing: Selection = { kind: 'none' };

export class DecodeTable {
  /** By slot; null = not worked out yet. */
  readonly selections: (Selection | null)[] = new Array<Selection | null>(slotCount).fill(null);
  /** By row and opcode. */
  private readonly candidates = new Map<number, FormText[]>();
  private readonly long: boolean;
  private readonly shared = new Map<string, Selection>();
  private readonly numbers = new Map<Form, number>();

  constructor(forms: readonly FormText[], long: boolean) {
    this.long = long;
    for (const form of forms) {
      for (let i = 0; i < form.opcodes; i++) {
        const place = (form.row << 8) | (form.opcode + i);
        const list = this.candidates.get(place);
        if (list === undefined) this.candidates.set(place, [form]);
        else list.push(form);
      }
    }
  }

  select(slot: number): Selection {
    return this.selections[slot] ?? this.workOut(slot);
  }

  private workOut(slot: number): Selection {
    const prefix = prefixes[(slot >> 2) & 3]!;
    const w = (slot >> 1) & 1;
    const bOrL = slot & 1;
    const here = (this.candidates.get(slot >> 4) ?? []).map(({ form }) => form);
    const matching = here.filter(
      (f) =>
        (this.long ? f.in64 : f.outside64) &&
        acceptsPrefix(f, prefix) &&
        (f.w === null || f.w === w) &&
        (f.vex === null ||
          ((typeof f.vex.w !== 'number' || f.vex.w === w) && (f.vex.length === null || f.vex.length === bOrL))),
    );
    const forms = beforeRegister(matching, slot >> 12 < VEX_ROW && bOrL === 1);
    const key = forms.map((f) => this.numberOf(f)).join();
    let made = this.shared.get(key);
    if (made === undefined) {
      made = selectionOf(forms);
      this.shared.set(key, made);
    }
    this.selections[slot] = made;
    return made;
  }

  private numberOf(form: Form): number {
    let number = this.numbers.get(form);
    if (number === undefined) this.numbers.set(form, (number = this.numbers.size));
    return number;
  }

  /** Works out every slot, so that two forms of equal rank in one place are found. */
  workOutAll(): void {
    for (let slot = 0; slot < slotCount; slot++) if (this.candidates.has(slot >> 4)) this.select(slot);
  }
}

function acceptsPrefix(form: Form, prefix: (typeof prefixes)[number]): boolean {
  if (form.prefix === 'NFx') return prefix === 'none' || prefix === '66';
  return form.prefix === 'any' || form.prefix === prefix;
}

/** With REX.B a `+r` opcode names another register than the exact opcode in its range (NOP 90): the exact one gives way. */
function beforeRegister(forms: Form[], rexB: boolean): Form[] {
  if (!rexB || !forms.some((f) => f.opcodes === 8)) return forms;
  return forms.filter((f) => f.opcodes === 8);
}

function selectionOf(forms: readonly Form[]): Selection {
  if (forms.length === 0) return nothing;
  if (forms.some((f) => f.modrm) && forms.some((f) => !f.modrm)) {
    throw new Error(`forms with and without ModRM in one place: ${forms.map(describe).join(', ')}`);
  }
  const only = forms.length === 1 ? forms[0]! : null;
  if (
    only !== null &&
    only.fixedModrm === null &&
    only.extension === null &&
    (only.mod === 'any' || only.mod === 'ignored')
  ) {
    return { kind: 'form', form: only };
  }
  if (!forms[0]!.modrm) return { kind: 'form', form: best(forms) };
  return {
    kind: 'modrm',
    forms: Array.from({ length: 256 }, (_, modrm) => {
      const accepting = forms.filter((f) => acceptsModrm(f, modrm));
      return accepting.length === 0 ? null : best(accepting);
    }),
  };
}

function best(forms: readonly Form[]): Form {
  const greatest = Math.max(...forms.map((f) => f.specificity));
  const winners = forms.filter((f) => f.specificity === greatest);
  if (winners.length > 1) throw new Error(`forms match the same bytes: ${winners.map(describe).join(', ')}`);
  return winners[0]!;
}

const describe = (f: Form) => `${f.definition.name} '${f.text}'`;
