// What can be done to an order from outside: load, decide, save; again with fresh state where somebody was faster.
import { ConflictError } from '../domain/errors.ts';
import type { EventContext, EventMetadata } from '../domain/event.ts';
import { commandContext, derivedId, newId } from '../domain/ids.ts';
import { Money } from '../domain/money.ts';
import type { OrderItem, OrderState } from '../domain/order-state.ts';
import { EventSourcedOrder, type RefundRequested } from '../domain/order.ts';
import { loadOrder, type EventSourcedOrderRepository } from './order-repository.ts';

export type NewOrder = Readonly<{
  /** Given by a caller that may have to repeat the command; the same id is the same order. */
  orderId?: string | undefined;
  customerId: string;
  currency: string;
  paymentMethod: string;
  items: readonly OrderItem[];
}>;

/**
 * Every command returns the order as saved, and is refused with a DomainError. `commandKey` is the same in every attempt
 * of one command, and then its event has the id `commandEventId(commandKey)`: found in the stream, it has happened.
 */
export type OrderCommands = Readonly<{
  /** @throws ConflictError where `orderId` is taken by an order of another customer, currency or payment method */
  create(input: NewOrder, metadata: EventMetadata): Promise<EventSourcedOrder>;
  addItem(orderId: string, item: OrderItem, metadata: EventMetadata, commandKey?: string): Promise<EventSourcedOrder>;
  removeItem(orderId: string, productId: string, metadata: EventMetadata): Promise<EventSourcedOrder>;
  submit(orderId: string, metadata: EventMetadata, commandKey?: string): Promise<EventSourcedOrder>;
  cancel(
    orderId: string,
    reason: string,
    cancelledBy: string,
    metadata: EventMetadata,
    commandKey?: string,
  ): Promise<EventSourcedOrder>;
  /** `availableOf` is asked for each attempt anew, with the order as that attempt has loaded it. */
  requestRefund(
    orderId: string,
    refund: RefundRequested,
    availableOf: (order: OrderState) => Promise<number>,
    metadata: EventMetadata,
    commandKey?: string,
  ): Promise<EventSourcedOrder>;
}>;

export const commandEventId = (commandKey: string): string => derivedId('command-event', commandKey);

/** Two writers of one order are rare; ten losses in a row are not chance, and the caller should hear of it. */
const mostAttempts = 10;

export function createOrderCommands(deps: Readonly<{ repository: EventSourcedOrderRepository }>): OrderCommands {
  const { repository } = deps;

  async function change(
    orderId: string,
    context: () => EventContext,
    decide: (order: EventSourcedOrder) => void | Promise<void>,
  ): Promise<EventSourcedOrder> {
    for (let attempt = 1; ; attempt += 1) {
      const order = await loadOrder(repository, orderId, context());
      await decide(order);
      try {
        await repository.save(order);
        return order;
      } catch (error) {
        if (!(error instanceof ConflictError) || attempt >= mostAttempts) throw error;
      }
    }
  }

  async function create(input: NewOrder, metadata: EventMetadata): Promise<EventSourcedOrder> {
    const { customerId, currency, paymentMethod, items } = input;
    const orderId = input.orderId ?? newId();
    const order = EventSourcedOrder.create({ orderId, customerId, currency, paymentMethod }, commandContext(metadata));
    for (const item of items) order.addItem(item.productId, item.quantity, Money.of(item.price, currency));
    try {
      await repository.save(order);
      return order;
    } catch (error) {
      if (!(error instanceof ConflictError) || input.orderId === undefined) throw error;
      // An earlier attempt has made it. Its items may have changed since, so they are not compared.
      const made = await repository.findById(orderId, commandContext(metadata));
      const same = made?.state.customerId === customerId && made.state.currency === currency;
      if (!same || made.state.paymentMethod !== paymentMethod) throw error;
      return made;
    }
  }

  return {
    create,
    addItem: async (orderId, { productId, quantity, price }, metadata, commandKey) =>
      await change(orderId, contextsOf(metadata, commandKey), (order) => {
        order.addItem(productId, quantity, Money.of(price, order.state.currency));
      }),
    removeItem: async (orderId, productId, metadata) =>
      await change(orderId, contextsOf(metadata), (order) => {
        order.removeItem(productId);
      }),
    submit: async (orderId, metadata, commandKey) =>
      await change(orderId, contextsOf(metadata, commandKey), (order) => {
        order.submit();
      }),
    cancel: async (orderId, reason, cancelledBy, metadata, commandKey) =>
      await change(orderId, contextsOf(metadata, commandKey), (order) => {
        order.requestCancellation(reason, cancelledBy);
      }),
    requestRefund: async (orderId, refund, availableOf, metadata, commandKey) =>
      await change(orderId, contextsOf(metadata, commandKey), async (order) => {
        order.requestRefund(refund, await availableOf(order.state));
      }),
  };
}

/** Each of the commands that take a key records one event, at most. */
function contextsOf(metadata: EventMetadata, commandKey?: string): () => EventContext {
  const fresh = commandContext(metadata);
  return () => (commandKey === undefined ? fresh : { ...fresh, nextEventId: () => commandEventId(commandKey) });
}
