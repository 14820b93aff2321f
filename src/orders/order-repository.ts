// Loads an order from its stream and saves what happened to it: events, outbox rows and the orders row, in one
// transaction.
import type { EventContext } from '../domain/event.ts';
import { DomainError } from '../domain/errors.ts';
import type { OrderEvent } from '../domain/order-state.ts';
import { EventSourcedOrder, orderAggregate } from '../domain/order.ts';
import type { EventStore } from '../event-store/event-store.ts';
import type { RunUnitOfWork, UnitOfWork } from '../event-store/unit-of-work.ts';
import { projectOrder } from './order-projection.ts';

export type EventSourcedOrderRepository = Readonly<{
  /** @returns undefined where the tenant has no such order */
  findById(orderId: string, context: EventContext, unit?: UnitOfWork): Promise<EventSourcedOrder | undefined>;
  /**
   * All uncommitted events or none. Within `unit` the caller's commit decides; clear them only after that.
   * @throws ConflictError where somebody else saved the order first: load it again
   */
  save(order: EventSourcedOrder, unit?: UnitOfWork): Promise<void>;
}>;

export function createOrderRepository(
  deps: Readonly<{ store: EventStore; unitOfWork: RunUnitOfWork }>,
): EventSourcedOrderRepository {
  const { store, unitOfWork } = deps;

  async function saveIn(unit: UnitOfWork, order: EventSourcedOrder): Promise<void> {
    const events = order.getUncommittedEvents();
    if (events.length === 0) return;
    await unit.append(events, order.version);
    await projectOrder(unit.tx, order.state, order.version + events.length, events);
  }

  return {
    async findById(orderId, context, unit) {
      const events = await store.getEvents(orderId, unit === undefined ? {} : { tx: unit.tx });
      const [first] = events;
      if (first === undefined || first.aggregateType !== orderAggregate) return undefined;
      if (first.metadata.tenantId !== context.metadata.tenantId) return undefined;
      // A stream of this type holds order events only: the append validated each against the catalogue.
      return EventSourcedOrder.fromEvents(events as unknown as readonly OrderEvent[], context);
    },
    async save(order, unit) {
      if (unit !== undefined) {
        await saveIn(unit, order);
        return;
      }
      await unitOfWork(async (own) => await saveIn(own, order));
      order.clearUncommittedEvents();
    },
  };
}

/** The order, for a command that needs it to be there. @throws DomainError `order-not-found` */
export async function loadOrder(
  repository: EventSourcedOrderRepository,
  orderId: string,
  context: EventContext,
  unit?: UnitOfWork,
): Promise<EventSourcedOrder> {
  const order = await repository.findById(orderId, context, unit);
  if (order === undefined) throw new DomainError('order-not-found', `there is no order ${orderId}`, 'orderId');
  return order;
}
