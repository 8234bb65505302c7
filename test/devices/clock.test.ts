import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HostClock, VirtualClock } from '../../runtime/devices/clock.ts';

test('alarms of a virtual clock ring in order, each seeing its own time', () => {
  const clock = new VirtualClock();
  const rung: [string, number][] = [];
  const late = clock.alarm(() => rung.push(['late', clock.now()]));
  const early = clock.alarm(() => rung.push(['early', clock.now()]));
  late.set(300);
  early.set(100);
  assert.equal(clock.nextDeadline(), 100);
  clock.advanceTo(99);
  assert.deepEqual(rung, []);
  clock.advanceTo(1000);
  assert.deepEqual(rung, [
    ['early', 100],
    ['late', 300],
  ]);
  assert.equal(clock.now(), 1000);
  assert.equal(clock.nextDeadline(), Number.POSITIVE_INFINITY);
});

test('a periodic alarm rings once per period in one step of virtual time', () => {
  const clock = new VirtualClock();
  let count = 0;
  const tick = clock.alarm(() => {
    count++;
    tick.set(clock.now() + 10);
  });
  tick.set(10);
  clock.advanceTo(105);
  assert.equal(count, 10);
  assert.equal(tick.deadline, 110);
});

test('alarms due at the same time ring in the order they were made', () => {
  const clock = new VirtualClock();
  const rung: number[] = [];
  const alarms = [0, 1, 2].map((index) => clock.alarm(() => rung.push(index)));
  for (const alarm of alarms.toReversed()) alarm.set(5);
  clock.advanceTo(5);
  assert.deepEqual(rung, [0, 1, 2]);
});

test('a cancelled alarm is silent and a moved one rings once', () => {
  const clock = new VirtualClock();
  let count = 0;
  const one = clock.alarm(() => count++);
  one.set(5);
  one.cancel();
  clock.advanceTo(10);
  assert.equal(count, 0);
  one.set(20);
  one.set(30);
  clock.advanceTo(25);
  assert.equal(count, 0);
  clock.advanceTo(50);
  assert.equal(count, 1);
});

test('virtual time refuses to go back, and NaN', () => {
  const clock = new VirtualClock();
  clock.advanceTo(10);
  assert.throws(() => clock.advanceTo(9), /from 10 to 9/);
  assert.throws(() => clock.advanceTo(Number.NaN), /NaN/);
  assert.throws(() => clock.alarm(() => {}).set(Number.NaN), /NaN/);
});

test('a host clock starts at zero, follows its source and never goes back', () => {
  let source = 1e15;
  const clock = new HostClock(() => source);
  assert.equal(clock.now(), 0);
  source += 500;
  assert.equal(clock.now(), 500);
  source -= 200;
  assert.equal(clock.now(), 500);
});

test('a host clock rings what is due, and an alarm that lags behind only once a call', () => {
  let source = 0;
  const clock = new HostClock(() => source);
  let count = 0;
  const lagging = clock.alarm(() => {
    count++;
    lagging.set(1);
  });
  lagging.set(1);
  clock.runDue();
  assert.equal(count, 0);
  source = 100;
  clock.runDue();
  assert.equal(count, 1);
  clock.runDue();
  assert.equal(count, 2);
});
