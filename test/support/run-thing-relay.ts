// A program for the fault tests: relays for both destinations of the things, each with its named handler behind it, which
// hold around each delivery. A thing that is made to kill its process does that to the handler's.
import { InMemoryEventBus } from '../../src/bus/in-memory-event-bus.ts';
import { createEventCodec } from '../../src/event-store/event-codec.ts';
import { delivered, type Delivery } from '../../src/outbox/delivery.ts';
import { createRelay, type OutboxProcessor } from '../../src/outbox/relay.ts';
import { createWakeUp } from '../../src/outbox/wake-up.ts';
import { connectDatabase } from '../../src/platform/database.ts';
import { listenForStop, runUntilStopped } from '../../src/platform/lifecycle.ts';
import { createLogger } from '../../src/platform/logger.ts';
import { recordEffect } from './effects.ts';
import { killsItsProcess, things } from './event-log.ts';
import { passHold } from './hold-points.ts';

const stop = listenForStop();
const logger = createLogger({ level: 'info', role: 'relay' });
const url = process.env['DATABASE_URL'] ?? '';
const db = connectDatabase({ url, poolSize: 10, applicationName: 'thing-relay', onIdleError: () => undefined });
const wakeUp = createWakeUp({ db, logger, listenUrl: url });
const codec = createEventCodec(things);

function relayTo(destination: string, afterDeadLetter: 'block' | 'continue'): OutboxProcessor {
  const bus = new InMemoryEventBus({ db });
  for (const eventType of Object.keys(things)) {
    bus.subscribe(
      eventType,
      async (event, context) => {
        await recordEffect(destination, event, context);
        if (killsItsProcess(event)) process.exit(7);
      },
      { name: destination },
    );
  }
  const deliver = async ({ event }: Delivery): Promise<typeof delivered> => {
    const { aggregateId } = event;
    await passHold(aggregateId, 'before:publish');
    await bus.deliver(event);
    await passHold(aggregateId, 'after:publish');
    return delivered;
  };
  const policy = { destination, deliver, afterDeadLetter, mostAttempts: 3, concurrency: 5 };
  return createRelay({ db, wakeUp, logger, decode: (row) => codec.decode(row), policy });
}

const relays = [relayTo('left', 'continue'), relayTo('right', 'block')];
for (const relay of relays) relay.start();
logger.info('started');
await runUntilStopped(
  {
    async stop() {
      await Promise.all(relays.map(async (relay) => await relay.stop()));
      await wakeUp.close();
      await db.destroy();
    },
  },
  { stop, graceSeconds: Number(process.env['SHUTDOWN_GRACE_SECONDS']), logger },
);
process.exit(0);
