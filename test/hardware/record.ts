/**
 * Records the hardware vectors anew: builds the oracle, runs it once per class on this machine's CPU (each vector twice, kept
 * when both runs agree) and writes `vectors/<class>.bin.br`.
 *
 *     node test/hardware/record.ts [class...]
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { brotliCompressSync, constants } from 'node:zlib';
import { oracleUnavailable, RECORDED, withOracle } from './oracle.ts';
import { openVectors } from './vectors.ts';

const reason = oracleUnavailable();
if (reason) {
  console.error(`record: ${reason}`);
  process.exit(2);
}
const asked = process.argv.slice(2);
const unknown = asked.find((cls) => !RECORDED.classes.includes(cls));
if (unknown !== undefined) {
  console.error(`record: unknown class ${unknown}`);
  process.exit(2);
}
const directory = new URL('vectors/', import.meta.url);
mkdirSync(directory, { recursive: true });
const totals = { vectors: 0, bytes: 0, compressed: 0 };
withOracle((run) => {
  for (const cls of asked.length > 0 ? asked : RECORDED.classes) {
    const bytes = run(cls, RECORDED.other[cls] ?? RECORDED.perForm);
    const { sections, forms } = openVectors(bytes);
    const compressed = brotliCompressSync(bytes, {
      params: {
        [constants.BROTLI_PARAM_QUALITY]: 11,
        [constants.BROTLI_PARAM_LGWIN]: 24,
        [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length,
      },
    });
    writeFileSync(new URL(`${cls}.bin.br`, directory), compressed);
    const vectors = sections.reduce((sum, section) => sum + section.count, 0);
    console.log(
      `${cls.padEnd(7)} ${String(forms.length).padStart(4)} forms ${String(vectors).padStart(7)} vectors ` +
        `${String(bytes.length).padStart(9)} bytes ${String(compressed.length).padStart(9)} compressed`,
    );
    totals.vectors += vectors;
    totals.bytes += bytes.length;
    totals.compressed += compressed.length;
  }
});
console.log(`total ${totals.vectors} vectors, ${totals.bytes} bytes, ${totals.compressed} compressed`);
