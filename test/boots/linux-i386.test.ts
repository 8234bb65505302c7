/** Debian's kernels for i386: one does everything, the other the same with less of it. */
import { workloads } from '../../bench/kernels/workload.ts';
import { type BootCase, testBoots } from './boot.ts';

const boots: readonly BootCase[] = [
  { kernel: '686-pae', work: workloads.whole, engine: 'auto', cpus: 1 },
  { kernel: '686-pae', work: workloads.whole, engine: 'auto', cpus: 2 },
  { kernel: '686', work: workloads.reduced, engine: 'auto', cpus: 1 },
  { kernel: '686', work: workloads.reduced, engine: 'auto', cpus: 2 },
  { kernel: '686', work: workloads.short, engine: 'interpreter', cpus: 1 },
];

testBoots(boots);
