/** Makes the patterns of instructions that come with the build (src/execute/known-patterns.ts). Run at build time. */
import { readFileSync, writeFileSync } from 'node:fs';
import { writePatterns } from '../../src/execute/known-patterns.ts';
import { learnPatterns, readList } from '../../src/execute/learn-patterns.ts';

/** @param identity names the sources that make them */
export function buildPatterns(list: string, out: string, identity: string): void {
  writeFileSync(out, writePatterns(learnPatterns(readList(readFileSync(list, 'utf8'))), identity));
}
