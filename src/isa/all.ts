/** All families of instructions: importing this file completes the list of definitions. */
import './arithmetic.ts';
import './atomics.ts';
import './avx.ts';
import './avx-memory.ts';
import './bits.ts';
import './bmi.ts';
import './caches.ts';
import './control.ts';
import './crypto.ts';
import './decimal.ts';
import './far.ts';
import './fma.ts';
import './flag-control.ts';
import './io.ts';
import './mmx.ts';
import './moves.ts';
import './multiply.ts';
import './segments.ts';
import './shifts.ts';
import './stack.ts';
import './strings.ts';
import './system.ts';
import { definitions } from './define.ts';
import { type Form, type FormText, formTexts } from './forms.ts';
import './sse-float.ts';
import './sse-integer.ts';
import './sse-move.ts';
import './sse-state.ts';
import './sse-strings.ts';
import './sse3.ts';
import './sse4.ts';
import './x87-arithmetic.ts';
import './x87-control.ts';
import './x87-transfer.ts';
import './xsave.ts';

let made: readonly FormText[] | null = null;
/** Every form of every definition; a run whose blocks are all known asks for none. */
export const texts = (): readonly FormText[] => (made ??= formTexts(definitions));

/**
 * All of them, parsed.
 *
 * @throws FormError for a wrong form string
 */
export const allForms = (): readonly Form[] => texts().map(({ form }) => form);
