import { define } from './define.ts';
define('FNINIT', ['DB E3'], (b) => { b.setState32('fcw', b.i32(0x37f)); b.setState32('fsw', b.i32(0)); b.setState32('ftw', b.i32(0)); }, 'fpu');
