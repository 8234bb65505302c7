import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  attachBareDevices,
  ConfigurationError,
  type Exit,
  type ExitKind,
  IoMap,
  Jit86Error,
  LoaderError,
  loadGuest,
  unexpectedExit,
} from '../runtime/index.ts';

/** One exit of each kind; tsc refuses the table if a kind is missing or too many. */
const examples: { readonly [Kind in ExitKind]: Extract<Exit, { kind: Kind }> } = {
  pio: { kind: 'pio', cpu: 0, write: true, port: 0x80, size: 1, value: 7 },
  mmio: { kind: 'mmio', cpu: 0, write: false, physical: 0xfee0_0000, size: 8, low: 1, high: 2 },
  halt: { kind: 'halt', cpu: 0, interruptible: false },
  shutdown: { kind: 'shutdown', cpu: 0, rip: 0x1000, vector: 8 },
  budget: { kind: 'budget', cpu: 0, limit: 'instructions' },
  kicked: { kind: 'kicked', cpu: 0 },
  debug: { kind: 'debug', cpu: 0, reason: 'single-step', rip: 0x1000, dr6: 0x4000, address: 0, write: false },
  msr: { kind: 'msr', cpu: 0, write: false, index: 0x10, low: 0, high: 0, fault: false },
  hypercall: {
    kind: 'hypercall',
    cpu: 0,
    number: 1,
    low: [0, 0, 0, 0],
    high: [0, 0, 0, 0],
    resultLow: 0,
    resultHigh: 0,
  },
  'interrupt-window': { kind: 'interrupt-window', cpu: 0 },
  'internal-error': { kind: 'internal-error', cpu: 0, rip: 0x1000, message: 'lost' },
};

/** As an embedder would take exits apart: leave an arm out, and this does not compile. */
function describe(exit: Exit): string {
  switch (exit.kind) {
    case 'pio':
      return `port ${exit.port}`;
    case 'mmio':
      return `address ${exit.physical}`;
    case 'halt':
      return exit.interruptible ? 'sleeps' : 'stopped';
    case 'shutdown':
      return `vector ${exit.vector}`;
    case 'budget':
      return exit.limit;
    case 'debug':
      return exit.reason;
    case 'msr':
      return `msr ${exit.index}`;
    case 'hypercall':
      return `call ${exit.number}`;
    case 'internal-error':
      return exit.message;
    case 'kicked':
    case 'interrupt-window':
      return exit.kind;
    default:
      return unexpectedExit(exit);
  }
}

test('a switch over every kind of exit needs no default', () => {
  assert.deepEqual(Object.values(examples).map(describe), [
    'port 128',
    'address 4276092928',
    'stopped',
    'vector 8',
    'instructions',
    'kicked',
    'single-step',
    'msr 16',
    'call 1',
    'interrupt-window',
    'lost',
  ]);
});

test('an exit of an unknown kind is loud, and names itself', () => {
  assert.throws(() => describe({ kind: 'coffee' } as unknown as Exit), /unexpected exit {"kind":"coffee"}/);
});

test('errors carry a stable code, a message of one line, and their class', () => {
  const error = new ConfigurationError('bad-memory-size', 'memory 7: not a multiple of 4096');
  assert.ok(error instanceof Jit86Error && error instanceof Error && !(error instanceof LoaderError));
  assert.equal(error.code, 'bad-memory-size');
  assert.equal(error.name, 'ConfigurationError');
  assert.throws(
    () => loadGuest(Uint8Array.of(1), { bytes: new Uint8Array(4096) }, { name: '', commandLine: '', modules: [] }),
    {
      name: 'LoaderError',
      code: 'unknown-format',
    },
  );
});

test('the bare machine has its devices at their ports, and nothing else', () => {
  const io = new IoMap();
  const { ports } = io;
  const serial: number[] = [];
  const debugcon: number[] = [];
  const exits: number[] = [];
  const devices = attachBareDevices(io, {
    serial: (byte) => serial.push(byte),
    debugcon: (byte) => debugcon.push(byte),
    exit: (status) => exits.push(status),
  });
  ports.write(0x3f8, 1, 0x41);
  ports.write(0xe9, 1, 0x42);
  ports.write(0xf4, 4, 3);
  ports.write(0x80, 1, 0x55);
  assert.deepEqual([serial, debugcon, exits, devices.postPort.state.code], [[0x41], [0x42], [7], 0x55]);
  assert.equal(ports.read(0xe9, 1), 0xe9);
  const claimed: number[] = [];
  for (let port = 0; port < 0x1_0000; port++) if (ports.claims(port)) claimed.push(port);
  const expected = [0x80, 0xe9, 0xf4, 0xf5, 0xf6, 0xf7, 0x3f8, 0x3f9, 0x3fa, 0x3fb, 0x3fc, 0x3fd, 0x3fe, 0x3ff];
  assert.deepEqual(claimed, expected);
});
