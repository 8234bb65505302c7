/** Blobs in an IndexedDB database; when they grow too many, those that were written last stay. */
import type { BlobStore } from './host.ts';

const blobs = 'blobs';
/** Bytes that a database may hold. */
const databaseBytes = 256 * 2 ** 20;

interface Row {
  readonly bytes: Uint8Array;
  readonly written: number;
}

function settled<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((done, fail) => {
    request.onsuccess = () => done(request.result);
    request.onerror = () => fail(request.error);
  });
}

function opened(name: string): Promise<IDBDatabase> {
  const request = indexedDB.open(name, 1);
  request.onupgradeneeded = () => request.result.createObjectStore(blobs);
  return settled(request);
}

async function withStore<T>(database: string, mode: IDBTransactionMode, use: (store: IDBObjectStore) => Promise<T>) {
  const open = await opened(database);
  try {
    const transaction = open.transaction(blobs, mode);
    const completed = new Promise<void>((done, fail) => {
      transaction.oncomplete = () => done();
      transaction.onabort = () => fail(transaction.error);
    });
    const result = await use(transaction.objectStore(blobs));
    await completed;
    return result;
  } finally {
    open.close();
  }
}

/** The database is made when it is first used. */
export function databaseStore(database: string): BlobStore {
  return {
    isPrivate: true,
    async isEmpty() {
      try {
        return (await withStore(database, 'readonly', (store) => settled(store.count()))) === 0;
      } catch {
        return true; // storage may be switched off
      }
    },
    async read(name) {
      try {
        const row: Row | undefined = await withStore(database, 'readonly', (store) => settled(store.get(name)));
        return row?.bytes;
      } catch {
        return undefined;
      }
    },
    async write(name, bytes) {
      await withStore(database, 'readwrite', async (store) => {
        await settled(store.put({ bytes, written: Date.now() } satisfies Row, name));
        const names = await settled(store.getAllKeys());
        const rows: Row[] = await settled(store.getAll());
        const newest = rows.map((row, i) => ({ name: names[i]!, row })).sort((a, b) => b.row.written - a.row.written);
        let total = 0;
        for (const { name: other, row } of newest) {
          total += row.bytes.length;
          if (total > databaseBytes) await settled(store.delete(other));
        }
      });
    },
  };
}
