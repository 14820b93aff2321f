// Relays in the test's process, over a destination that the test writes: what arrived, in which order, how often.
import { sql } from 'kysely';
import type { StoredEvent } from '../../src/domain/event.ts';
import {
  delivered,
  type Backoff,
  type Deliver,
  type Delivery,
  type DeliveryOutcome,
} from '../../src/outbox/delivery.ts';
import { createRelay, type OutboxProcessor } from '../../src/outbox/relay.ts';
import type { ListenerPace } from '../../src/outbox/listener.ts';
import { createWakeUp, type WakeUp } from '../../src/outbox/wake-up.ts';
import type { Db } from '../../src/platform/database.ts';
import { createLogBook, type EventLog } from './event-log.ts';

export type Arrival = Readonly<{ aggregateId: string; version: number; attempts: number }>;

export type TestRelay = Readonly<{
  relay: OutboxProcessor;
  wakeUp: WakeUp;
  logged: readonly string[];
  /** What of it a person should see. */
  warnings: readonly string[];
  /** Of the loop, between two rounds with nothing to do: whether it was poked before its time. */
  waits: { poked: boolean }[];
  stop(): Promise<void>;
}>;

export type TestRelayOptions = Readonly<{
  deliver: (delivery: Delivery) => Promise<DeliveryOutcome | void>;
  begin?: () => Promise<Deliver>;
  destination?: string;
  afterDeadLetter?: 'block' | 'continue';
  mostAttempts?: number;
  concurrency?: number;
  backoff?: Backoff;
  /** Listens for other processes' commits. */
  listens?: boolean;
  /** Through a proxy, for instance. */
  listenUrl?: string;
  listenerPace?: ListenerPace;
}>;

export function createTestRelay(log: EventLog, options: TestRelayOptions): TestRelay {
  const { logger, lines, warnings } = createLogBook();
  const waits: { poked: boolean }[] = [];
  const wakeUp = createWakeUp({
    db: log.db,
    logger,
    listenUrl: options.listenUrl ?? (options.listens === true ? log.url : undefined),
    ...(options.listenerPace === undefined ? {} : { listenerPace: options.listenerPace }),
  });
  const relay = createRelay({
    db: log.db,
    wakeUp: {
      ...wakeUp,
      async wait(milliseconds, signal, mark) {
        await wakeUp.wait(milliseconds, signal, mark);
        waits.push({ poked: wakeUp.mark() !== mark });
      },
    },
    logger,
    decode: (row) => log.codec.decode(row),
    policy: {
      destination: options.destination ?? 'left',
      deliver: async (delivery) => (await options.deliver(delivery)) ?? delivered,
      ...(options.begin === undefined ? {} : { begin: options.begin }),
      afterDeadLetter: options.afterDeadLetter ?? 'continue',
      mostAttempts: options.mostAttempts ?? 10,
      concurrency: options.concurrency ?? 5,
      ...(options.backoff === undefined ? {} : { backoff: options.backoff }),
    },
  });
  return {
    relay,
    wakeUp,
    logged: lines,
    warnings,
    waits,
    async stop() {
      await relay.stop();
      await wakeUp.close();
    },
  };
}

export const arrivalOf = ({ event, attempts }: Delivery): Arrival => ({
  aggregateId: event.aggregateId,
  version: event.version,
  attempts,
});

export const versionsOf = (
  events: readonly StoredEvent[] | readonly Arrival[],
  aggregateId: string,
): readonly number[] => events.filter((event) => event.aggregateId === aggregateId).map((event) => event.version);

/** After rows of the outbox were changed by hand: lanes are due now, unless a dead letter blocks them. */
export async function lookAgain(db: Db): Promise<void> {
  await sql`update outbox_lanes set due_at = now(), changes = changes + 1 where due_at < 'infinity'`.execute(db);
}
