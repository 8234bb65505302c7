/** Where things stand in a VM's memory: what translations, which hold addresses, have in common with the VM. */

/** Address of the first vCPU's block, a multiple of a look-aside table's size as every block's is (jit/probe.ts). */
export const cpuBase = 0x80000;
