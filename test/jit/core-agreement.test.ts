/** A core module of other sources is refused when a VM is made, not when its guest hangs. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { agreement, agreementOf, agreementSection } from '../../jit/core-agreement.ts';
import { ConfigurationError } from '../../runtime/errors.ts';
import { nodeHost } from '../../runtime/hosts/node.ts';
import { Vm } from '../../runtime/vm/vm.ts';

const core = readFileSync(new URL('../../dist/core.wasm', import.meta.url));
const mark = Buffer.from(agreement());

const vmOf = async (bytes: Uint8Array<ArrayBuffer>): Promise<Vm> => {
  const modules = { core: new WebAssembly.Module(bytes), arithmetic: await nodeHost.readModule('softfloat.wasm') };
  return new Vm({ memory: 65536, cpus: 1, modules, translate: false });
};

test('the build has marked both cores, and machine code keeps the mark', async () => {
  for (const name of ['core.wasm', 'core-shared.wasm']) {
    const module = new WebAssembly.Module(readFileSync(new URL(`../../dist/${name}`, import.meta.url)));
    assert.equal(agreementOf(module), agreement(), name);
  }
  assert.equal(agreementOf(await nodeHost.readModule('core.wasm')), agreement());
});

test('a core with another mark is refused, and so is one without', async () => {
  const at = core.indexOf(mark);
  const other = Uint8Array.from(core);
  other[at] = other[at] === 0x30 ? 0x31 : 0x30;
  const otherMark = Buffer.from(other.subarray(at, at + mark.length)).toString();
  const refused = (reason: RegExp) => (error: unknown) =>
    error instanceof ConfigurationError && error.code === 'foreign-core' && reason.test(error.message);
  await assert.rejects(vmOf(other), refused(new RegExp(`${otherMark}.*${mark}.*npm run build`)));
  const unmarked = Uint8Array.from(core);
  unmarked[core.indexOf(agreementSection)] = 0x58; // the section has another name
  await assert.rejects(vmOf(unmarked), refused(/without a mark/));
  const vm = await vmOf(Uint8Array.from(core));
  await vm.close();
});
