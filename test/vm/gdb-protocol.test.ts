/** gdb's remote serial protocol, packet by packet, with what no gdb would send. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encodePacket, type PacketEvent, PacketReader, packetSize, toHex } from '../../runtime/gdb/packets.ts';
import { randomNumbers } from '../../runtime/lockstep/random-numbers.ts';
import { Assembler, dword, to } from '../engines/assembler.ts';
import { GdbClient } from './gdb-client.ts';
import { emptyVm, guest, hashOf, origin, type TestEngine, testEngines } from './vm-harness.ts';

const read = (...chunks: readonly (string | Uint8Array)[]): PacketEvent[] => {
  const reader = new PacketReader();
  return chunks.flatMap((chunk) => [
    ...reader.feed(typeof chunk === 'string' ? Uint8Array.from(chunk, (c) => c.charCodeAt(0)) : chunk),
  ]);
};

test('row 23: packets are read however they are cut, and what is none is told apart', () => {
  const packet = (data: string): PacketEvent => ({ kind: 'packet', data });
  assert.deepEqual(read('$OK#9a'), [packet('OK')]);
  assert.deepEqual(read('+-\x03$g#67+'), [
    { kind: 'ack' },
    { kind: 'nak' },
    { kind: 'interrupt' },
    packet('g'),
    { kind: 'ack' },
  ]);
  const binary = Array.from({ length: 256 }, (_, i) => String.fromCharCode(i)).join('');
  const bytes = encodePacket(binary);
  assert.deepEqual(read(bytes), [packet(binary)]);
  assert.deepEqual(read(...[...bytes].map((byte) => Uint8Array.of(byte))), [packet(binary)]);
  assert.deepEqual(read('$OK#9b', '$OK#zz', '$OK#9A'), [
    { kind: 'damaged', reason: 'checksum' },
    { kind: 'damaged', reason: 'checksum' },
    packet('OK'),
  ]);
  assert.deepEqual(read('$abc$OK#9a'), [{ kind: 'damaged', reason: 'cut-short' }, packet('OK')]);
  assert.deepEqual(read('$abc#$OK#9a'), [{ kind: 'damaged', reason: 'cut-short' }, packet('OK')]);
  assert.deepEqual(read('noise $}#7d', '$OK#9a'), [{ kind: 'damaged', reason: 'checksum' }, packet('OK')]);
  const long = 'x'.repeat(packetSize);
  assert.deepEqual(read(encodePacket(long), encodePacket(`${long}y`), '$OK#9a'), [
    packet(long),
    { kind: 'damaged', reason: 'too-long' },
    packet('OK'),
  ]);
});

const loops = 3000;
/** Adds up to 4.5 million; hot. */
function sumProgram(): Assembler {
  const p = new Assembler(BigInt(origin));
  p.put(0xbc, dword(0x7000), 0x31, 0xc0, 0xb9, dword(loops)); // esp; xor eax, eax; ecx
  p.label('loop').put(0x01, 0xc8, 0xa3, dword(0x8000)); // add eax, ecx; mov [8000h], eax
  p.label('count').put(0x49, 0x75, to('loop', 1)); // dec ecx; jnz
  p.label('halt').put(0xf4);
  return p;
}
const sum = (loops * (loops + 1)) / 2;
const little = (value: number) => toHex(Uint8Array.from(dword(value)));
const hex = (value: bigint | number) => value.toString(16);

function sumGuest(engine: TestEngine, cpus = 1) {
  const code = sumProgram();
  const vm = guest(engine, code.finish(), { cpus });
  return { vm, code, client: new GdbClient(vm) };
}

testEngines('row 23: a session by hand: features, registers, memory, breakpoints, steps, the end', async (engine) => {
  const { vm, code, client } = sumGuest(engine);
  const alone = guest(engine, code.finish());
  assert.equal(alone.vcpu(0).enter().kind, 'halt');

  const supported = (await client.ask('qSupported:multiprocess+;swbreak+;hwbreak+;vContSupported+')).split(';');
  for (const feature of ['PacketSize=4000', 'QStartNoAckMode+', 'qXfer:features:read+', 'swbreak+', 'hwbreak+'])
    assert.ok(supported.includes(feature), feature);
  for (const unknown of [
    'vMustReplyEmpty',
    'qTStatus',
    'qOffsets',
    'QThreadEvents:1',
    '!',
    'R00',
    'i',
    'vFile:setfs:0',
    '',
  ])
    assert.equal(await client.ask(unknown), '', unknown);
  assert.equal(await client.ask('?'), 'T02thread:1;');
  assert.equal(await client.ask('qAttached'), '1');
  assert.equal(await client.ask('vCont?'), 'vCont;c;C;s;S;t;r');

  // The description names every register of the vCPU but CPUID's constants, and `g` is as long as it says.
  let xml = '';
  for (let part = 'm'; part.startsWith('m'); ) {
    part = await client.ask(`qXfer:features:read:target.xml:${hex(xml.length)},7ff`);
    xml += part.slice(1);
  }
  assert.match(xml, /<architecture>i386<\/architecture>/);
  const described = [...xml.matchAll(/<reg name="([^"]+)" bitsize="(\d+)" .*?regnum="(\d+)" group="(\w+)"/g)].map(
    ([, name, bits, number, group]) => ({
      name: name!,
      bytes: Number(bits) / 8,
      number: Number(number),
      group: group!,
    }),
  );
  assert.deepEqual(
    described.map(({ number }) => number),
    described.map((_, i) => i),
  );
  const renamed: Readonly<Record<string, string>> = {
    rflags: 'eflags',
    fcw: 'fctrl',
    fsw: 'fstat',
    ftw: 'ftag',
    fcs: 'fiseg',
    fip: 'fioff',
    fds: 'foseg',
    fdp: 'fooff',
  };
  const isShown = (name: string) => {
    const theirs =
      renamed[name] ??
      name
        .replace(/^ymmHigh(\d+)$/, 'ymm$1h')
        .replace(/^fpr/, 'st')
        .replace(/^([c-g]s|ss)Selector$/, '$1')
        .replace(/^r(.[xpi]|ip)$/, 'e$1');
    return described.some((d) => d.name === theirs);
  };
  const hidden = vm
    .vcpu(0)
    .state.list()
    .filter(({ set, name }) => set !== 'cpuid' && !isShown(name))
    .map(({ name }) => name);
  assert.deepEqual(
    hidden.filter((name) => !/^(?:r|xmm|ymmHigh)(?:8|9|1[0-5])$/.test(name)),
    [],
    'only what 32-bit code does not have is hidden',
  );
  const standard = described.filter(({ group }) => group !== 'system');
  const all = await client.ask('g');
  assert.equal(all.length, 2 * standard.reduce((total, { bytes }) => total + bytes, 0));
  const number = (name: string) => hex(described.find((d) => d.name === name)!.number);
  for (const { number: n, bytes, name } of described)
    assert.equal((await client.ask(`p${hex(n)}`)).length, 2 * bytes, name);
  assert.equal(await client.ask(`G${all}`), 'OK');
  assert.equal(await client.ask('g'), all);
  assert.equal(await client.ask(`p${number('eip')}`), little(origin));

  // Memory, of this paging and through none at all.
  assert.equal(await client.ask(`m${hex(origin)},5`), 'bc00700000');
  assert.equal(await client.ask('m3ffffe,4'), '0000', 'as much as there is');
  assert.equal(await client.ask('m400000,4'), 'E14');
  assert.equal(await client.ask('mffffffff00001000,1'), 'bc', 'addresses have 32 bits');
  assert.equal(await client.ask('M6ffe,4:01020304'), 'OK');
  assert.equal(await client.ask('X7000,4:}\x03\x04\x05\x06'.replace('}\x03', '#')), 'OK');
  assert.equal(await client.ask('m6ffe,6'), '010223040506');
  assert.equal(await client.ask('M3fffff,2:0102'), 'E14');
  assert.equal(await client.ask('m3fffff,1'), '00', 'nothing was written');
  for (const place of ['M6ffe,4:00000000', 'M7002,2:0000']) assert.equal(await client.ask(place), 'OK');

  // Breakpoints and steps.
  const count = hex(code.addressOf('count'));
  assert.equal(await client.ask(`Z0,${count},1`), 'OK');
  assert.equal(await client.ask('vCont;c'), 'T05thread:1;swbreak:;');
  assert.equal(await client.ask(`p${number('eip')}`), little(Number(code.addressOf('count'))));
  assert.equal(await client.ask('m8000,4'), little(loops));
  assert.equal(await client.ask('vCont;s:1'), 'T05thread:1;');
  assert.equal(await client.ask('s'), 'T05thread:1;');
  assert.equal(await client.ask(`p${number('eip')}`), little(Number(code.addressOf('loop'))));
  assert.equal(await client.ask(`Z1,${count},1`), 'OK');
  assert.equal(await client.ask('c'), 'T05thread:1;hwbreak:;');
  for (const type of [0, 1]) assert.equal(await client.ask(`z${type},${count},1`), 'OK');
  assert.equal(await client.ask('Z2,8000,4'), 'OK');
  assert.equal(await client.ask('C05'), 'T05thread:1;watch:8000;');
  assert.equal(await client.ask('z2,8000,4'), 'OK');
  assert.equal(await client.ask('Z3,8000,4'), 'OK', 'nothing reads it');

  // A range is stepped through: up to its end, to a breakpoint in it, or to the byte 3.
  assert.equal(await client.ask('z3,8000,4'), 'OK');
  const [loop, halt] = ['loop', 'halt'].map((label) => hex(code.addressOf(label)));
  const pc = () => client.ask(`p${number('eip')}`);
  assert.equal(await client.ask(`vCont;r${count},${halt}:1`), 'T05thread:1;');
  assert.equal(await pc(), little(Number(code.addressOf('loop'))));
  assert.equal(await client.ask(`vCont;r${loop},${count}:1`), 'T05thread:1;');
  assert.equal(await pc(), little(Number(code.addressOf('count'))));
  assert.equal(await client.ask(`Z0,${loop},1`), 'OK');
  assert.equal(await client.ask(`vCont;r${loop},${halt}`), 'T05thread:1;');
  assert.equal(await pc(), little(Number(code.addressOf('loop'))));
  assert.equal(await client.ask(`z0,${loop},1`), 'OK');
  await client.send(encodePacket(`vCont;r${hex(origin)},${halt}`));
  await new Promise((done) => setTimeout(done, 50));
  await client.send('\x03');
  assert.match(await client.reply(), /^T0[25]thread:1;$/); // 5: it was through already
  for (const bad of [`vCont;r${loop}`, 'vCont;r', `vCont;rx,${loop}`]) assert.equal(await client.ask(bad), 'E22');

  // A register is changed and changed back; then to the end.
  const ecx = await client.ask(`p${number('ecx')}`);
  assert.equal(await client.ask(`P${number('ecx')}=${little(1)}`), 'OK');
  assert.equal(await client.ask(`p${number('ecx')}`), little(1));
  assert.equal(await client.ask(`P${number('ecx')}=${ecx}`), 'OK');
  assert.equal(await client.ask('c'), 'T11thread:1;');
  assert.equal(await client.ask(`p${number('eax')}`), little(sum));
  assert.equal(await client.ask('D'), 'OK');
  assert.equal(await client.server.closed, 'detached');
  assert.equal(hashOf(vm), hashOf(alone));
});

test('row 23: what makes no sense is refused with a number, and changes nothing', async () => {
  const { vm, code, client } = sumGuest('interpreter', 2);
  const before = hashOf(vm);
  const refused: Readonly<Record<string, string>> = {
    m: 'E22',
    m1000: 'E22',
    'mxyz,4': 'E22',
    'm1000,zz': 'E22',
    'm10000000000000000,1': 'E22',
    'm1000,ffffffff': 'E22',
    M: 'E22',
    'M1000,4': 'E22',
    'M1000,4:0102': 'E22',
    'M1000,1:0': 'E22',
    'M1000,1:zz': 'E22',
    'X1000,4:a': 'E22',
    'Mfffffffff,0:': 'OK',
    G: 'E22',
    Gzz: 'E22',
    G01: 'E22',
    p: 'E22',
    pffff: 'E22',
    P0: 'E22',
    'P0=': 'E22',
    'P0=01': 'E22',
    'Pfff=00000000': 'E22',
    Z0: 'E22',
    'Z0,x,1': 'E22',
    'Z2,1000,0': 'E22',
    'Z7,1000,1': '',
    'z9,0,0': '',
    Hx1: 'E22',
    Hg9: 'E03',
    Hgzz: 'E03',
    Hc0: 'OK',
    'Hg-1': 'OK',
    T3: 'E03',
    T: 'E03',
    T2: 'OK',
    'vCont;': 'E22',
    'vCont;x': 'E22',
    'vCont;c:9': 'E03',
    'vCont;s:zz': 'E03',
    'vCont;t': 'E22',
    cxyz: 'E22',
    'qXfer:features:read:other.xml:0,100': 'E00',
    'qXfer:features:read:target.xml:x,y': 'E22',
    'qXfer:features:write:target.xml:0:aa': '',
    'qXfer:auxv:read::0,100': '',
    'qThreadExtraInfo,9': 'E03',
    'qRcmd,zz': 'E22',
    'qXfer:features:read:target.xml:fffff,100': 'l',
  };
  for (const [packet, answer] of Object.entries(refused)) assert.equal(await client.ask(packet), answer, packet);
  // A state that cannot be: paging without protection.
  const xml = await client.ask('qXfer:features:read:target.xml:0,2000');
  const rest = await client.ask('qXfer:features:read:target.xml:2000,2000');
  const cr0 = /name="cr0" .*?regnum="(\d+)"/.exec(xml.slice(1) + rest.slice(1))![1]!;
  assert.equal(await client.ask(`P${hex(Number(cr0))}=0000008000000000`), 'E22');
  assert.equal(hashOf(vm), before);

  const info = await client.ask(`qRcmd,${toHex(Uint8Array.from('help', (c) => c.charCodeAt(0)))}`);
  assert.match(Buffer.from(info, 'hex').toString(), /step-interrupts/);
  const bad = await client.ask(`qRcmd,${toHex(Uint8Array.from('coffee', (c) => c.charCodeAt(0)))}`);
  assert.match(Buffer.from(bad, 'hex').toString(), /unknown command coffee/);

  // Damaged packets are asked for again; a reply that was lost comes again.
  await client.send('$g#00');
  assert.equal(await client.read(1), '-');
  await client.send(encodePacket('qC'));
  assert.equal(await client.read(8), '+$QC1#c5');
  await client.send('-');
  assert.equal(await client.reply(), 'QC1');
  assert.equal(await client.ask('QStartNoAckMode'), 'OK');
  await client.send('+$qC#00$qC#b4');
  assert.equal(await client.read(7), '$QC1#c5', 'the damaged one is ignored, nothing is acknowledged');
  assert.equal(await client.ask(`Z0,${hex(code.addressOf('halt'))},1`), 'OK');
  assert.equal(await client.ask('vCont;c:1'), 'T05thread:1;');
  assert.equal(vm.vcpu(0).fields.get32('rax'), sum);
  await client.send(encodePacket('k'));
  assert.equal(await client.server.closed, 'killed');
});

testEngines('row 23: vCPUs are threads: one steps while the others run, or stand still', async (engine) => {
  const p = new Assembler(BigInt(origin));
  p.label('first').put(0x40, 0xeb, to('first', 1)); // inc eax; jmp
  p.label('second').put(0x43, 0xff, 0x05, dword(0x8000), 0xeb, to('second', 1)); // inc ebx; inc [8000h]; jmp
  const vm = guest(engine, p.finish(), { cpus: 3 });
  for (const index of [1, 2]) {
    vm.start(index, { ...initial, rip: Number(p.addressOf('second')) });
  }
  const client = new GdbClient(vm);
  const counted = () => vm.vcpus.map(({ fields }) => fields.get32('rax') + fields.get32('rbx'));
  assert.equal(await client.ask('qfThreadInfo'), 'm1,2,3');
  assert.equal(await client.ask('qsThreadInfo'), 'l');
  assert.match(
    await client.ask('qXfer:threads:read::0,1000'),
    /^l.*<thread id="2" core="1" name="vCPU 1">runs, protected mode, CPL 0<\/thread>/s,
  );
  assert.equal(await client.ask('vCont;s:2'), 'T05thread:2;');
  assert.deepEqual(counted(), [0, 1, 0]);
  assert.equal(await client.ask('Hg3'), 'OK');
  assert.equal(await client.ask('Hc3'), 'OK');
  assert.equal(await client.ask('s'), 'T05thread:3;');
  assert.deepEqual(counted(), [0, 1, 1]);
  assert.equal(await client.ask('Z2,8000,4'), 'OK');
  assert.equal(await client.ask('vCont;c:3'), 'T05thread:3;watch:8000;');
  assert.deepEqual(counted(), [0, 1, 1], 'it stands after the access');
  await client.send(encodePacket('vCont;c:1;t'));
  await new Promise((done) => setTimeout(done, 50));
  await client.send('\x03');
  assert.match(await client.reply(), /^T02thread:3;$/);
  assert.ok(counted()[0]! > 100, 'the first ran');
  assert.deepEqual(counted().slice(1), [1, 1]);
  assert.equal(await client.ask('z2,8000,4'), 'OK');
  // All run until the byte 3 comes.
  const before = counted();
  await client.send(encodePacket('vCont;s:9;c'));
  assert.equal(await client.reply(), 'E03');
  await client.send(encodePacket('vCont;c'));
  await new Promise((done) => setTimeout(done, 100));
  await client.send('\x03');
  assert.match(await client.reply(), /^T02thread:[123];$/);
  for (const [i, count] of counted().entries()) assert.ok(count > before[i]! + 1000, `vCPU ${i}`);
  // The connection breaks while they run: the guest comes to rest, as if nobody had debugged it.
  assert.equal(await client.ask('Z0,1000,1'), 'OK');
  assert.equal(await client.ask('z0,1000,1'), 'OK');
  assert.equal(await client.ask(`Z1,${hex(p.addressOf('second') + 0x1000n)},1`), 'OK');
  await client.send(encodePacket('vCont;c'));
  await new Promise((done) => setTimeout(done, 30));
  await client.hangUp();
  assert.equal(await client.server.closed, 'disconnected');
  for (const vcpu of vm.vcpus)
    assert.deepEqual({ ...vcpu.enter(1000) }, { kind: 'budget', cpu: vcpu.index, limit: 'instructions' });
});

const initial = {
  mode: 'protected',
  rip: origin,
  gpr: new Array<number>(16).fill(0),
  codeSelector: 8,
  dataSelector: 16,
  gdt: null,
  pageTables: null,
  a20: true,
} as const;

test('row 23: garbage of every kind leaves the server answering and the guest right', async () => {
  const { vm, code, client } = sumGuest('hot');
  const alone = guest('hot', code.finish());
  assert.equal(alone.vcpu(0).enter().kind, 'halt');
  const random = randomNumbers(23);
  const pick = random;
  const letters = 'gGpPmMXzZHTvqQ?DkR!cs\x03$#}*:;,=0123456789abcdef-+ \xff';
  // Commands that write, run or end are spoilt, so that what is left of the guest is what it was.
  const harmless = (data: string) => !/^[GPMXDkcsCSZz]|^vCont|^vKill/.test(data);
  for (let i = 0; i < 3000; i++) {
    let data = '';
    const known = [
      'm1000,',
      'p',
      'qXfer:features:read:target.xml:',
      'H',
      'Hg',
      'qRcmd,',
      'vMust',
      'qThreadExtraInfo,',
      'T',
      'qSupported',
    ];
    if (pick(2) === 0) data = known[pick(known.length)]!;
    for (let n = pick(12); n > 0; n--) data += letters[pick(letters.length)];
    if (!harmless(data)) data = `?${data}`;
    if (pick(8) === 0) await client.send(data.replace(/[$-]/g, ''));
    await client.send(encodePacket(data));
    await client.reply();
  }
  assert.equal(await client.ask('qC'), 'QC1');
  assert.equal(await client.ask('c'), 'T11thread:1;');
  assert.equal(hashOf(vm), hashOf(alone));
  await client.hangUp();
  assert.equal(await client.server.closed, 'disconnected');
});

test('row 23: a debugger looks at memory without touching flags in page tables, devices or ROM', async () => {
  const vm = emptyVm('interpreter');
  const code = new Assembler(BigInt(origin)).put(0xeb, 0xfe).finish();
  vm.start(0, initial);
  vm.physical.writeBytes(origin, code);
  const view = new DataView(vm.ram.buffer, vm.ram.byteOffset);
  // A directory whose first table maps page 1 to page 9, page 2 to nowhere, page 3 to a device; the second lies in a device.
  view.setUint32(0x4000, 0x5007, true);
  view.setUint32(0x4004, 0xf000_0007 | 0, true);
  view.setUint32(0x5004, 0x9007, true);
  view.setUint32(0x500c, 0xe000_0007 | 0, true);
  vm.physical.writeBytes(0x9000, Uint8Array.of(1, 2, 3, 4));
  const { state } = vm.vcpu(0);
  state.set([
    [state.idOf('cr3'), 0x4000n],
    [state.idOf('cr0'), state.get(state.idOf('cr0')) | 0x8000_0000n],
  ]);
  const before = vm.ram.slice();
  const client = new GdbClient(vm);
  assert.equal(await client.ask('m1000,4'), '01020304');
  assert.equal(await client.ask('m1ffe,10'), '0000', 'up to the page that is not there');
  for (const nowhere of ['2000', '3000', '400000', '800000', 'fffff000'])
    assert.equal(await client.ask(`m${nowhere},4`), 'E14', nowhere);
  assert.equal(await client.ask('M3000,1:00'), 'E14');
  assert.deepEqual(vm.ram, before);
  assert.equal(await client.ask('M1002,2:aabb'), 'OK');
  assert.deepEqual([...vm.ram.subarray(0x9000, 0x9004)], [1, 2, 0xaa, 0xbb]);
  client.server.close();
  assert.equal(await client.server.closed, 'disconnected');
});

testEngines('row 23: how a guest ends is told, and what its embedder does about exits', async (engine) => {
  // A triple fault: there is no interrupt table. Its state can be looked at.
  const faults = guest(engine, [0x0f, 0x01, 0x1d, ...dword(0x8000), 0xb8, ...dword(7), 0x0f, 0x0b]); // lidt; mov eax; ud2
  let client = new GdbClient(faults);
  for (let i = 0; i < 2; i++) assert.equal(await client.ask('c'), 'T0bthread:1;');
  assert.equal(await client.ask('p0'), little(7));
  await client.hangUp();
  assert.equal(await client.server.closed, 'disconnected');

  // Ports are the embedder's: it answers reads, and ends the guest with a status.
  const p = new Assembler(BigInt(origin));
  p.put(0xe4, 0x60, 0x40).label('between').put(0xe6, 0xf4, 0xf4); // in al, 60h; inc eax; out f4h, al; hlt
  const ports = guest(engine, p.finish());
  const seen: string[] = [];
  client = new GdbClient(ports, {
    onExit(exit) {
      seen.push(exit.kind);
      if (exit.kind !== 'pio') return undefined;
      if (exit.write) return exit.value;
      exit.value = 0x29;
      return undefined;
    },
  });
  assert.equal(await client.ask('s'), 'T05thread:1;', 'a step over an access that the embedder answers is one step');
  assert.equal(await client.ask(`Z0,${hex(p.addressOf('between'))},1`), 'OK');
  assert.equal(await client.ask('c'), 'T05thread:1;');
  assert.equal(await client.ask('c'), 'W2a');
  assert.equal(await client.ask('?'), 'W2a');
  assert.deepEqual(seen, ['pio', 'pio']);
  await client.hangUp();

  // An embedder that throws hears of it; the VM goes on.
  const throwing = guest(engine, p.finish());
  client = new GdbClient(throwing, {
    onExit() {
      throw new Error('no such port');
    },
  });
  await client.send(encodePacket('c'));
  await assert.rejects(client.server.closed, /no such port/);
  assert.equal(throwing.vcpu(0).enter().kind, 'pio');

  // Somebody else runs the VM.
  const busy = guest(engine, [0xeb, 0xfe]);
  const running = busy.run();
  const first = running.next();
  client = new GdbClient(busy);
  await client.send(encodePacket('c'));
  await assert.rejects(client.server.closed, { code: 'already-entered' });
  busy.vcpu(0).kick();
  await first;
  await running.return();
});
