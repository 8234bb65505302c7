/** Debian's kernels for amd64: one does everything, the other the same with less of it. */
import { workloads } from '../../bench/kernels/workload.ts';
import { type BootCase, testBoots } from './boot.ts';

const boots: readonly BootCase[] = [
  { kernel: 'cloud-amd64', work: workloads.whole, engine: 'auto', cpus: 1 },
  { kernel: 'cloud-amd64', work: workloads.whole, engine: 'auto', cpus: 2 },
  { kernel: 'amd64', work: workloads.reduced, engine: 'auto', cpus: 1 },
  { kernel: 'amd64', work: workloads.reduced, engine: 'auto', cpus: 2 },
  { kernel: 'cloud-amd64', work: workloads.short, engine: 'interpreter', cpus: 1 },
];

testBoots(boots);
