// What others are told of each event of the house: the contract's fields and no other, and never an e-mail address.
import { readFileSync } from 'node:fs';
import { CloudEvent as JudgedEvent } from 'cloudevents';
import { describe, expect, it } from 'vitest';
import { catalogue, type CatalogueEvent, type EventType } from '../../../src/domain/catalogue.ts';
import type { EventMetadata, StoredEvent } from '../../../src/domain/event.ts';
import { integrationCatalogue } from '../../../src/domain/integration-catalogue.ts';
import { createEventCodec } from '../../../src/event-store/event-codec.ts';
import { cloudEventOf } from '../../../src/integration/cloud-event.ts';
import { translate, translatedTypes } from '../../../src/integration/translate.ts';
import type { EventRow } from '../../../src/platform/schema.ts';

const codec = createEventCodec(catalogue);
const types = Object.keys(catalogue) as EventType[];

/** The event of this type that the fixtures hold, in today's version. */
function stored(
  type: EventType,
  change: (row: EventRow) => Partial<EventRow> = () => ({}),
): StoredEvent<CatalogueEvent> {
  const file = new URL(`../../fixtures/events/${type}.v${catalogue[type].version}.json`, import.meta.url);
  const row = { position: '1', ...(JSON.parse(readFileSync(file, 'utf8')) as Omit<EventRow, 'position'>) };
  const changed = { ...row, occurred_at: new Date(row.occurred_at), ...change(row) };
  return codec.decode(changed) as StoredEvent<CatalogueEvent>;
}

const withPayload = (type: EventType, payload: object): StoredEvent<CatalogueEvent> =>
  stored(type, (row) => ({ payload: { ...(row.payload as object), ...payload } }));

describe('what others are told', () => {
  it.each<[EventType, string, (payload: Readonly<Record<string, unknown>>) => object]>([
    ['user.created', 'names the user and not the address', ({ userId }) => ({ userId })],
    ['user.email_updated', 'says that the address is another, and neither of the two', ({ userId }) => ({ userId })],
    [
      'order.submitted',
      'carries what was ordered, and not how it is paid',
      ({ orderId, customerId, items, total, currency }) => ({ orderId, customerId, items, total, currency }),
    ],
    ['order.confirmed', 'names order and payment', ({ orderId, paymentId }) => ({ orderId, paymentId })],
    ['order.cancelled', 'says neither who cancelled nor why in their words', ({ orderId }) => ({ orderId })],
    [
      'payment.completed',
      'carries the money, and not by which method it came',
      ({ paymentId, orderId, amount, currency }) => ({ paymentId, orderId, amount, currency }),
    ],
    [
      'payment.refunded',
      'carries what went back, and not the words why',
      ({ paymentId, orderId, amount }) => ({ paymentId, orderId, amount }),
    ],
  ])('of %s %s', (type, _, dataOf) => {
    const event = stored(type);
    expect(translate(event)).toEqual({
      eventId: event.eventId,
      eventType: type,
      version: 1,
      occurredAt: event.occurredAt,
      source: '/athyper-sagas',
      aggregateId: event.aggregateId,
      aggregateType: event.aggregateType,
      sequence: event.version,
      data: dataOf(event.payload),
      metadata: {
        tenantId: event.metadata.tenantId,
        userId: event.metadata.userId,
        correlationId: event.metadata.correlationId,
        traceparent: event.metadata.traceparent,
      },
    });
  });

  it.each([
    ['payment-declined: the payment method pm_declined was declined', 'payment-declined'],
    ['out-of-stock: lamp', 'out-of-stock'],
    ['somebody: said something', 'other'],
    ['a person has typed this', 'other'],
  ])('of an order that failed by "%s" is the code %s', (reason, code) => {
    const { payload } = stored('order.failed');
    expect(translate(withPayload('order.failed', { reason }))?.data).toEqual({
      orderId: (payload as { orderId: string }).orderId,
      code,
    });
  });

  it('is nothing of steps, drafts and repairs', () => {
    const told = types.filter((type) => translate(stored(type)) !== undefined);
    expect(told.toSorted()).toEqual(Object.keys(integrationCatalogue).toSorted());
    expect(translatedTypes.toSorted()).toEqual(told.toSorted());
  });

  it.each(translatedTypes)('of %s is a CloudEvent in strict eyes, and fits its schema in the catalogue', (type) => {
    const event = translate(stored(type));
    if (event === undefined) throw new Error('it is translated');
    expect(new JudgedEvent({ ...cloudEventOf(event) }).validate()).toBe(true);
    const schemas: Readonly<Record<string, (typeof integrationCatalogue)[keyof typeof integrationCatalogue]>> =
      integrationCatalogue;
    expect(schemas[event.eventType]?.schema.parse(event.data)).toEqual(event.data);
  });
});

describe('an e-mail address', () => {
  const marker = 'somebody@example.com';
  const madeHere = new Set([
    'userId',
    'orderId',
    'paymentId',
    'refundId',
    'workflowId',
    'outcome',
    'action',
    'currency',
  ]);
  const inEveryText = (payload: object): object =>
    Object.fromEntries(
      Object.entries(payload).map(([key, value]: [string, unknown]) => [
        key,
        typeof value === 'string' && !madeHere.has(key) ? marker : value,
      ]),
    );

  it.each(types)('in every text of %s that somebody outside has a hand in does not leave the house', (type) => {
    const event = translate(
      stored(type, ({ payload, metadata }) => ({
        payload: inEveryText(payload as object),
        metadata: { ...(metadata as EventMetadata), userId: marker, correlationId: marker },
      })),
    );
    expect(event === undefined ? '' : JSON.stringify(cloudEventOf(event))).not.toContain('@');
  });
});
