/**
 * The files of the bundle that hold its code: each is a function, so that V8's code of it can be kept from one process to
 * another as it is after a run. What Node keeps of modules by itself is what V8 makes when it first sees them, nearly all of
 * whose functions would be parsed again when they are called.
 *
 * V8 takes code back only if its version, its flags and the length of the source are the same; that the source is the same
 * is told by the name that it ends with.
 */
import { accessSync, constants as fileAccess, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Script } from 'node:vm';

/** Characters of a name. */
const nameLength = 32;

/** A file that has been loaded. */
export interface KeptScript {
  /** What the file exports. */
  readonly exports: Promise<Readonly<Record<string, unknown>>>;
  /** V8 has taken the code that was kept beside it. */
  readonly isKnown: boolean;
  /** V8's code of what has been called so far, as a file to be kept beside it. */
  code(): Uint8Array;
  /** Leaves it there if the process may write to the folder, for processes of the same V8. */
  keep(): void;
}

/** The file of the code of a script. */
export const codeFile = (script: string): string => script.replace(/\.js$/, '.code');

/** Loads a file that {@link keptSource} has made. */
export function loadScript(path: string): KeptScript {
  const source = readFileSync(path, 'latin1');
  const name = source.slice(-nameLength);
  const cachedData = readCode(codeFile(path), name);
  const script = new Script(source, {
    filename: path,
    cachedData,
  });
  const code = () => Buffer.concat([Buffer.from(name, 'latin1'), script.createCachedData()]);
  return {
    exports: script.runInThisContext()(pathToFileURL(path).href, (url: string) => import(url)),
    isKnown: cachedData !== undefined && script.cachedDataRejected === false,
    code,
    keep() {
      try {
        accessSync(dirname(path), fileAccess.W_OK);
        const temporary = `${codeFile(path)}.${process.pid}.new`; // others read it at any time
        writeFileSync(temporary, code());
        renameSync(temporary, codeFile(path));
      } catch {
        // the next process parses what it needs, too
      }
    },
  };
}

function readCode(path: string, name: string): Buffer | undefined {
  try {
    const file = readFileSync(path);
    return file.toString('latin1', 0, nameLength) === name ? file.subarray(nameLength) : undefined;
  } catch {
    return undefined; // the build was cut short
  }
}

/**
 * A module as such a file. It imports nothing at first, and later only by whole URLs.
 *
 * @param module as esbuild writes it: it ends with its exports. It knows its URL as `moduleUrl`
 * @param name a hash of it
 * @throws Error if the module does not look like that, or has characters that are not Latin
 */
export function keptSource(module: string, name: string): string {
  const at = module.lastIndexOf('export{');
  const end = module.indexOf('};', at);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: all of ASCII
  if (at < 0 || end < 0 || /[^\x00-\x7f]/.test(module)) throw new Error('a bundle of another shape');
  const exported = module
    .slice(at + 'export{'.length, end)
    .split(',')
    .map((item) => item.split(' as '))
    .map(([here, there = here]) => `${there}:${here}`);
  // Such a file would be told that it has no way to do that.
  const body = module.slice(0, at).replace(/(?<![\w$.])import\(/g, 'importModule(');
  const comments = module.slice(end + 2);
  return `(async function(moduleUrl,importModule){${body}return{${exported}};})\n${comments}\n//${name.slice(0, nameLength).padEnd(nameLength)}`;
}
