// The catalogue as the compiler sees it. What these lines do wrong does not compile: `npm run check:types` fails where
// the compiler has nothing against a line that says it should. When they run they are refused all the same.
import { expect, it } from 'vitest';
import { createDurableEventBus } from '../../../src/bus/durable-event-bus.ts';
import { InMemoryEventBus } from '../../../src/bus/in-memory-event-bus.ts';
import { catalogue, type CatalogueEvent, type EventOf } from '../../../src/domain/catalogue.ts';
import { newId } from '../../../src/domain/ids.ts';
import { createEventCodec, InvalidEventError } from '../../../src/event-store/event-codec.ts';
import { PgEventStore, type EventStore } from '../../../src/event-store/event-store.ts';
import { createUnitOfWork, type RunUnitOfWork } from '../../../src/event-store/unit-of-work.ts';
import { connectDatabase } from '../../../src/platform/database.ts';

// Nobody is there: whatever came so far would fail otherwise.
const db = connectDatabase({
  url: 'postgres://127.0.0.1:1/none',
  poolSize: 1,
  applicationName: 'test',
  onIdleError: () => undefined,
});
const codec = createEventCodec(catalogue);
const store: EventStore<CatalogueEvent> = new PgEventStore({ db, codec, routes: {}, onCommitted: () => undefined });
const bus = createDurableEventBus<typeof catalogue>({
  append: async (event) => await store.append(event),
  transport: new InMemoryEventBus({ db }),
});

const orderId = newId();
const failed: EventOf<'order.failed'> = {
  eventId: newId(),
  eventType: 'order.failed',
  occurredAt: new Date(),
  aggregateId: orderId,
  aggregateType: 'order',
  payload: { orderId, reason: 'out-of-stock' },
};
const misspelt = { ...failed, eventType: 'order.faild' } as const;
const misshapen = { ...failed, payload: { orderId, why: 'out-of-stock' } } as const;

it('an event type that is misspelt, or a payload of another shape, can be neither published nor appended', async () => {
  // @ts-expect-error: there is no such type
  await expect(bus.publish(misspelt)).rejects.toThrow(InvalidEventError);
  // @ts-expect-error: `reason` is missing
  await expect(bus.publish(misshapen)).rejects.toThrow(InvalidEventError);
  // @ts-expect-error: there is no such type
  await expect(store.append(misspelt)).rejects.toThrow(InvalidEventError);
  // @ts-expect-error: `reason` is missing
  await expect(store.append([failed, misshapen])).rejects.toThrow(InvalidEventError);
  // @ts-expect-error: `reason` is missing
  await expect(store.appendAll([{ events: misshapen }])).rejects.toThrow(InvalidEventError);
});

it('nor can it be appended in a unit of work', () => {
  const inWork = async (unitOfWork: RunUnitOfWork<CatalogueEvent>): Promise<void> => {
    await unitOfWork(async (unit) => {
      await unit.append(failed);
      // @ts-expect-error: there is no such type
      await unit.append(misspelt);
      // @ts-expect-error: `reason` is missing
      await unit.append([misshapen]);
    });
  };
  expect(inWork).toBeTypeOf('function');
  expect(createUnitOfWork({ db, store, onCommitted: () => undefined })).toBeTypeOf('function');
});

it('a handler is typed by its event type: a misspelt one, or a field that is not there, does not compile', () => {
  // @ts-expect-error: there is no such type
  bus.subscribe('order.faild', () => undefined)();
  bus.subscribe('order.failed', ({ payload }) => {
    const reason: string = payload.reason;
    // @ts-expect-error: it is called `reason`
    return void [reason, payload.why];
  })();
});
