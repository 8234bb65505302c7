/** An initial RAM disk for Linux, as the archive (cpio, "newc") that the kernel unpacks: busybox and a script. */

export interface ArchiveEntry {
  readonly path: string;
  /** File type and permissions, as stat(2) has them. */
  readonly mode: number;
  /** A file's content, a link's target. */
  readonly content?: Uint8Array;
  /** Of a device node. */
  readonly device?: readonly [major: number, minor: number];
}

const directory = 0o040755;
const executable = 0o100755;
const symbolicLink = 0o120777;
const characterDevice = 0o020600;

/** The archive of some entries; parents must stand before what is in them. */
export function archive(entries: readonly ArchiveEntry[]): Uint8Array {
  const parts: Uint8Array[] = [];
  let length = 0;
  const put = (bytes: Uint8Array) => {
    parts.push(bytes, new Uint8Array((4 - (bytes.length & 3)) & 3));
    length += (bytes.length + 3) & ~3;
  };
  const encoder = new TextEncoder();
  const add = ({ path, mode, content = new Uint8Array(), device = [0, 0] }: ArchiveEntry, inode: number) => {
    const name = `${path}\0`;
    const fields = [inode, mode, 0, 0, 1, 0, content.length, 0, 0, device[0], device[1], name.length, 0];
    put(encoder.encode(`070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}${name}`));
    put(content);
  };
  for (const [index, entry] of entries.entries()) add(entry, index + 1);
  add({ path: 'TRAILER!!!', mode: 0 }, 0);
  const made = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    made.set(part, at);
    at += part.length;
  }
  return made;
}

/** A root file system: busybox with links for some of its commands, a console, and the script that the kernel starts. */
export function busyboxRoot(busybox: Uint8Array, commands: readonly string[], script: string): Uint8Array {
  const encoder = new TextEncoder();
  return archive([
    ...['bin', 'dev', 'proc', 'sys', 'tmp'].map((path) => ({ path, mode: directory })),
    { path: 'dev/console', mode: characterDevice, device: [5, 1] },
    { path: 'bin/busybox', mode: executable, content: busybox },
    ...commands.map((name) => ({
      path: `bin/${name}`,
      mode: symbolicLink,
      content: encoder.encode('busybox'),
    })),
    { path: 'init', mode: executable, content: encoder.encode(script) },
  ]);
}
