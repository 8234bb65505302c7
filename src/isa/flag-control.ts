/** LAHF, SAHF, CMC, CLC, STC, CLD, STD, SALC. SDM volume 2. */
import type { Builder } from '../ir/builder.ts';
import { AF, CF, PF, SF, ZF } from '../ir/flags.ts';
import { RAX } from '../ir/operand.ts';
import type { Value } from '../ir/types.ts';
import { define } from './define.ts';

const LOW = SF | ZF | AF | PF | CF;
const DF = 0x400;

const lahf = (b: Builder) => b.setRegister(RAX, 8, b.or(b.flags(LOW), b.i32(2)), true);
const sahf = (b: Builder) => b.mergeFlags(LOW, b.register(RAX, 8, true) as Value<'i32'>);
define('LAHF', ['9F i64'], lahf);
define('LAHF', ['9F x64'], lahf, 'lahf64');
define('SAHF', ['9E i64'], sahf);
define('SAHF', ['9E x64'], sahf, 'lahf64');

define('CMC', ['F5'], (b) => b.mergeFlags(CF, b.xor(b.carry(), b.i32(1))));
define('CLC', ['F8'], (b) => b.mergeFlags(CF, b.i32(0)));
define('STC', ['F9'], (b) => b.mergeFlags(CF, b.i32(CF)));
define('CLD', ['FC'], (b) => b.setState32('rflagsRest', b.and(b.state32('rflagsRest'), b.i32(~DF))));
define('STD', ['FD'], (b) => b.setState32('rflagsRest', b.or(b.state32('rflagsRest'), b.i32(DF))));

define('SALC', ['D6 i64'], (b) => b.setRegister(RAX, 8, b.sub(b.i32(0), b.carry())));
