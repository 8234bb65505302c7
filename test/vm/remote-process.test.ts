/** The remote suite with the device in another process, at a Unix socket. */
import { describe } from 'node:test';
import { otherProcess } from './remote-places.ts';
import { remote, remoteSuite } from './remote-suite.ts';

describe('waiting', () => remoteSuite('other process', async () => remote(await otherProcess(true))));
describe('not waiting', () => remoteSuite('other process, not waiting', async () => remote(await otherProcess(false))));
