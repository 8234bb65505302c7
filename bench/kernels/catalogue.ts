/** Debian's kernels and where `.ci/kernels` has put them. */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export interface Kernel {
  /** Debian's name of the flavour. */
  readonly name: '686' | '686-pae' | 'amd64' | 'cloud-amd64';
  readonly architecture: 'i386' | 'amd64';
  /** What `uname -m` says. */
  readonly machine: 'i686' | 'x86_64';
}

export const kernels: readonly Kernel[] = [
  { name: '686', architecture: 'i386', machine: 'i686' },
  { name: '686-pae', architecture: 'i386', machine: 'i686' },
  { name: 'amd64', architecture: 'amd64', machine: 'x86_64' },
  { name: 'cloud-amd64', architecture: 'amd64', machine: 'x86_64' },
];

const folder = new URL(process.env.JIT86_KERNELS ?? '../../.cache/kernels/', import.meta.url);
const pathOf = (name: string) => fileURLToPath(new URL(name, folder));

export const kernelPath = ({ name }: Kernel): string => pathOf(`vmlinuz-${name}`);
export const busyboxPath = ({ architecture }: Kernel): string => pathOf(`busybox-${architecture}`);

/** Why a kernel cannot be booted here; null if it can. */
export function missing(kernel: Kernel): string | null {
  const absent = [kernelPath(kernel), busyboxPath(kernel)].find((path) => !existsSync(path));
  return absent === undefined
    ? null
    : `no ${absent}: .ci/kernels .cache/kernels fetches it where Debian can be reached`;
}
