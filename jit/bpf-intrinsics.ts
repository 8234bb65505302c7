/** Helpers of BPF programs that translations do themselves, as functions of their module: src/bpf/intrinsics.ts in WebAssembly. */
import type { BpfIntrinsic } from '../src/bpf/environment.ts';
import { mapErrors, updateFlags } from '../src/bpf/intrinsics.ts';
import { descriptor } from '../src/bpf/placement.ts';
import type { Type } from '../src/ir/types.ts';
import type { Emitter, Expr } from './emitter.ts';

export const intrinsicParameters: Readonly<Record<BpfIntrinsic, number>> = {
  'map-lookup': 2,
  'map-update': 4,
  muldiv64: 3,
};

/** Offers them to a module's programs. */
export function addIntrinsics(e: Emitter): void {
  const bodies: Readonly<Record<BpfIntrinsic, () => void>> = {
    'map-lookup': () => e.return(e.op('i64.extend_u', find(e))),
    'map-update': () => update(e),
    muldiv64: () => muldiv(e),
  };
  for (const [name, body] of Object.entries(bodies)) {
    const parameters = new Array<Type>(intrinsicParameters[name as BpfIntrinsic]).fill('i64');
    e.offerOwn(name, () => e.addFunction(name, parameters, 'i64', body));
  }
}

const low = (e: Emitter, parameter: number): Expr => e.op('i32.wrap', e.get(parameter, 'i64'));

/** Address of the value whose key and map are the function's first two parameters, or 0. */
function find(e: Emitter): Expr {
  const map = e.share(low(e, 0), 'i32');
  const index = e.share(e.load('i32', low(e, 1)), 'i32');
  const field = (offset: number) => e.load('i32', map(), offset);
  const within = e.op('i32.lt_u', index(), field(descriptor.entries));
  const place = e.op('i32.add', field(descriptor.values), e.op('i32.mul', index(), field(descriptor.stride)));
  return e.select(within, place, e.i32(0));
}

function update(e: Emitter): void {
  const flags = () => e.get(3, 'i64');
  const fail = (code: number) => e.return(e.i64(BigInt(code)));
  e.if(e.op('i64.gt_u', flags(), e.i64(BigInt(updateFlags.present))), () => fail(mapErrors.invalid));
  const to = e.share(find(e), 'i32');
  e.if(e.op('i32.eqz', to()), () => fail(mapErrors.tooBig));
  e.if(e.op('i64.eq', flags(), e.i64(BigInt(updateFlags.absent))), () => fail(mapErrors.exists));
  const size = e.load('i32', low(e, 0), descriptor.valueSize);
  e.emit(e.op('memory.copy', to(), low(e, 2), size, 'm', 'm'));
  e.return(e.i64(0n));
}

/** The product in two halves, from 32-bit parts; then a division a bit at a time, unless the upper half is empty. */
function muldiv(e: Emitter): void {
  const [a, b, c] = [0, 1, 2].map((parameter) => () => e.get(parameter, 'i64')) as [() => Expr, () => Expr, () => Expr];
  const down = (value: Expr) => e.op('i64.shr_u', value, e.i64(32n));
  const part = (value: Expr) => e.op('i64.and', value, e.i64(0xffffffffn));
  const product = (x: Expr, y: Expr) => e.op('i64.mul', x, y);
  const sum = (x: Expr, y: Expr) => e.op('i64.add', x, y);
  const ones = () => e.return(e.i64(-1n));
  // Operands of 32 bits each need no more.
  e.if(e.op('i64.eqz', e.op('i64.or', down(a()), down(b()))), () => {
    e.if(e.op('i64.eqz', c()), ones);
    e.return(e.op('i64.div_u', product(a(), b()), c()));
  });
  const lows = e.share(product(part(a()), part(b())), 'i64');
  const middle = e.share(sum(product(down(a()), part(b())), down(lows())), 'i64');
  const other = e.share(sum(product(part(a()), down(b())), part(middle())), 'i64');
  const high = e.local('i64');
  const lower = e.local('i64');
  e.set(high, sum(sum(product(down(a()), down(b())), down(middle())), down(other())));
  e.set(lower, product(a(), b()));
  const rest = () => e.get(high, 'i64');
  // The quotient needs more than 64 bits, or there is none.
  e.if(e.op('i64.ge_u', rest(), c()), ones);
  e.if(e.op('i64.eqz', rest()), () => e.return(e.op('i64.div_u', e.get(lower, 'i64'), c())));
  const left = e.local('i32');
  e.set(left, e.i32(64));
  const quotient = () => e.get(lower, 'i64');
  e.loop('bits', () => {
    // The remainder has 65 bits for a moment: what leaves at the top says that the divisor goes into it.
    const out = e.share(e.op('i64.lt_s', rest(), e.i64(0n)), 'i32');
    e.set(high, e.op('i64.or', e.op('i64.shl', rest(), e.i64(1n)), e.op('i64.shr_u', quotient(), e.i64(63n))));
    e.set(lower, e.op('i64.shl', quotient(), e.i64(1n)));
    e.if(e.op('i32.or', out(), e.op('i64.ge_u', rest(), c())), () => {
      e.set(high, e.op('i64.sub', rest(), c()));
      e.set(lower, e.op('i64.or', quotient(), e.i64(1n)));
    });
    e.set(left, e.op('i32.sub', e.get(left, 'i32'), e.i32(1)));
    e.brIf('bits', e.get(left, 'i32'));
  });
  e.return(quotient());
}
