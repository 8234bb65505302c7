/** Where things stand in a VM's memory: what translations, which hold addresses, have in common with the VM. */

/** Address of the first vCPU's block. */
export const cpuBase = 0x10000;
