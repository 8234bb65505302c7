/** The remote suite with the device on a worker thread. */
import { describe } from 'node:test';
import { workerThread } from './remote-places.ts';
import { remote, remoteSuite } from './remote-suite.ts';

describe('ring', () => remoteSuite('worker, shared memory', async () => remote(await workerThread(true))));
describe('lingering', () => remoteSuite('worker that lingers', async () => remote(await workerThread(true, 0.2))));
describe('port', () => remoteSuite('worker, messages alone', async () => remote(await workerThread(false))));
