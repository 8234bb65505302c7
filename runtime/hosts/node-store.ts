/** Blobs as the files of a folder, written atomically; when they grow too many, those that were used last stay. */
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { BlobStore } from './host.ts';

/** Bytes that a folder may hold. */
const folderBytes = 256 * 2 ** 20;
const suffix = '.jit86';
/** A file that a process left half written is older than this. */
const abandonedMillis = 3_600_000;

/** Makes room for new bytes: the files that were used longest ago go. */
function trim(folder: string, room: number): void {
  const files = readdirSync(folder)
    .filter((name) => name.endsWith(suffix) || name.endsWith('.new'))
    .flatMap((name) => {
      try {
        const { size, mtimeMs } = statSync(join(folder, name));
        return [{ path: join(folder, name), size, used: mtimeMs, whole: name.endsWith(suffix) }];
      } catch {
        return []; // another process was quicker
      }
    })
    .sort((a, b) => b.used - a.used);
  let total = room;
  for (const { path, size, used, whole } of files) {
    if (whole) total += size;
    if (whole ? total > folderBytes : Date.now() - used > abandonedMillis) rmSync(path, { force: true });
  }
}

/** No other user can write to the folder, or it is not there yet. Where the system tells no owners: it is taken to be so. */
function isPrivate(folder: string): boolean {
  const user = process.getuid?.();
  if (user === undefined) return true;
  try {
    const { uid, mode } = statSync(folder);
    return uid === user && (mode & 0o022) === 0;
  } catch {
    return true;
  }
}

/** The folder is made when something is first written. */
export function folderStore(folder: string): BlobStore {
  const pathOf = (name: string) => join(folder, `${name}${suffix}`);
  return {
    isPrivate: isPrivate(folder),
    async isEmpty() {
      try {
        return !readdirSync(folder).some((name) => name.endsWith(suffix));
      } catch {
        return true;
      }
    },
    async read(name) {
      try {
        const bytes = readFileSync(pathOf(name));
        const now = new Date();
        utimesSync(pathOf(name), now, now);
        return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
      } catch {
        return undefined;
      }
    },
    async write(name, bytes) {
      mkdirSync(folder, { recursive: true, mode: 0o700 });
      // Unique among the processes that write now; `node:crypto` would cost the start of every run.
      const unique = `${process.pid}-${Math.floor(Math.random() * 2 ** 48).toString(36)}`;
      const temporary = join(folder, `${name}.${unique}.new`);
      try {
        writeFileSync(temporary, bytes);
        renameSync(temporary, pathOf(name));
      } catch (error) {
        rmSync(temporary, { force: true });
        throw error;
      }
      trim(folder, 0);
    },
  };
}
