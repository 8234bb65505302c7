/** gdb on whole machines: a PC whose timer goes on exactly as without it, and the command line's `--gdb`. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { connect } from 'node:net';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { machineTarget } from '../../runtime/gdb/machine-target.ts';
import { encodePacket, toHex } from '../../runtime/gdb/packets.ts';
import { nodeHost } from '../../runtime/hosts/node.ts';
import { loadGuest } from '../../runtime/loaders/load.ts';
import type { Engine } from '../../runtime/machines/machine.ts';
import { createPcMachine } from '../../runtime/machines/pc-machine.ts';
import { stateHash } from '../../runtime/state-hash.ts';
import { Assembler, dword, to } from '../engines/assembler.ts';
import { lidt, putIdt, store } from '../engines/system-code.ts';
import { GdbClient } from './gdb-client.ts';

const codeAt = 0x10_0000;
const idtAt = 0x2000;
const ticks = 0x3000;
const apic = (register: number) => 0xfee0_0000 + register;
/** AL to the debug console. */
const show = [0xe6, 0xe9];

/** The APIC's timer interrupts a loop and then a HLT; the handler shows the time-stamp counter. */
function ticking(): Assembler {
  return new Assembler(BigInt(codeAt))
    .put(lidt(idtAt - 8))
    .put(store(apic(0xf0), 0x1ff), store(apic(0x3e0), 0xb), store(apic(0x320), 0x2_0030), store(apic(0x380), 3001))
    .put(0xfb) // sti
    .label('loop')
    .put(0x46, 0x01, 0xf7) // inc esi; add edi, esi
    .put(0xb9, dword(5), 0xbf, dword(0x5000), 0xf3, 0xaa) // rep stosb
    .put(0x83, 0x3d, dword(ticks), 12, 0x72, to('loop', 1)) // cmp dword [ticks], 12; jb
    .label('sleep')
    .put(0xf4, 0x83, 0x3d, dword(ticks), 16, 0x72, to('sleep', 1)) // hlt
    .label('off')
    .put(0x66, 0xba, 0x04, 0x06, 0x66, 0xb8, 0x00, 0x34, 0x66, 0xef, 0xf4) // power off
    .label('tick')
    .put(0x50, 0x52, 0x0f, 0x31, show, 0xc1, 0xe8, 8, show) // push eax; push edx; rdtsc
    .put(0xff, 0x05, dword(ticks), store(apic(0xb0), 0), 0x5a, 0x58)
    .label('iret')
    .put(0xcf);
}

async function pc(engine: Engine) {
  const output: number[] = [];
  const options = { memory: 4 << 20, cpus: 2, engine, x87: 'exact', cache: null } as const;
  const machine = await createPcMachine(
    { ...options, serial: () => {}, debugcon: (byte) => void output.push(byte) },
    nodeHost,
  );
  const code = ticking();
  const flat = { address: codeAt, mode: 'protected' } as const;
  const { state } = loadGuest(code.finish(), machine.ram, { name: 'guest', commandLine: '', modules: [], flat });
  const { bytes } = machine.ram;
  putIdt(bytes, idtAt, { 48: code.addressOf('tick') });
  machine.start(state);
  const ended = () => ({
    output,
    hash: stateHash(machine.vcpus[0]!, bytes),
    instructions: machine.instructions(),
  });
  return { machine, code, ended };
}

const command = (text: string) => `qRcmd,${toHex(new TextEncoder().encode(text))}`;

for (const engine of ['interpreter', 'jit'] as const)
  test(`row 23: a PC under gdb has its interrupts at the same instructions as one that is left alone (${engine})`, async () => {
    const alone = await pc(engine);
    assert.equal((await alone.machine.run({})).reason, 'power-off');
    const wanted = alone.ended();
    assert.equal(wanted.output.length, 32);
    await alone.machine.close();

    const { machine, code, ended } = await pc(engine);
    const target = machineTarget(machine);
    const client = new GdbClient(target);
    const at = (label: string) => code.addressOf(label).toString(16);
    assert.equal(await client.ask('qfThreadInfo'), 'm1,2');
    assert.match(await client.ask('qXfer:threads:read::0,1000'), /vCPU 1">waits, real mode/);
    assert.equal(await client.ask(command('step-interrupts on')), '');
    for (const label of ['tick', 'iret', 'sleep', 'off']) assert.equal(await client.ask(`Z1,${at(label)},1`), 'OK');
    let stops = 0;
    for (let reply = ''; !reply.startsWith('W'); stops++) {
      reply = await client.ask('vCont;c');
      assert.match(reply, /^(?:T05thread:1;|W00)/);
      // Some steps after each stop, over HLT and into the handler.
      if (reply.startsWith('T'))
        for (let i = 0; i < 25 && machine.instructions() < wanted.instructions - 10; i++)
          assert.equal(await client.ask(i % 2 === 0 ? 'vCont;s:1;c' : 'vCont;s:1'), 'T05thread:1;');
    }
    assert.ok(stops > 12, `${stops} stops`);
    assert.deepEqual(ended(), wanted);
    assert.equal(target.end?.reason, 'power-off');
    assert.equal(await client.ask('D'), 'OK');
    assert.equal(await client.server.closed, 'detached');
    await machine.close();
  });

const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const hello = fileURLToPath(new URL('../../bench/guests/built/i386-x87/hello.elf', import.meta.url));

/** `jit86 run --gdb 0` on a guest that says hello, and one packet of gdb's. */
async function runUnderGdb(packet: string): Promise<{ status: number | null; out: string; error: string }> {
  const child = spawn(process.execPath, [main, 'run', '--gdb', '0', '--no-cache', '--engine', 'interpreter', hello]);
  let [out, error] = ['', ''];
  child.stdout.on('data', (chunk) => {
    out += chunk;
  });
  child.stderr.on('data', (chunk) => {
    error += chunk;
    const port = /target remote 127\.0\.0\.1:(\d+)/.exec(error)?.[1];
    if (port === undefined || out !== '') return;
    const socket = connect(Number(port), '127.0.0.1', () => socket.end(encodePacket(packet)));
    socket.on('error', () => {});
    socket.resume();
  });
  const status = await new Promise<number | null>((done) => child.on('close', done));
  return { status, out, error };
}

test('row 23: jit86 run --gdb waits for gdb, and runs on when it detaches', async () => {
  const { status, out, error } = await runUnderGdb('D');
  assert.match(out, /Hello/);
  assert.equal(status, 1, error);
});

test("row 23: gdb's kill ends jit86 run --gdb", async () => {
  const { status, out } = await runUnderGdb('k');
  assert.deepEqual([status, out], [130, '']);
});
