/** What a machine learns of a peer when it connects: the version that both speak, and the device's regions and lines. */
import { RemoteError } from '../errors.ts';
import type { Connection } from './connection.ts';
import * as wire from './messages.ts';

/** Regions and lines that a peer may claim to have. */
const mostRegions = 64;
export const mostLines = 4096;

export interface PeerDescription {
  readonly capabilities: wire.Capabilities;
  readonly regions: readonly wire.RegionInfo[];
  /** Interrupt lines. */
  readonly lines: number;
  /** It can be reset. */
  readonly resets: boolean;
}

/**
 * Agrees with a peer on a version and asks what it has.
 * @param maxTransfer largest transfer in one message that this side takes, in bytes
 * @throws RemoteError (as a rejection) `unsupported-version`, `bad-message`, or what ended the connection
 */
export async function describePeer(connection: Connection, maxTransfer: number): Promise<PeerDescription> {
  const { Command } = wire;
  const proposed: wire.Version = {
    major: 0,
    minor: 1,
    capabilities: {
      maxDataXferSize: maxTransfer,
      maxDmaMaps: 65535,
      pageSizes: 4096,
      writeMultiple: true,
      irqMessages: true,
    },
  };
  const version = wire.decodeVersion(await connection.request(Command.VERSION, wire.encodeVersion(proposed)));
  if (version.major !== 0 || version.minor > 1)
    throw new RemoteError('unsupported-version', `version ${version.major}.${version.minor}: here is 0.1`);
  const info = wire.decodeDeviceInfo(
    await connection.request(Command.DEVICE_GET_INFO, wire.encodeDeviceInfo({ flags: 0, regions: 0, irqs: 0 })),
  );
  if (info.regions > mostRegions) throw new RemoteError('bad-message', `a device with ${info.regions} regions`);
  const regions: wire.RegionInfo[] = [];
  for (let index = 0; index < info.regions; index++) {
    const request = wire.encodeRegionInfo({ flags: 0, index, size: 0 });
    const region = wire.decodeRegionInfo(await connection.request(Command.DEVICE_GET_REGION_INFO, request));
    if (region.index !== index) throw new RemoteError('bad-message', `region ${region.index} instead of ${index}`);
    regions.push(region);
  }
  let lines = 0;
  if (info.irqs > 0) {
    const request = wire.encodeIrqInfo({ flags: 0, index: 0, count: 0 });
    lines = wire.decodeIrqInfo(await connection.request(Command.DEVICE_GET_IRQ_INFO, request)).count;
    if (lines > mostLines) throw new RemoteError('bad-message', `a device with ${lines} interrupt lines`);
  }
  const resets = (info.flags & wire.DEVICE_FLAGS_RESET) !== 0;
  return { capabilities: version.capabilities, regions, lines, resets };
}
