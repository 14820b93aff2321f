// Integration events in the outbox: one delivery per destination, each holding the event as it is published.
import { z } from 'zod';
import type { IntegrationEvent } from '../domain/integration-event.ts';
import { PermanentDeliveryError } from '../outbox/delivery.ts';
import { enqueueDeliveries } from '../outbox/enqueue-deliveries.ts';
import type { Tx } from '../platform/database.ts';
import type { EventRow } from '../platform/schema.ts';

/** What of the envelope has no column of its own. */
const metadataSchema = z.object({
  source: z.string(),
  tenantId: z.string().optional(),
  userId: z.string().optional(),
  correlationId: z.string().optional(),
  traceparent: z.string().optional(),
});

/**
 * Once per event and destination, however often it is called: what is there already is left as it is. Commits with `tx`.
 * What a relay delivers later is what was translated now, be there a newer translation meanwhile.
 * @param event `data` is an object; the event that it translates should be in the log, whose position the rows show
 * @param destinations in any order; none: nothing happens
 */
export async function enqueueIntegrationEvent(
  tx: Tx,
  event: IntegrationEvent,
  destinations: readonly string[],
): Promise<void> {
  if (destinations.length === 0) return;
  const stored = await tx
    .selectFrom('events')
    .select((eb) => eb.cast<string>('position', 'text').as('position'))
    .where('id', '=', event.eventId)
    .executeTakeFirst();
  await enqueueDeliveries(tx, rowOf(event, stored?.position ?? '0'), destinations);
}

/**
 * What `enqueueIntegrationEvent` wrote.
 * @throws PermanentDeliveryError for a row that it did not write
 */
export function readIntegrationEvent(row: EventRow): IntegrationEvent {
  const parsed = metadataSchema.safeParse(row.metadata);
  if (!parsed.success) {
    throw new PermanentDeliveryError(`${row.event_type} is no integration event: ${z.prettifyError(parsed.error)}`);
  }
  const { source, ...metadata } = parsed.data;
  return {
    eventId: row.id,
    eventType: row.event_type,
    version: row.schema_version,
    occurredAt: row.occurred_at,
    source,
    aggregateId: row.aggregate_id,
    aggregateType: row.aggregate_type,
    sequence: row.version,
    data: row.payload,
    metadata,
  };
}

const rowOf = (event: IntegrationEvent, position: string): EventRow => ({
  id: event.eventId,
  event_type: event.eventType,
  aggregate_id: event.aggregateId,
  aggregate_type: event.aggregateType,
  version: event.sequence,
  payload: event.data,
  metadata: { ...event.metadata, source: event.source },
  schema_version: event.version,
  occurred_at: event.occurredAt,
  position,
});
