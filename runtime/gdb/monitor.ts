/** gdb's `monitor` commands. */
import type { Vcpu } from '../vm/vcpu.ts';

/** What they switch. */
export interface MonitorSettings {
  /** A step can lead into an interrupt's handler. */
  stepInterrupts: boolean;
}

const help = `help                        this list
info                        where each vCPU is
step-interrupts on|off      whether a single step can lead into an interrupt's handler (off)
`;

const hex = (value: bigint): string => `0x${value.toString(16)}`;

/** Runs a command; its output. */
export function runMonitor(line: string, vcpus: readonly Vcpu[], settings: MonitorSettings): string {
  const [command = '', ...rest] = line.trim().split(/\s+/);
  switch (command) {
    case 'help':
    case '':
      return help;
    case 'info':
      return vcpus
        .map(({ fields, cpu }, i) => {
          const { processor } = cpu;
          const selector = fields.get32('csSelector').toString(16).padStart(4, '0');
          const rip = `cs:rip ${selector}:${hex(fields.get64('rip'))}`;
          return `vCPU ${i}: ${rip}, linear ${hex(BigInt.asUintN(64, fields.get64('csBase') + fields.get64('rip')))}, cpl ${processor.cpl}, cr3 ${hex(fields.get64('cr3'))}\n`;
        })
        .join('');
    case 'step-interrupts':
      if (rest[0] === 'on' || rest[0] === 'off') {
        settings.stepInterrupts = rest[0] === 'on';
        return '';
      }
      return `step-interrupts: ${rest[0] ?? 'nothing'} is neither on nor off\n`;
    default:
      return `unknown command ${command}; try "monitor help"\n`;
  }
}
