/** QEMU's TCG: a call lasts from the arrival of its first mark on the debug console's pipe to that of its second. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { CallMarks } from '../../runtime/cli/call-marks.ts';
import { builtDirectory, elfName } from '../guests/build.ts';
import type { Guest, GuestVariant } from '../guests/catalogue.ts';
import { hasQemu, qemuFor } from '../guests/qemu.ts';
import { type Call, type CallLimits, type Contender, callBetween, isEnough, runChild } from './contender.ts';

/** Time that all threads of a process have had processors, as Linux counts it; NaN elsewhere. */
function processorMillis(pid: number): number {
  try {
    const threads = readdirSync(`/proc/${pid}/task`);
    const nanos = threads.map((thread) =>
      Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')[0]),
    );
    return nanos.reduce((sum, each) => sum + each, 0) / 1e6;
  } catch {
    return Number.NaN;
  }
}

export const qemu: Contender = {
  name: 'qemu',
  description: 'QEMU with its translator TCG',
  prepare: async () => ((await hasQemu()) ? null : 'there is no qemu-system-i386 and qemu-system-x86_64'),
  runs: () => true,
  async measure(guest: Guest, variant: GuestVariant, limits: CallLimits): Promise<Call[]> {
    const args = [
      ...['-accel', 'tcg', '-cpu', 'max', '-m', '128', '-nodefaults', '-display', 'none', '-no-reboot'],
      ...['-device', 'isa-debug-exit,iobase=0xf4,iosize=4', '-debugcon', 'stdio', '-serial', 'none'],
      ...['-kernel', join(builtDirectory, elfName(guest, variant)), '-append', `marks=1 repeat=${limits.calls}`],
    ];
    const began = performance.now();
    let ended = false;
    let finish = () => {};
    let child = 0;
    const marks = new CallMarks(
      () => ({ millis: performance.now(), cpuMillis: processorMillis(child) }),
      (call) => {
        if (!isEnough(limits, call, (performance.now() - began) / 1000)) return;
        ended = true;
        finish();
      },
    );
    const { status, output } = await runChild(qemuFor(variant), args, limits.timeout, (bytes, end, pid) => {
      [finish, child] = [end, pid];
      for (const byte of bytes) marks.take(byte);
    });
    if (!ended && status !== 1) throw new Error(`status ${status} after "${output.slice(-40)}"`);
    return marks.calls.map(({ start, end }) => ({
      ...callBetween(start, end),
      ...(Number.isNaN(end.cpuMillis - start.cpuMillis) ? { cpuSeconds: null } : {}),
    }));
  },
};
