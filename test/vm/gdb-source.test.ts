/**
 * A real gdb on a program that gcc has compiled, by its symbols and lines: `jit86 run --gdb` on a 32-bit and a 64-bit ELF
 * file, in both engines. Without gcc or gdb these tests are skipped.
 */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Gdb, skipWithout } from './gdb-driver.ts';

const source = `static volatile int calls;
static volatile double area;

int fib(int n) {
  calls++;
  if (n < 2)
    return n;
  int left = fib(n - 1);
  int right = fib(n - 2);
  return left + right;
}

void finish(int code) {
  __asm__ volatile("outl %0, %w1" : : "a"(code), "d"(0xf4));
  for (;;)
    __asm__ volatile("hlt");
}

void run(void) {
  int sum = fib(10);
  area = sum / 4.0;
  finish(sum);
}
`;
const entry = (stack: string) => `.globl _start
_start:
  fninit
  mov $stack_top, ${stack}
  call run
.section .note.GNU-stack,"",@progbits
.bss
.align 16
.space 65536
stack_top:
`;

const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'jit86-gdb-'));
after(() => rmSync(folder, { recursive: true, force: true }));

function build(bits: 32 | 64): string {
  const file = join(folder, `guest${bits}`);
  writeFileSync(`${file}.c`, source);
  writeFileSync(`${file}-entry.S`, entry(bits === 32 ? '%esp' : '%rsp'));
  const code = ['-g', '-O0', '-ffreestanding', '-fno-pic', '-fcf-protection=none', '-fno-stack-protector', '-mno-sse'];
  const linked = ['-no-pie', '-static', '-nostdlib', '-Wl,-Ttext=0x200000', '-Wl,--build-id=none'];
  const args = [`-m${bits}`, ...code, ...linked, '-o', file, `${file}.c`, `${file}-entry.S`];
  const { status, stderr } = spawnSync('gcc', args, { encoding: 'utf8' });
  assert.equal(status, 0, stderr);
  return file;
}

for (const bits of [32, 64] as const)
  for (const engine of ['interpreter', 'jit'])
    test(`row 23: gdb debugs a ${bits}-bit C program by its source (${engine})`, {
      skip: skipWithout('gdb', 'gcc'),
    }, async () => {
      const file = build(bits);
      const child = spawn(process.execPath, [main, 'run', '--gdb', '0', '--no-cache', '--engine', engine, file]);
      const ended = new Promise<number | null>((done) => child.on('close', done));
      const port = await new Promise<string>((found, fail) => {
        let error = '';
        child.stderr.on('data', (chunk) => {
          error += chunk;
          const announced = /target remote 127\.0\.0\.1:(\d+)/.exec(error)?.[1];
          if (announced !== undefined) found(announced);
        });
        child.on('close', () => fail(new Error(error)));
      });
      await using gdb = new Gdb();
      await gdb.start();
      await gdb.says(`file ${file}`, /Reading symbols/);
      await gdb.says(`target remote 127.0.0.1:${port}`, /_start/);
      await gdb.says('break fib if n == 3', /Breakpoint 1/);
      await gdb.says('continue', /Breakpoint 1, fib \(n=3\)/);
      await gdb.says('backtrace', /#0 +fib \(n=3\).*#1 .*fib \(n=4\).*#8 .*run \(\)/s);
      await gdb.says('print calls', /= 7$/);
      await gdb.says('next', /if \(n < 2\)/);
      await gdb.says('step', /int left = fib/);
      await gdb.says('step', /fib \(n=2\)/);
      await gdb.says('finish', /Value returned is .* = 1/);
      await gdb.says('next', /int right/);
      await gdb.says('info locals', /left = 1/);
      await gdb.says('up', /fib \(n=4\)/);
      await gdb.says('delete', /^$/);
      await gdb.says('print fib(7)', /= 13$/); // executed by the guest, on its stack
      await gdb.says('print calls', new RegExp(`= ${11 + 41}$`));
      await gdb.says('set var calls = 1000', /^$/);
      await gdb.says('watch area', /Hardware watchpoint 2/);
      await gdb.says('continue', /Old value = 0\s+New value = 13\.75\s+run \(\)/);
      await gdb.says('print calls > 1000', /= 1$/);
      await gdb.says('delete', /^$/);
      await gdb.says('tbreak finish', /Temporary breakpoint 3/);
      await gdb.says('continue', /Temporary breakpoint 3, finish \(code=55\)/);
      await gdb.says('set var code = 20', /^$/);
      await gdb.says('continue', /exited with code 051/);
      await gdb.does('disconnect');
      assert.equal(await ended, 41);
    });
