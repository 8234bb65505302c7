/** Limits of the VM's memory that every generated module declares, in 64 KiB pages: any memory within them may be given. */
export const coreMemory = { initial: 1, maximum: 65536 } as const;
