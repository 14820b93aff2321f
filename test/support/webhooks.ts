// Webhooks on a database of their own: endpoints, the writing of deliveries, and rounds that the test asks for.
import { sql } from 'kysely';
import type { IntegrationEvent } from '../../src/domain/integration-event.ts';
import { newId } from '../../src/domain/ids.ts';
import { enqueueIntegrationEvent } from '../../src/integration/integration-outbox.ts';
import type { OutboxProcessor } from '../../src/outbox/relay.ts';
import { readSettings } from '../../src/platform/config.ts';
import type { Db } from '../../src/platform/database.ts';
import { createParts } from '../../src/processes/parts.ts';
import { createWebhooks } from '../../src/processes/webhooks.ts';
import { createAddressGuard, type Resolve } from '../../src/webhooks/address-guard.ts';
import { destinationOfEndpoint } from '../../src/webhooks/destination.ts';
import { createPostWebhook } from '../../src/webhooks/post-webhook.ts';
import { newSecret } from '../../src/webhooks/signature.ts';
import { createWebhookEndpoints, endpointsFor, type WebhookEndpoints } from '../../src/webhooks/webhook-endpoints.ts';
import { createTestDatabase } from './database.ts';
import { integrationEvent } from './integration-events.ts';
import { lookAgain } from './relays.ts';

export const tenantId = 'acme';

export type TestEndpoint = Readonly<{ id: string; destination: string; secret: string }>;
export type Webhooks = Readonly<{
  /** Of the database. */
  url: string;
  db: Db;
  endpoints: WebhookEndpoints;
  add(url: string, wishes?: Readonly<{ events?: readonly string[]; tenantId?: string }>): Promise<TestEndpoint>;
  /** Translated now, as the bus' handler does. @returns the events, of one aggregate, in their order */
  publish(aggregateId: string, sequences: readonly number[]): Promise<readonly IntegrationEvent[]>;
  send(event: IntegrationEvent): Promise<void>;
  /** With another pair of hands on the network. */
  createLoop(
    hands?: Readonly<{ timeoutMilliseconds?: number; resolve?: Resolve; allowPrivate?: boolean }>,
  ): OutboxProcessor;
  /** All that is due now. @returns how many deliveries were taken on */
  drain(): Promise<number>;
  stop(): Promise<void>;
}>;

export async function startWebhooks(): Promise<Webhooks> {
  const database = await createTestDatabase();
  const environment = { DATABASE_URL: database.url, TEMPORAL_ADDRESS: 'nowhere:1', LOG_LEVEL: 'silent' };
  const parts = createParts(readSettings('relay', environment), { role: 'test', runsLoops: false });
  const { db } = parts;
  const endpoints = createWebhookEndpoints(db);

  const createLoop: Webhooks['createLoop'] = ({ timeoutMilliseconds, resolve, allowPrivate = true } = {}) => {
    const guard = createAddressGuard({ allowPrivate, ...(resolve === undefined ? {} : { resolve }) });
    return createWebhooks(
      parts,
      createPostWebhook({ guard, ...(timeoutMilliseconds === undefined ? {} : { timeoutMilliseconds }) }),
    );
  };
  const loop = createLoop();

  async function send(event: IntegrationEvent): Promise<void> {
    await db.transaction().execute(async (tx) => {
      const { eventType, metadata } = event;
      const wanted = await endpointsFor(tx, { tenantId: metadata.tenantId ?? '', eventType });
      await enqueueIntegrationEvent(tx, event, wanted);
    });
  }

  return {
    url: database.url,
    db,
    endpoints,
    async add(url, { events = ['*'], tenantId: owner = tenantId } = {}) {
      const id = newId();
      const secret = await endpoints.create(owner, { id, url, events, secret: newSecret() });
      return { id, destination: destinationOfEndpoint(id), secret };
    },
    async publish(aggregateId, sequences) {
      const events = sequences.map((sequence) => integrationEvent({ aggregateId, sequence }));
      for (const event of events) await send(event);
      return events;
    },
    send,
    createLoop,
    drain: async () => await loop.processOutbox(),
    async stop() {
      await loop.stop();
      await parts.close();
      await database.drop();
    },
  };
}

export type DeliveryRow = Readonly<{
  id: string;
  state: 'pending' | 'dead' | 'done';
  attempts: number;
  last_error: string | null;
  /** Until the next attempt. */
  waitSeconds: number;
}>;

/** By their place in the aggregate. */
export async function deliveriesTo({ db }: Pick<Webhooks, 'db'>, destination: string): Promise<readonly DeliveryRow[]> {
  const { rows } = await sql<DeliveryRow>`
    select id, state, attempts, last_error, extract(epoch from next_attempt_at - now())::float8 as "waitSeconds"
    from outbox where destination = ${destination} order by aggregate_id, version`.execute(db);
  return rows;
}

/** The time until the next attempt passes at once: rows move, no clock does. */
export async function letWaitsPass({ db }: Pick<Webhooks, 'db'>, destination: string): Promise<void> {
  await sql`update outbox set next_attempt_at = now() where destination = ${destination} and state = 'pending'`.execute(
    db,
  );
  await lookAgain(db);
}

/** So does the pause that an endpoint has asked for. */
export async function letThrottlePass({ db }: Pick<Webhooks, 'db'>, id: string): Promise<void> {
  await sql`update webhook_endpoints set throttled_until = now() where id = ${id}::uuid`.execute(db);
}
