// Follows one order to its end and prints each new event, and each new state of a saga's step, once.
import { setTimeout as delay } from 'node:timers/promises';
import type { ApiClient, EventView, OrderView, SagaView } from './api-client.ts';

export type StoryEnd = Readonly<{
  orderId: string;
  status: OrderView['status'];
  failureReason: string | undefined;
  /** The run's page in the Temporal Web UI; undefined if no saga has begun. */
  webUrl: string | undefined;
}>;

const lookEveryMs = 200;
/** An order of the demo takes a second or two; past this something is wrong, and the Web UI shows what. */
const storyLimitMs = 60_000;

export async function followOrder(
  deps: Readonly<{ api: ApiClient; orderId: string; print: (line: string) => void; cancelWhenPending?: string }>,
): Promise<StoryEnd> {
  const { api, orderId } = deps;
  const started = performance.now();
  const tell = (what: string, how: string) =>
    deps.print(`  ${`+${((performance.now() - started) / 1000).toFixed(1)} s`.padStart(8)}  ${what.padEnd(8)}  ${how}`);
  const news = createNews(tell);
  let cancelled = false;
  for (;;) {
    // One after the other: what the order shows as ended its events show, and what these show the saga's steps show.
    const order = await api.getOrder(orderId);
    const events = await api.getEvents(orderId);
    const saga = await api.findSaga(orderId);
    news(events, saga);
    const isOver = order.status !== 'submitted';
    if (isOver || performance.now() - started > storyLimitMs) {
      return printEnd(deps.print, {
        orderId,
        status: order.status,
        failureReason: order.failureReason,
        webUrl: saga?.webUrl,
      });
    }
    if (deps.cancelWhenPending !== undefined && !cancelled && (await waitsForPayment(api, orderId, saga))) {
      cancelled = true;
      tell('payment', 'pending, and now the order is cancelled');
      await api.cancelOrder(orderId, deps.cancelWhenPending);
    }
    await delay(lookEveryMs, undefined, { signal: api.signal });
  }
}

/** The payment is pending for a moment in every order; with the reservation done as well, the saga is at the charge. */
async function waitsForPayment(api: ApiClient, orderId: string, saga: SagaView | undefined): Promise<boolean> {
  const isReserved = saga?.steps.some(({ name, state }) => name === 'reserve' && state === 'done') ?? false;
  return isReserved && (await api.getPaymentStates(orderId)).includes('pending');
}

/** Within one look, what the steps did comes before the event that ends the order: it was so. */
const endings: ReadonlySet<string> = new Set(['order.confirmed', 'order.failed', 'order.cancelled']);

function createNews(tell: (what: string, how: string) => void) {
  const seen = new Set<string>();
  const steps = new Map<string, string>();
  const tellEvents = (events: readonly EventView[]) => {
    for (const { eventId, eventType } of events) {
      if (seen.has(eventId)) continue;
      seen.add(eventId);
      tell('event', eventType);
    }
  };
  return (events: readonly EventView[], saga: SagaView | undefined) => {
    tellEvents(events.filter(({ eventType }) => !endings.has(eventType)));
    for (const { name, state, attempts } of saga?.steps ?? []) {
      const now = attempts > 1 ? `${state} (attempt ${attempts})` : state;
      if (state === 'pending' || steps.get(name) === now) continue;
      steps.set(name, now);
      tell(name, now);
    }
    tellEvents(events);
  };
}

function printEnd(print: (line: string) => void, end: StoryEnd): StoryEnd {
  const reason = end.failureReason === undefined ? '' : `: ${end.failureReason}`;
  print(`  ${end.status === 'submitted' ? 'not ended yet' : end.status}${reason}`);
  if (end.webUrl !== undefined) print(`  ${end.webUrl}`);
  return end;
}
