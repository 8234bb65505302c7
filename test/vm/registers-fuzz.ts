/**
 * Random values into random registers of guests in every mode: a call is done as a whole or refused as a whole, and whatever
 * was taken, the guest runs on: the same in interpreter and translation, with no error of the host.
 */
import assert from 'node:assert/strict';
import { StateError } from '../../runtime/errors.ts';
import { codeStart, Guest, type GuestKind } from '../../runtime/lockstep/guest.ts';
import type { Random } from '../../runtime/lockstep/random-numbers.ts';
import { assemble, dataOf, ProgramMaker } from '../../runtime/lockstep/random-program.ts';
import { stateHash } from '../../runtime/state-hash.ts';
import type { RegisterInfo, RegisterTuple } from '../../runtime/vm/registers.ts';
import { vmModules } from '../engines/modules.ts';

export interface FuzzedSets {
  taken: number;
  refused: number;
}

/** Where most goes wrong. */
const decisive: ReadonlySet<string> = new Set(['segment', 'control', 'event', 'debug', 'x87', 'table']);

/** A value that is likely to be at an edge. */
function valueFor(random: Random, { size }: RegisterInfo, present: bigint): bigint {
  const bits = BigInt(size * 8);
  const word = () => BigInt(random(0x1_0000_0000)) | (BigInt(random(0x1_0000_0000)) << 32n);
  const choices = [
    () => 0n,
    () => 1n,
    () => (1n << bits) - 1n,
    () => BigInt(random(256)),
    () => present ^ (1n << BigInt(random(size * 8))),
    () => present ^ (1n << BigInt(random(Math.min(size * 8, 16)))),
    () => present + 1n,
    () => word() | (word() << 64n),
    () => BigInt(random(0x8_0000)),
    () => BigInt.asUintN(64, BigInt.asIntN(48, word())),
  ];
  return BigInt.asUintN(size * 8, choices[random(choices.length)]!());
}

/** @param rounds calls of `set` */
export function fuzzSets(random: Random, kind: GuestKind, rounds: number): FuzzedSets {
  const guests = [new Guest(kind, 'never', vmModules()), new Guest(kind, 'first', vmModules())] as const;
  const program = new ProgramMaker(random).make(kind, guests[0].pageEntries);
  const assembled = assemble(program);
  const list = guests[0].vcpu.state.list().filter(({ attributes }) => attributes !== 'ro');
  const modes = list.filter(({ set }) => decisive.has(set));
  const found = { taken: 0, refused: 0 };
  for (let round = 0; round < rounds; round++) {
    for (const guest of guests) {
      guest.reset();
      guest.write('code', program.start, assembled.code);
      guest.write('data', 0, dataOf(program, assembled));
      const { state } = guest.vcpu;
      state.set([[state.idOf('rip'), BigInt.asUintN(64, codeStart(kind) + BigInt(program.start))]]);
    }
    const chosen = new Map<number, bigint>();
    for (let n = 1 + random(3); n > 0; n--) {
      const from = random(3) === 0 ? list : modes;
      const info = from[random(from.length)]!;
      chosen.set(info.id, valueFor(random, info, guests[0].vcpu.state.get(info.id)));
    }
    const tuples: RegisterTuple[] = [...chosen];
    const names = tuples.map(([id, v]) => `${list.find((info) => info.id === id)!.name}=0x${v.toString(16)}`).join(' ');
    const hashes = guests.map(({ vcpu, vm }) => {
      const before = stateHash(vcpu, vm.ram);
      try {
        vcpu.state.set(tuples);
      } catch (error) {
        assert.ok(error instanceof StateError, `${names}: ${(error as Error).stack}`);
        assert.equal(stateHash(vcpu, vm.ram), before, names);
        return null;
      }
      // RF is there only while there are breakpoints.
      for (const [id, value] of tuples)
        if (vcpu.state.get(id) !== value) assert.equal(vcpu.state.get(id) | 0x1_0000n, value | 0x1_0000n, names);
      try {
        for (let i = 0; i < 4; i++) {
          vcpu.enter(1 + i * 20);
          const now = stateHash(vcpu, vm.ram);
          vcpu.state.set(vcpu.state.get());
          assert.equal(stateHash(vcpu, vm.ram), now, `${names}: run ${i}`);
        }
      } catch (error) {
        throw new Error(`${kind.mode} ${names}: ${(error as Error).stack}`, { cause: error });
      }
      return stateHash(vcpu, vm.ram);
    });
    assert.equal(hashes[0], hashes[1], `${kind.mode} ${names}`);
    if (hashes[0] === null) found.refused++;
    else found.taken++;
  }
  return found;
}
