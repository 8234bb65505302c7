/**
 * The time-stamp counter in generated code, of interpreter and translations: `timeStamp(cpu, budget)`, where `budget` is what
 * is left of the instructions after the one that asks. SDM volume 3, section 19.17.
 *
 * Virtual time is `timeEnd - budget` nanoseconds, the host's is asked for; the counter is that at `tscHertz`, rounded down,
 * exactly: whole seconds and the rest are multiplied apart, so that 64 bits hold the products (src/system/tsc-scale.ts has the
 * same for the host's side). An embedder's own counter is taken as it is.
 */
import { timeSources } from '../src/execute/budget-time.ts';
import type { Emitter } from './emitter.ts';

const CPU = 0;
const BUDGET = 1;
const second = 1_000_000_000n;

export function addTimeStamp(e: Emitter): void {
  e.addFunction(
    'timeStamp',
    ['i32', 'i32'],
    'i64',
    () => {
      const time = e.local('i64');
      const hertz = e.local('i64');
      const source = e.share(e.state32('timeSource'), 'i32');
      e.if(
        e.op('i32.eq', source(), e.i32(timeSources.instructions)),
        () => e.set(time, e.op('i64.sub', e.state64('timeEnd'), e.op('i64.extend_s', e.get(BUDGET, 'i32')))),
        () => {
          e.setState32('budget', e.get(BUDGET, 'i32')); // a region's own is in a local
          e.emit(e.call('hostTime', [e.get(CPU, 'i32')], null));
          e.if(e.op('i32.eq', source(), e.i32(timeSources.embedder)), () => e.return(e.state64('result0')));
          e.set(time, e.state64('result0'));
        },
      );
      e.set(hertz, e.state64('tscHertz'));
      const now = () => e.get(time, 'i64');
      e.if(e.op('i64.ne', e.get(hertz, 'i64'), e.i64(second)), () => {
        const whole = e.op('i64.mul', e.op('i64.div_u', now(), e.i64(second)), e.get(hertz, 'i64'));
        const part = e.op('i64.mul', e.op('i64.rem_u', now(), e.i64(second)), e.get(hertz, 'i64'));
        e.set(time, e.op('i64.add', whole, e.op('i64.div_u', part, e.i64(second))));
      });
      e.return(e.op('i64.add', now(), e.op('i64.add', e.state64('tscBase'), e.state64('tscOffset'))));
    },
    true,
  );
}
