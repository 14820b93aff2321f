import { expect, test } from 'vitest';
import { jobCatalogue } from '../../../src/domain/job-catalogue.ts';
import { StartupError } from '../../../src/platform/startup-error.ts';
import { parseJobsCommand } from '../../../src/processes/jobs-command.ts';
import { parseOutboxCommand } from '../../../src/processes/outbox-command.ts';
import { parseSubscriptionsCommand } from '../../../src/processes/subscriptions-command.ts';
import { tableOf } from '../../../src/processes/table.ts';

const id = '01890000-0000-7000-8000-000000000000';
const all = { kind: 'list', destination: undefined, state: undefined, limit: 100, json: false };

test.each([
  ['list', all],
  ['list --json', { ...all, json: true }],
  ['list --destination bus --state dead --limit 5', { ...all, destination: 'bus', state: 'dead', limit: 5 }],
  ['list --state=pending', { ...all, state: 'pending' }],
  [`retry ${id} temporal`, { kind: 'retry', eventId: id, destination: 'temporal', json: false }],
  ['retry bus --all --json', { kind: 'retry', eventId: undefined, destination: 'bus', json: true }],
  [
    'resend integration-events --since 2026-01-31T12:00:00Z',
    { kind: 'resend', destination: 'integration-events', since: new Date('2026-01-31T12:00:00Z'), json: false },
  ],
  ['pause bus', { kind: 'hold', destination: 'bus', paused: true, json: false }],
  ['resume bus', { kind: 'hold', destination: 'bus', paused: false, json: false }],
])('outbox %s is understood', (line, command) => {
  expect(parseOutboxCommand(line.split(' '))).toEqual(command);
});

test.each([
  '',
  'look',
  'list bus',
  'list --all',
  'list --state done',
  'list --limit 0',
  'list --limit many',
  'list --destination nowhere',
  'list --tenant x',
  'retry',
  'retry bus',
  `retry ${id}`,
  'retry 17 bus',
  `retry ${id} nowhere`,
  `retry ${id} bus more`,
  `retry ${id} bus --all`,
  'retry bus --all --limit 3',
  'resend bus',
  'resend --since 2026-01-31T12:00:00Z',
  'resend nowhere --since 2026-01-31T12:00:00Z',
  'resend bus --since yesterday',
  'resend bus --since 2026-01-31T12:00:00',
  'pause bus --since 2026-01-31T12:00:00Z',
  'pause',
  'pause nowhere',
  'pause bus temporal',
  'pause bus --all',
])('outbox %s is refused in one line with the usage', (line) => {
  const parse = () => parseOutboxCommand(line === '' ? [] : line.split(' '));
  expect(parse).toThrow(StartupError);
  expect(parse).toThrow(/^[^\n]*usage: outbox list [^\n]*\.$/);
});

const allJobs = { kind: 'list', names: Object.keys(jobCatalogue), state: undefined, limit: 100, json: false };

test.each([
  ['list', allJobs],
  ['list --name refund --state dead --limit 5', { ...allJobs, names: ['refund'], state: 'dead', limit: 5 }],
  [`retry ${id} --json`, { kind: 'retry', jobId: id, json: true }],
  ['retry refund --all', { kind: 'retry-all', name: 'refund', json: false }],
])('jobs %s is understood', (line, command) => {
  expect(parseJobsCommand(line.split(' '))).toEqual(command);
});

test.each([
  '',
  'look',
  'list refund',
  'list --all',
  'list --name nothing',
  'list --state done',
  'list --limit 0',
  'retry',
  'retry refund',
  'retry nothing --all',
  `retry ${id} --all`,
  `retry ${id} more`,
  'retry refund --all --limit 3',
])('jobs %s is refused in one line with the usage', (line) => {
  const parse = () => parseJobsCommand(line === '' ? [] : line.split(' '));
  expect(parse).toThrow(StartupError);
  expect(parse).toThrow(/^[^\n]*usage: jobs list [^\n]*\.$/);
});

test.each([
  ['list', { kind: 'list', json: false }],
  ['rebuild orders.product-sales --json', { kind: 'rebuild', name: 'orders.product-sales', json: true }],
])('subscriptions %s is understood', (line, command) => {
  expect(parseSubscriptionsCommand(line.split(' '))).toEqual(command);
});

test.each(['', 'list all', 'rebuild', 'rebuild a b', 'rebuild a --now', 'reset a'])(
  'subscriptions %s is refused in one line with the usage',
  (line) => {
    const parse = () => parseSubscriptionsCommand(line === '' ? [] : line.split(' '));
    expect(parse).toThrow(StartupError);
    expect(parse).toThrow(/^[^\n]*usage: subscriptions list [^\n]*\.$/);
  },
);

test('a table has its columns below each other, and no blanks at the end of a line', () => {
  expect(
    tableOf(
      ['NAME', 'LAG'],
      [
        ['a', '12'],
        ['long-one', ''],
      ],
    ),
  ).toBe('NAME      LAG\na         12\nlong-one\n');
});
