/** The remote suite without another thread: the device itself, behind messages, and behind Web Streams. */
import { describe } from 'node:test';
import { sameThread, webStreams } from './remote-places.ts';
import { commonSuite, direct, remote, remoteSuite } from './remote-suite.ts';

describe('direct', () => commonSuite('the device itself', direct));
describe('messages', () => remoteSuite('messages in one thread', async () => remote(await sameThread())));
describe('streams', () => remoteSuite('Web Streams', async () => remote(await webStreams())));
