/** The remote suite without another thread: the device itself, behind messages, behind Web Streams and a WebSocket. */
import { describe } from 'node:test';
import { sameThread, webSocket, webStreams } from './remote-places.ts';
import { commonSuite, direct, remote, remoteSuite } from './remote-suite.ts';

describe('direct', () => commonSuite('the device itself', direct));
describe('messages', () => remoteSuite('messages in one thread', async () => remote(await sameThread())));
describe('streams', () => remoteSuite('Web Streams', async () => remote(await webStreams())));
describe('web socket', () => remoteSuite('WebSocket', async () => remote(await webSocket())));
