// Users whose verification has no end, and no run that would come to one.
import { sql, type RawBuilder } from 'kysely';
import type { CatalogueEvent } from '../domain/catalogue.ts';
import type { StoredEvent } from '../domain/event.ts';
import { verifyAddressId, type VerificationLimits } from '../domain/user-verification.ts';
import type { EventStore } from '../event-store/event-store.ts';
import type { Db } from '../platform/database.ts';
import { verifyAddressStart } from '../sagas/verify-address-routes.ts';
import type { Comparison, Scope } from './difference.ts';
import { findLost, type LostRunDeps, type Wanted, type WantedRun } from './lost-run.ts';
import { readStartEvents, type StartEvent } from './start-events.ts';

export type VerificationComparisonDeps = LostRunDeps &
  Readonly<{ db: Db; store: EventStore; verification: VerificationLimits }>;

/**
 * The new run counts its time from its start. Its reminders have the ids of the first one's: what was said is not said
 * again.
 */
export const compareVerifications = (deps: VerificationComparisonDeps): Comparison =>
  async function* find(scope) {
    yield* findLost(deps, readWanted(deps, scope), scope);
  };

/** What brings an address, the run that verifies it, and where the address stands. */
const starts = [
  {
    eventType: 'user.created',
    workflowId: sql<string>`${verifyAddressId('')} || started.aggregate_id`,
    address: sql`started.payload ->> 'email'`,
  },
  {
    eventType: 'user.email_updated',
    workflowId: sql<string>`${verifyAddressId('')} || started.aggregate_id || '-' || started.id`,
    address: sql`started.payload ->> 'newEmail'`,
  },
] as const;

/**
 * Users who were there before the saga was have neither a start nor a delivery, and get none now. An address that was
 * changed since is nobody's to verify.
 */
const isOpen = (address: RawBuilder<unknown>) => sql<boolean>`(
  saga_starts.workflow_id is not null
  or exists (select from outbox where outbox.id = started.id and outbox.destination = 'temporal'))
  and not exists (
    select from events ended
    where ended.aggregate_id = started.aggregate_id and ended.version > started.version
      and (ended.event_type = 'user.email_updated'
        or ended.event_type in ('user.verification_expired', 'user.email_verified')
          and ended.payload ->> 'email' = ${address}))`;

async function* readWanted(deps: VerificationComparisonDeps, scope: Scope): AsyncGenerator<readonly WantedRun[]> {
  for (const { eventType, workflowId, address } of starts) {
    const takesSeconds = deps.verification.expirySeconds;
    const pages = readStartEvents(deps.db, { eventType, workflowId, isOpen: isOpen(address), takesSeconds }, scope);
    for await (const page of pages) yield page.map((row) => wantedBy(deps, row));
  }
}

const wantedBy = (deps: VerificationComparisonDeps, row: StartEvent): WantedRun => ({
  kind: 'verification-gone',
  workflowId: row.workflowId,
  aggregateId: row.aggregateId,
  ids: { user: row.aggregateId, workflow: row.workflowId, tenant: row.tenantId },
  repairs: row.repairs,
  // Whoever has cancelled it in Temporal wanted no more reminders.
  mayEndSilently: true,
  look: async () => await look(deps, row),
});

async function look(
  { store, verification }: VerificationComparisonDeps,
  { aggregateId, eventId }: StartEvent,
): Promise<Wanted | undefined> {
  const stream = (await store.getEvents(aggregateId)) as readonly StoredEvent<CatalogueEvent>[];
  const brought = stream.find((event) => event.eventId === eventId);
  if (brought?.eventType !== 'user.created' && brought?.eventType !== 'user.email_updated') return undefined;
  const email = brought.eventType === 'user.created' ? brought.payload.email : brought.payload.newEmail;
  const hasEnded = stream.some(
    (event) =>
      event.version > brought.version &&
      (event.eventType === 'user.email_updated' ||
        ((event.eventType === 'user.verification_expired' || event.eventType === 'user.email_verified') &&
          event.payload.email === email)),
  );
  if (hasEnded) return undefined;
  return {
    is: 'the address is neither verified nor expired',
    right: 'another run brings the verification to its end',
    eventId,
    request: verifyAddressStart(brought, verification),
  };
}
