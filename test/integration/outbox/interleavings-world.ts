// What all runs of the interleavings share: a database whose clock stands still, and the handlers behind two destinations.
import { InMemoryEventBus } from '../../../src/bus/in-memory-event-bus.ts';
import { logStart, type LogCursor } from '../../../src/event-store/log-cursor.ts';
import { connectDatabase, type Db } from '../../../src/platform/database.ts';
import { recordEffect, tableOfEffects } from '../../support/effects.ts';
import { startEventLog, thingRoutes, type EventLog } from '../../support/event-log.ts';
import { stopClock } from '../../support/stopped-clock.ts';
import type { Policies } from './interleavings-model.ts';

export const policies: Policies = { left: 'continue', right: 'block' };
export const mostAttempts = 3;

export type World = {
  readonly log: EventLog;
  readonly buses: ReadonlyMap<string, InMemoryEventBus>;
  /** Events whose next handler fails. */
  readonly failing: Set<string>;
  /** Where the run before this one ended. */
  logEnd: LogCursor;
  runs: number;
};

export async function startWorld(): Promise<World> {
  const log = await startEventLog({ prepare: stopClock });
  await tableOfEffects.execute(log.db);
  const failing = new Set<string>();
  const buses = new Map<string, InMemoryEventBus>();
  for (const destination of Object.keys(policies)) {
    const bus = new InMemoryEventBus({ db: log.db });
    for (const eventType of Object.keys(thingRoutes)) {
      bus.subscribe(
        eventType,
        async (event, context) => {
          await recordEffect(destination, event, context);
          // With its effect and its inbox row written.
          if (failing.delete(event.eventId)) throw new Error('not this time');
        },
        { name: destination },
      );
    }
    buses.set(destination, bus);
  }
  return { log, failing, buses, logEnd: logStart, runs: 0 };
}

export const connectAs = ({ url }: EventLog, applicationName: string): Db =>
  connectDatabase({ url, poolSize: 2, applicationName, onIdleError: () => undefined });
