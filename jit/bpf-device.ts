/**
 * How an access of a guest is put to a translated BPF program within WebAssembly: the module's exports `access`, for callers
 * that are generated code themselves, and `accessNumber`, for those that are not. They fill `struct device_access`
 * (src/bpf/device-program.ts) and run the program.
 */
import { deviceAccess, deviceResults } from '../src/bpf/device-program.ts';
import type { Emitter, Expr } from './emitter.ts';

/** Where the structure lies, and the upper end of the stack. */
export interface DevicePlace {
  readonly address: number;
  readonly stackTop: number;
}

/** Of `access` and `accessNumber`: address in halves, twice the size plus 1 for a write, value that is written. */
export const accessParameters = ['i32', 'i32', 'i32', 'i32'] as const;
const ADDRESS_LOW = 0;
const ADDRESS_HIGH = 1;
const WAY = 2;
const VALUE = 3;

const offsetOf = (name: string): number => deviceAccess.fields.find((field) => field.name === name)!.offset;

/**
 * Accesses of 1, 2 or 4 bytes. The answer is -1 if the program passes the access on, else the value that was read, 0 for a
 * write.
 * @param run calls the program with the structure and the stack: r0
 * @param time asks for the time, an f64; null: the program does not look at it
 */
export function addDeviceAccess(
  e: Emitter,
  { address, stackTop }: DevicePlace,
  run: (context: Expr, stackTop: Expr) => Expr,
  time: (() => Expr) | null,
): void {
  const given = (parameter: number) => e.get(parameter, 'i32');
  const set = (name: string, value: Expr) => e.store('i64', e.i32(address), value, offsetOf(name));
  const setHalf = (name: string, value: Expr, offset = 0) =>
    e.store('i32', e.i32(address), value, offsetOf(name) + offset);
  e.addFunction(
    'access',
    accessParameters,
    'i64',
    () => {
      setHalf('address', given(ADDRESS_LOW));
      setHalf('address', given(ADDRESS_HIGH), 4);
      set('value', e.op('i64.extend_u', given(VALUE)));
      setHalf('size', e.op('i32.shr_u', given(WAY), e.i32(1)));
      setHalf('write', e.op('i32.and', given(WAY), e.i32(1)));
      if (time !== null) set('time', e.op('i64.trunc_u_sat.f64', time()));
      const passed = e.op('i64.ne', run(e.i32(address), e.i32(stackTop)), e.i64(BigInt(deviceResults.done)));
      e.if(passed, () => e.return(e.i64(-1n)));
      e.if(e.op('i32.and', given(WAY), e.i32(1)), () => e.return(e.i64(0n)));
      const bits = e.op('i64.extend_u', e.op('i32.shl', given(WAY), e.i32(2)));
      const mask = e.op('i64.sub', e.op('i64.shl', e.i64(1n), bits), e.i64(1n));
      e.return(e.op('i64.and', e.load('i64', e.i32(address), offsetOf('value')), mask));
    },
    true,
  );
  const answer = () =>
    e.call(
      'access',
      accessParameters.map((_, index) => given(index)),
      'i64',
    );
  e.addFunction('accessNumber', accessParameters, 'f64', () => e.return(e.op('f64.convert_s.i64', answer())), true);
}
