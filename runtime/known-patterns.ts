/** The patterns of instructions that come with the build, for whoever makes a VM. */
import { type KnownPatterns, readPatterns } from '../src/execute/known-patterns.ts';
import type { Host } from './hosts/host.ts';

/** Null where there are none, or they are of other sources: then each machine learns them by itself. */
export async function knownPatterns(host: Host): Promise<KnownPatterns | null> {
  try {
    const [bytes, identity] = await Promise.all([host.readArtifact('patterns.bin'), host.translatorIdentity()]);
    return readPatterns(bytes, identity);
  } catch {
    return null; // a build without them
  }
}
