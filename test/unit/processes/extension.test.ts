// What a team hands to the service: which names it may take, and its types as the compiler sees them. What the lines
// marked so do wrong does not compile: `npm run check:types` fails where the compiler has nothing against one.
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import type { Subscription } from '../../../src/event-store/subscription.ts';
import { StartupError } from '../../../src/platform/startup-error.ts';
import { extendCatalogue, extendSubscriptions, type Extension } from '../../../src/processes/extension.ts';
import { defineExtension } from '../../../src/processes/service.ts';

const stamped = { version: 1, schema: z.object({ parcel: z.string(), grams: z.int() }) } as const;
const postal = (name: string, ...eventTypes: readonly string[]): Extension => ({
  name,
  events: Object.fromEntries(eventTypes.map((eventType) => [eventType, stamped])),
});
const extend =
  (...extensions: readonly Extension[]) =>
  () =>
    extendCatalogue(extensions);

describe('the event types of an extension', () => {
  it('are known beside those of the service, and go to the bus where they do not say otherwise', () => {
    const quiet = { name: 'quiet', events: { 'quiet.noted': { ...stamped, routes: [] } } };
    const { catalogue, routes } = extendCatalogue([postal('post', 'post.stamped'), quiet]);
    expect(catalogue['post.stamped']).toBe(stamped);
    expect(catalogue['order.submitted']).toBeDefined();
    expect(routes).toMatchObject({
      'post.stamped': ['bus'],
      'quiet.noted': [],
      'order.submitted': ['bus', 'temporal'],
    });
  });

  it('are refused, by name, where the service or another extension has them', () => {
    expect(extend(postal('post', 'post.stamped', 'order.confirmed'))).toThrow(
      new StartupError('The event type order.confirmed of the extension post belongs to the service already.'),
    );
    expect(extend(postal('post', 'post.stamped'), postal('courier', 'post.stamped'))).toThrow(
      new StartupError('The event type post.stamped of the extension courier belongs to the extension post already.'),
    );
  });

  it('are no way past the objects that hold them', () => {
    const { catalogue, routes } = extendCatalogue([postal('post', '__proto__', 'constructor')]);
    expect(Object.keys(catalogue)).toEqual(expect.arrayContaining(['__proto__', 'constructor']));
    expect(Object.getOwnPropertyDescriptor(routes, 'constructor')?.value).toEqual(['bus']);
  });
});

it.each(['', 'Post', '1post', 'post office', 'post"', 'p'.repeat(33)])('%j is no name for an extension', (name) => {
  expect(extend(postal(name))).toThrow(StartupError);
});

it('two extensions of one name are refused: each would take the migrations of the other for its own', () => {
  expect(extend(postal('post'), postal('post'))).toThrow(new StartupError('Two extensions have the name post.'));
});

it('a subscription that has the name of another one is refused: they would share a checkpoint', () => {
  const subscription: Subscription = { name: 'post.sent', startFrom: 'end', async apply() {}, async reset() {} };
  const post = { name: 'post', subscriptions: [subscription] };
  expect(extendSubscriptions([], [post])).toEqual([subscription]);
  expect(() => extendSubscriptions([subscription], [post])).toThrow(
    new StartupError('Two subscriptions have the name post.sent.'),
  );
});

it('an event type that is misspelt, or a payload of another shape, does not compile in a handler or a subscription', () => {
  const post = defineExtension({
    name: 'post',
    events: { 'post.stamped': stamped },
    handlers(eventBus) {
      eventBus.subscribe('order.confirmed', async ({ payload }, { publish }) => {
        const of = { aggregateType: 'parcel', aggregateId: payload.paymentId };
        await publish({ ...of, eventType: 'post.stamped', payload: { parcel: payload.orderId, grams: 7 } });
        // @ts-expect-error: there is no such type
        await publish({ ...of, eventType: 'post.stampd', payload: { parcel: payload.orderId, grams: 7 } });
        // @ts-expect-error: `grams` is a number
        await publish({ ...of, eventType: 'post.stamped', payload: { parcel: payload.orderId, grams: '7' } });
        // @ts-expect-error: `reason` is missing
        await publish({ ...of, eventType: 'order.failed', payload: { orderId: payload.orderId } });
        // @ts-expect-error: an order that is confirmed has no reason
        void payload.reason;
      });
      eventBus.subscribe('post.stamped', ({ payload }) => {
        const grams: number = payload.grams;
        // @ts-expect-error: it is called `grams`
        void [grams, payload.weight];
      });
      // @ts-expect-error: there is no such type
      eventBus.subscribe('post.stampd', () => undefined);
    },
    subscriptions: [
      {
        name: 'post.sent',
        startFrom: 'end',
        async apply({ eventType, payload }) {
          // @ts-expect-error: there is no such type
          if (eventType === 'post.stampd') return;
          // @ts-expect-error: not every event has it
          if (eventType !== 'post.stamped') return void payload.grams;
          const grams: number = payload.grams;
          // @ts-expect-error: it is called `grams`
          return void [grams, payload.weight];
        },
        async reset() {},
      },
    ],
  });
  expect(post).toMatchObject({ name: 'post', events: { 'post.stamped': stamped } });
});

it('an event of a type that an extension without events publishes does not compile, unless it is the service’s', () => {
  const reader = defineExtension({
    name: 'reader',
    handlers(eventBus) {
      eventBus.subscribe('order.failed', ({ payload }) => void payload.reason);
      // @ts-expect-error: there is no such type
      eventBus.subscribe('post.stamped', () => undefined);
    },
  });
  expect(reader.name).toBe('reader');
});
