// Events that start a saga, in pages: those whose start is done and whose saga may not have come to its end.
import { sql, type RawBuilder } from 'kysely';
import type { Db } from '../platform/database.ts';
import { inPages, type Scope } from './difference.ts';

export type StartEvent = Readonly<{
  key: string;
  eventId: string;
  aggregateId: string;
  tenantId: string;
  workflowId: string;
  repairs: number;
}>;

export type StartEvents = Readonly<{
  eventType: 'order.refund_requested' | 'user.created' | 'user.email_updated';
  /** Of columns of `started`, which is the event. */
  workflowId: RawBuilder<string>;
  /** Likewise, and of `saga_starts`: only a suspicion. */
  isOpen: RawBuilder<boolean>;
  /** How long such a saga may take by itself: it may be lost so much later than its event. */
  takesSeconds: number;
}>;

const first = '-infinity 00000000-0000-0000-0000-000000000000';

/** A start that is not delivered yet, or is a dead letter, is the relay's: it would start the first run. */
export async function* readStartEvents(
  db: Db,
  { eventType, workflowId, isOpen, takesSeconds }: StartEvents,
  scope: Scope,
): AsyncGenerator<readonly StartEvent[]> {
  const { graceSeconds, sinceHours } = scope;
  const seconds = sinceHours === undefined ? null : sinceHours * 3600 + takesSeconds;
  yield* inPages(scope, first, async (after, limit) => {
    const split = after.lastIndexOf(' ');
    const { rows } = await sql<StartEvent>`
      select started.occurred_at::text || ' ' || started.id as key, started.id as "eventId",
        started.aggregate_id as "aggregateId", started.tenant_id as "tenantId",
        ${workflowId} as "workflowId", coalesce(saga_starts.repairs, 0) as repairs
      from events started left join saga_starts on saga_starts.workflow_id = ${workflowId}
      where started.event_type = ${eventType}
        and (started.occurred_at, started.id) > (${after.slice(0, split)}::timestamptz, ${after.slice(split + 1)}::uuid)
        and (${seconds}::int is null or started.occurred_at > now() - make_interval(secs => ${seconds}::int))
        and started.created_at < now() - make_interval(secs => ${graceSeconds})
        and not exists (
          select from outbox
          where outbox.id = started.id and outbox.destination = 'temporal' and not outbox.published)
        and ${isOpen}
      order by started.occurred_at, started.id
      limit ${limit}`.execute(db);
    return rows;
  });
}
