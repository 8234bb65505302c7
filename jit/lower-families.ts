/** Every family of lowering arms: importing this file makes the lowering complete. */
import './lower-convert.ts';
import './lower-float.ts';
import './lower-library.ts';
import './lower-mmx.ts';
import './lower-round.ts';
import './lower-fma.ts';
import './lower-half.ts';
import './lower-simd.ts';
import './lower-x87.ts';
