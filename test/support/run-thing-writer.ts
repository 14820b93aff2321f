// A program for the fault tests: makes the thing THING_ID, and is killed between the commit and the word of it.
import { createEventCodec } from '../../src/event-store/event-codec.ts';
import { PgEventStore } from '../../src/event-store/event-store.ts';
import { createUnitOfWork } from '../../src/event-store/unit-of-work.ts';
import { connectDatabase } from '../../src/platform/database.ts';
import { made, thingRoutes, things } from './event-log.ts';

const url = process.env['DATABASE_URL'] ?? '';
const db = connectDatabase({ url, poolSize: 1, applicationName: 'thing-writer', onIdleError: () => undefined });
const onCommitted = (): void => void process.kill(process.pid, 'SIGKILL');
const store = new PgEventStore({ db, codec: createEventCodec(things), routes: thingRoutes, onCommitted });
await createUnitOfWork({ db, store, onCommitted })(
  async (unit) => await unit.append(made(process.env['THING_ID'] ?? ''), 'none'),
);
process.stdout.write('"committed, and told of it"\n');
