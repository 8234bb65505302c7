/**
 * Kernels on processors of older models. `486` is not among them: Debian's kernel for i386 is built for processors with CMOV,
 * which that model does not have. It halts before it can say anything.
 */
import { workloads } from '../../bench/kernels/workload.ts';
import { type BootCase, testBoots } from './boot.ts';

const boots: readonly BootCase[] = [
  { kernel: '686', work: workloads.short, engine: 'auto', cpus: 1, cpu: 'pentium3' },
  { kernel: 'cloud-amd64', work: workloads.short, engine: 'auto', cpus: 1, cpu: 'core2' },
  { kernel: 'cloud-amd64', work: workloads.short, engine: 'auto', cpus: 1, cpu: 'x86-64-v2' },
  { kernel: 'cloud-amd64', work: workloads.short, engine: 'auto', cpus: 1, cpu: 'x86-64-v3' },
];

testBoots(boots);
