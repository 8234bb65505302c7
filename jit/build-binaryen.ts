/**
 * For bundles: binaryen's package holds its WebAssembly as a string of 15 MB, which costs a thread 0.2-0.3 s to parse and
 * to decode, each time. In a bundle the module lies beside the script as a file. Run at build time.
 */
import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Plugin } from 'esbuild';
import { type DirectInvokes, invokeNames, withDirectInvokes } from './build-invokes.ts';

/** The name of the file beside the bundle. */
const fileName = 'binaryen.wasm';

/** How a page gets the module. */
const fetched = `const module = new Uint8Array(await (await fetch(new URL('${fileName}', import.meta.url))).arrayBuffer());
`;

/** A module with a custom section (WebAssembly 1.0, 5.5.3) that ends with sixteen bytes of its hash. */
function named(module: Uint8Array): Uint8Array {
  const name = createHash('sha256').update(module).digest().subarray(0, 16);
  return Buffer.concat([module, Uint8Array.of(0, 5 + name.length, 4), Buffer.from('hash'), name]);
}

/** A function that makes an instance of the module: with the functions that call its table, where they are known. */
function instantiating(direct: DirectInvokes | null): string {
  const instance = `const instance = async (module, imports) => {
      const made = await WebAssembly.instantiate(module, imports);
      return made.instance ?? made;
    };`;
  if (direct === null) return `${instance} export default (imports) => instance(module, imports);`;
  const { from, table, invokes } = direct;
  return `${instance}
    export default async (imports) => {
      const table = new WebAssembly.Table({ element: 'anyfunc', ...${JSON.stringify(table)} });
      const invokes = await instance(new Uint8Array([${invokes}]), { ${from}: { table } });
      return instance(module, { ${from}: { ...imports.${from}, ...invokes.exports, table } });
    };`;
}

/** The call that decodes the string, in the package's script: a function's name and a template literal. */
function findDecoder(script: string): { from: number; to: number; literal: string } | null {
  const match = /[\w$]+\((?=`(?:\\0|\0)asm)/.exec(script);
  if (match === null) return null;
  const start = match.index + match[0].length;
  let end = start + 1;
  while (script[end] !== '`') end += script[end] === '\\' ? 2 : 1;
  if (script[end + 1] !== ')') return null;
  return { from: match.index, to: end + 2, literal: script.slice(start, end + 1) };
}

/** The package hands bytes to `instantiate`, whose answer for a module is the instance alone. */
const instantiation = /return await WebAssembly\.instantiate\(\w+,(\w+)\)/;

/**
 * The package calls functions of its module by their numbers, of which it keeps a list that it fills as they come. The
 * first of them are high, so that V8 makes the list a hash table, which the writing of a module looks into 8,000 times.
 */
const functionList = /\b([\w$]+)=\[\](?=,[\w$]+=([\w$]+)=>\{var ([\w$]+)=\1\[\2\];return \3\|\|\(\1\[\2\]=\3=)/;
const listedFunctions = 16384;

/** The package writes a zero byte as U+00FF and leaves the others as they are. */
function decode(literal: string): Uint8Array {
  const text: string = new Function(`return ${literal}`)();
  // The package's own decoding: characters above 255 stand for 0.
  return Uint8Array.from(text, (character) => {
    const code = character.charCodeAt(0);
    return (~code >> 8) & code;
  });
}

/**
 * Moves the module out of a bundle that goes to `folder`. A package of another shape is bundled as it is.
 *
 * @param reader a script that makes `module` of the file beside the bundle
 */
export function binaryenBeside(folder: string, reader = fetched): Plugin {
  return {
    name: 'binaryen',
    setup(build) {
      build.onResolve({ filter: /^binaryen-module$/ }, () => ({ path: fileName, namespace: 'binaryen-module' }));
      let direct: DirectInvokes | null = null;
      build.onLoad({ filter: /.*/, namespace: 'binaryen-module' }, () => ({
        contents: reader + instantiating(direct),
        resolveDir: folder,
      }));
      build.onLoad({ filter: /[\\/]binaryen[\\/]index\.js$/ }, async ({ path }) => {
        const script = await readFile(path, 'utf8');
        const decoder = findDecoder(script);
        const call = instantiation.exec(script);
        const module = decoder === null ? null : decode(decoder.literal);
        if (decoder === null || call === null || module === null || !WebAssembly.validate(module as BufferSource))
          return null;
        direct = withDirectInvokes(module, invokeNames(script));
        await writeFile(join(folder, fileName), named(direct?.module ?? module));
        const rest = `${script.slice(0, decoder.from)}null${script.slice(decoder.to)}`
          .replace(call[0], `return{instance:await instantiateBinaryen(${call[1]})}`)
          .replace(functionList, `$1=Array(${listedFunctions})`);
        return { contents: `import instantiateBinaryen from 'binaryen-module';\n${rest}` };
      });
    },
  };
}
