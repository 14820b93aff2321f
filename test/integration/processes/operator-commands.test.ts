// The operator's commands, beside relay and subscriptions that run: judged by the tables. One of each runs as a process
// of its own; that each does would take long.
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { newId } from '../../../src/domain/ids.ts';
import { stopAll, type Running } from '../../../src/platform/lifecycle.ts';
import { StartupError } from '../../../src/platform/startup-error.ts';
import { parseOutboxCommand, runOutboxCommand } from '../../../src/processes/outbox-command.ts';
import { startRelay } from '../../../src/processes/relay.ts';
import { parseSubscriptionsCommand, runSubscriptionsCommand } from '../../../src/processes/subscriptions-command.ts';
import { startSubscriptions } from '../../../src/processes/subscriptions.ts';
import { runMain } from '../../support/role-process.ts';
import { eventually, startSagaService, type SagaService } from '../../support/saga-service.ts';

let service: SagaService;
let running: readonly Running[];
beforeAll(async () => {
  service = await startSagaService({ worker: false, relay: false });
  running = [startRelay(service.parts), startSubscriptions(service.parts)];
});
afterAll(async () => {
  await stopAll(running);
  await service.stop();
});

const inItsProcess = async (line: string) =>
  await runMain(line.split(' '), { DATABASE_URL: service.environment['DATABASE_URL'] ?? '' });
async function run(line: string): Promise<string> {
  const [name, ...args] = line.split(' ');
  return name === 'outbox'
    ? await runOutboxCommand(service.parts.db, parseOutboxCommand(args))
    : await runSubscriptionsCommand(service.parts.db, parseSubscriptionsCommand(args));
}
const json = async (line: string): Promise<unknown> => JSON.parse(await run(`${line} --json`));

/** What no handler can do anything with: its order's id is none. */
async function appendHopeless(tenantId: string): Promise<string> {
  const [eventId, paymentId] = [newId(), newId()];
  const payload = { paymentId, orderId: 'no-id', amount: 1, currency: 'EUR', method: 'pm_ok' };
  const of = { aggregateId: paymentId, aggregateType: 'payment', occurredAt: new Date(), metadata: { tenantId } };
  await service.parts.store.append({ ...of, eventId, eventType: 'payment.completed', payload });
  return eventId;
}
async function deadLetter(tenantId: string): Promise<string> {
  await run('outbox pause bus');
  const eventId = await appendHopeless(tenantId);
  await sql`update outbox set attempts = 9 where id = ${eventId}`.execute(service.parts.db);
  await run('outbox resume bus');
  await untilState(eventId, 'dead');
  return eventId;
}
async function untilState(eventId: string, state: string): Promise<void> {
  await eventually(async () => {
    const rows = await service.parts.db.selectFrom('outbox').select('state').where('id', '=', eventId).execute();
    return rows[0]?.state === state ? true : undefined;
  });
}

const listing = z.object({
  deliveries: z.array(z.looseObject({ eventId: z.string(), state: z.string(), lastError: z.string().nullable() })),
  more: z.boolean(),
});

describe('outbox', () => {
  it('pauses a destination, lists dead letters of all tenants, sends one or all again, and the relay takes them up', async () => {
    const [mine, theirs] = [await deadLetter('default'), await deadLetter('acme')];
    const listed = await inItsProcess('outbox list --state dead');
    expect(listed).toMatchObject({ code: 0, stderr: '' });
    const table = listed.stdout.trimEnd().split('\n');
    expect(table).toHaveLength(3);
    expect(table[0]).toMatch(/^EVENT ID +DESTINATION +TYPE/);
    expect(table[1]).toMatch(new RegExp(`^${mine} +bus +payment.completed .* dead +10 .*orders.record-payment`));
    expect(listing.parse(await json('outbox list --destination bus'))).toMatchObject({
      deliveries: [
        { eventId: mine, state: 'dead', lastError: expect.stringContaining('invalid input syntax') as string },
        { eventId: theirs, state: 'dead' },
      ],
      more: false,
    });
    expect(listing.parse(await json('outbox list --limit 1'))).toMatchObject({
      deliveries: [{ eventId: mine }],
      more: true,
    });

    // The handler has done it by now: its inbox says so, and the delivery comes through.
    const handled = [mine, theirs].map((event_id) => ({ handler_name: 'orders.record-payment', event_id }));
    await service.parts.db.insertInto('inbox').values(handled).execute();
    expect(await run(`outbox retry ${mine} bus`)).toBe('1 dead letter of bus will be sent again.\n');
    await untilState(mine, 'done');
    expect(await json('outbox retry bus --all')).toEqual({ destination: 'bus', retried: 1 });
    await untilState(theirs, 'done');
    expect(await run('outbox list')).toBe('There is none.\n');

    await expect(run(`outbox retry ${mine} bus`)).rejects.toThrow(
      new StartupError(`Event ${mine} is no dead letter of bus.`),
    );
  });

  it('that is not understood says how in one line', async () => {
    const end = await runMain(['outbox', 'retry']);
    expect(end).toMatchObject({ code: 1, stdout: '' });
    expect(end.stderr).toMatch(/^usage: outbox list .*\n$/);
  });
});

describe('--help', () => {
  it('after a command prints its usage and asks for no setting, and before one the roles', async () => {
    const asked = [['outbox', '--help'], ['subscriptions', 'list', '-h'], ['reconcile', '--help'], ['--help']];
    const ends = await Promise.all(asked.map(async (args) => await runMain(args)));
    expect(ends).toMatchObject(
      [
        /^usage: outbox list .*\.\n$/,
        /^usage: subscriptions list .*\.\n$/,
        /^usage: node src\/main\.ts reconcile \[--repair\].*\.\n$/,
        /^usage: node src\/main\.ts ROLE, .*\.\n$/,
      ].map((usage) => ({ code: 0, stdout: expect.stringMatching(usage) as string, stderr: '' })),
    );
  });
});

describe('subscriptions', () => {
  it('lists the read models, and refuses one that is not there', async () => {
    const name = 'orders.product-sales';
    const caughtUp = z.object({
      subscriptions: z.tuple([
        z.object({ name: z.literal(name), lag: z.literal(0), replaying: z.literal(false), checkpoint: z.string() }),
      ]),
      neverRun: z.tuple([]),
    });
    await eventually(async () => caughtUp.safeParse(await json('subscriptions list')).data);
    expect(await run('subscriptions list')).toMatch(
      /^NAME +CHECKPOINT +LAG +REPLAYING\norders\.product-sales +\d+ +0 +no\n$/,
    );
    const end = await inItsProcess('subscriptions rebuild nothing');
    expect(end).toEqual({ code: 1, stdout: '', stderr: `There is no subscription nothing; there are ${name}.\n` });
  });
});
