// Runs the handlers of one event: each in its own transaction, isolated from the others, once where it has a name.
import { sql } from 'kysely';
import type { StoredEvent } from '../domain/event.ts';
import { handlerSeconds as defaultHandlerSeconds } from '../outbox/delivery-limits.ts';
import { enterInbox } from '../outbox/inbox.ts';
import { isDatabaseUnavailable, type Db } from '../platform/database.ts';
import { within } from '../platform/within.ts';
import type { EventHandler, Subscribable } from './event-bus.ts';

type Registration = Readonly<{ handler: EventHandler; name: string | undefined }>;

export type HandlerRegistry = Subscribable &
  Readonly<{
    /** @throws AggregateError that names every handler that failed; the others have run and committed. */
    handle(event: StoredEvent): Promise<void>;
  }>;

/** Told of each run of a handler, for metrics. Must not throw. `duplicate`: the inbox knew the event, nothing was run. */
export type HandlerObserver = (
  run: Readonly<{ handler: string; outcome: 'done' | 'duplicate' | 'failed'; seconds: number }>,
) => void;

export type HandlerRegistryDeps = Readonly<{
  db: Db;
  observe?: HandlerObserver | undefined;
  /** What a handler gets; then it has failed, and can write nothing more. */
  handlerSeconds?: number | undefined;
}>;

export function createHandlerRegistry(deps: HandlerRegistryDeps): HandlerRegistry {
  const { db, handlerSeconds = defaultHandlerSeconds, observe = () => undefined } = deps;
  const handlers = new Map<string, Set<Registration>>();

  async function run(registration: Registration, event: StoredEvent): Promise<void> {
    const begun = performance.now();
    const tell = (outcome: 'done' | 'duplicate' | 'failed'): void =>
      observe({ handler: labelOf(registration), outcome, seconds: (performance.now() - begun) / 1000 });
    try {
      tell((await runOnce(registration, event)) ? 'done' : 'duplicate');
    } catch (error) {
      tell('failed');
      throw error;
    }
  }

  /** @returns false where the inbox knows the event already */
  async function runOnce({ handler, name }: Registration, event: StoredEvent): Promise<boolean> {
    return await db.transaction().execute(async (tx) => {
      // The server's limit comes after ours, for a statement that does not end; it ends the connection with it. The
      // session's own limit is running since BEGIN, and only one that was switched off is set anew.
      const limit = `${(handlerSeconds + 1) * 1000}ms`;
      await sql`
        select set_config('transaction_timeout', '0', true), set_config('transaction_timeout', ${limit}, true),
               set_config('idle_in_transaction_session_timeout', ${limit}, true)`.execute(tx);
      if (name !== undefined && !(await enterInbox(tx, name, event.eventId))) return false;
      // A copy each, so that no handler sees what another did to it.
      const handling = Promise.resolve(handler(structuredClone(event), { tx }));
      await within(handlerSeconds * 1000, handling, () => new Error(`not settled within ${handlerSeconds} s`));
      return true;
    });
  }

  return {
    subscribe(eventType, handler, options = {}) {
      const registrations = handlers.get(eventType) ?? new Set();
      const taken = [...registrations].some(({ name }) => name !== undefined && name === options.name);
      if (taken) throw new TypeError(`${eventType} has a handler named ${options.name} already`);
      const registration: Registration = { handler, name: options.name };
      handlers.set(eventType, registrations.add(registration));
      return () => void registrations.delete(registration);
    },
    async handle(event) {
      const registrations = [...(handlers.get(event.eventType) ?? [])];
      const results = await Promise.allSettled(registrations.map(async (each) => await run(each, event)));
      const failures = results.flatMap((result, index) =>
        result.status === 'rejected'
          ? [{ handler: labelOf(registrations[index]), error: result.reason as unknown }]
          : [],
      );
      if (failures.length === 0) return;
      const names = failures.map((failure) => failure.handler).join(', ');
      const errors = failures.map((failure) => failure.error);
      throw new AggregateError(errors, `${failures.length} of ${registrations.length} handlers failed (${names})`);
    },
  };
}

/**
 * Whether a delivery failed only because the database was away, for each handler that failed: that says nothing against
 * the event, so it burns no attempt. One handler with a fault of its own, and the attempt counts.
 */
export const isNobodysFault = (error: unknown): boolean =>
  error instanceof AggregateError ? error.errors.every(isDatabaseUnavailable) : isDatabaseUnavailable(error);

/** For people; a handler without a name is called by that of its function. */
const labelOf = (registration: Registration | undefined): string =>
  registration?.name ?? (registration?.handler.name || 'unnamed');
