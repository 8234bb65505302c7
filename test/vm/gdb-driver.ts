/** A real gdb in tests, told one command after the other. */
import assert from 'node:assert/strict';
import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from 'node:child_process';

/** For a test's `skip`: why it cannot be made, or false. */
export function skipWithout(...programs: readonly string[]): string | false {
  const missing = programs.filter((program) => spawnSync(program, ['--version']).status !== 0);
  return missing.length === 0 ? false : `there is no ${missing.join(' and no ')}`;
}

const prompt = '@@@';

/** A gdb that is told one command after the other. */
export class Gdb implements AsyncDisposable {
  private readonly child: ChildProcessWithoutNullStreams;
  private text = '';
  private wake = () => {};

  constructor() {
    this.child = spawn('sh', ['-c', 'exec gdb -q -nx 2>&1']); // one pipe, so that errors stand where they belong
    const take = (chunk: Buffer) => {
      this.text += chunk.toString();
      this.wake();
    };
    this.child.stdout.on('data', take);
    this.child.on('exit', () => this.wake());
    this.child.stdin.on('error', () => {});
    this.child.stdin.write(`set prompt ${prompt}\n`);
  }
  /** What gdb says until its next prompt. */
  private async answer(): Promise<string> {
    const deadline = Date.now() + 60_000;
    for (;;) {
      const end = this.text.indexOf(prompt);
      if (end >= 0) {
        const answer = this.text.slice(0, end);
        this.text = this.text.slice(end + prompt.length);
        return answer.trim();
      }
      assert.ok(this.child.exitCode === null && Date.now() < deadline, `gdb says no more: ${this.text}`);
      await new Promise<void>((done) => {
        const timer = setTimeout(done, 1000);
        this.wake = () => {
          clearTimeout(timer);
          done();
        };
      });
    }
  }
  /** Before the first command. */
  async start(): Promise<void> {
    await this.answer();
    for (const command of ['set confirm off', 'set pagination off', 'set width 0', 'set debuginfod enabled off'])
      await this.does(command);
  }
  /** Gives a command whose answer is to look like this. */
  async says(command: string, expected: RegExp): Promise<void> {
    assert.match(await this.does(command), expected, command);
  }
  does(command: string): Promise<string> {
    this.child.stdin.write(`${command}\n`);
    return this.answer();
  }
  /** The same, with control-C after it has begun. */
  async interrupted(command: string): Promise<string> {
    setTimeout(() => this.child.kill('SIGINT'), 300);
    return this.does(command);
  }
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.child.exitCode !== null) return;
    const gone = new Promise((done) => this.child.once('exit', done));
    this.child.stdin.end('quit\n');
    const timer = setTimeout(() => this.child.kill('SIGKILL'), 5000);
    await gone;
    clearTimeout(timer);
  }
}
