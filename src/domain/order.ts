// The order aggregate: what may happen to an order, and which event says that it did.
import type { EventOf, EventPayload } from './catalogue.ts';
import { DomainError } from './errors.ts';
import type { EventContext } from './event.ts';
import { Money } from './money.ts';
import { evolveOrder, totalOf, type OrderEvent, type OrderEventType, type OrderState } from './order-state.ts';

export const orderAggregate = 'order';
/** One product's quantity and one order's lines; far above any real order, far below what overflows. */
const mostPerLine = 1_000_000;
const mostLines = 500;

/** `amount` in minor units; without one, all that is there. */
export type RefundRequested = Readonly<
  Omit<EventPayload<'order.refund_requested'>, 'orderId' | 'paymentId' | 'amount'> & { amount?: number | undefined }
>;

/**
 * Commands check, then record events; nothing is stored until the repository saves. Every command is refused with a
 * DomainError and then leaves the order as it was.
 */
export class EventSourcedOrder {
  #state: OrderState | undefined;
  #uncommitted: OrderEvent[] = [];
  #version = 0;
  readonly #context: EventContext;

  private constructor(context: EventContext) {
    this.#context = context;
  }

  static create(
    input: Readonly<{ orderId: string; customerId: string; currency: string; paymentMethod: string }>,
    context: EventContext,
  ): EventSourcedOrder {
    const order = new EventSourcedOrder(context);
    order.#record('order.created', input, input.orderId);
    return order;
  }

  /** @param events the whole stream in the order of its versions */
  static fromEvents(events: readonly OrderEvent[], context: EventContext): EventSourcedOrder {
    const order = new EventSourcedOrder(context);
    for (const event of events) order.#state = evolveOrder(order.#state, event);
    order.#version = events.length;
    return order;
  }

  get state(): OrderState {
    if (this.#state === undefined) throw new Error('an order without events has no state');
    return this.#state;
  }

  /** The version of the last *stored* event: what the repository expects when it saves. */
  get version(): number {
    return this.#version;
  }

  get total(): Money {
    return Money.of(totalOf(this.state.items), this.state.currency);
  }

  getUncommittedEvents(): readonly OrderEvent[] {
    return this.#uncommitted;
  }

  /** Only after the commit: cleared earlier, a rolled-back save would lose them. */
  clearUncommittedEvents(): void {
    this.#version += this.#uncommitted.length;
    this.#uncommitted = [];
  }

  /** @throws RangeError for what no edge should let through: a quantity that counts nothing, a price below zero */
  addItem(productId: string, quantity: number, price: Money): void {
    if (!Number.isSafeInteger(quantity) || quantity < 1)
      throw new RangeError(`quantity must be 1 or more: ${quantity}`);
    if (price.getAmount() < 0) throw new RangeError(`price must not be negative: ${price.getAmount()}`);
    this.#mustBeDraft('items');
    if (price.currency !== this.state.currency) {
      throw new DomainError(
        'price-mismatch',
        `price is in ${price.currency}, the order in ${this.state.currency}`,
        'price',
      );
    }
    const known = this.state.items.find((item) => item.productId === productId);
    if (known !== undefined && known.price !== price.getAmount()) {
      throw new DomainError(
        'price-mismatch',
        `${productId} is in the order at ${known.price}; remove it first`,
        'price',
      );
    }
    const items = [...this.state.items, { productId, quantity, price: price.getAmount() }];
    const lines = known === undefined ? items.length : this.state.items.length;
    if ((known?.quantity ?? 0) + quantity > mostPerLine || lines > mostLines) {
      const most = `${mostPerLine} of a product and ${mostLines} products`;
      throw new DomainError('order-too-large', `an order holds at most ${most}`, 'quantity');
    }
    if (!Number.isSafeInteger(totalOf(items))) {
      throw new DomainError('order-too-large', 'the total exceeds what can be counted exactly', 'price');
    }
    this.#record('order.item_added', { orderId: this.state.orderId, productId, quantity, price: price.getAmount() });
  }

  removeItem(productId: string): void {
    this.#mustBeDraft('items');
    if (!this.state.items.some((item) => item.productId === productId)) {
      throw new DomainError('item-not-found', `${productId} is not in the order`, 'productId');
    }
    this.#record('order.item_removed', { orderId: this.state.orderId, productId });
  }

  /** The event carries all that the saga needs, so that amount and currency are pinned here. */
  submit(): void {
    this.#mustBeDraft('status');
    const { orderId, customerId, items, currency, paymentMethod } = this.state;
    if (items.length === 0) throw new DomainError('order-empty', 'an order without items cannot be submitted', 'items');
    this.#record('order.submitted', {
      orderId,
      customerId,
      items: [...items],
      total: this.total.getAmount(),
      currency,
      paymentMethod,
    });
  }

  /**
   * A draft is cancelled at once. A submitted or confirmed order only records the request, once: its saga, or the
   * refund, cancels it. The stream decides between this and `markAsConfirmed`: whoever appends first wins.
   */
  requestCancellation(reason: string, cancelledBy: string): void {
    const { status, cancellation, orderId } = this.state;
    if (status === 'draft') {
      this.markAsCancelled(reason, cancelledBy);
    } else if (status === 'failed' || status === 'cancelled') {
      throw new DomainError('order-ended', `the order is ${status} already`, 'status');
    } else if (cancellation === undefined) {
      this.#record('order.cancellation_requested', { orderId, reason, cancelledBy });
    }
  }

  /** The pivot of the saga. Refused when a cancellation was requested first. Confirming twice changes nothing. */
  markAsConfirmed(paymentId: string): void {
    const { status, cancellation, orderId } = this.state;
    if (status === 'confirmed' && this.state.paymentId === paymentId) return;
    this.#mustBeSubmitted();
    if (cancellation !== undefined) {
      throw new DomainError('cancellation-requested', `cancellation was requested first: ${cancellation.reason}`);
    }
    this.#record('order.confirmed', { orderId, paymentId });
  }

  /**
   * Of a confirmed order: the status stays, a saga of its own refunds. `available` is what is held of the payment and not
   * promised to an earlier request; the stream decides between two that come together.
   */
  requestRefund({ amount, ...refund }: RefundRequested, available: number): void {
    const { status, cancellation, orderId, paymentId } = this.state;
    if (status !== 'confirmed' || paymentId === undefined) {
      throw new DomainError('order-not-confirmed', `the order is ${status}, not confirmed`, 'status');
    }
    if (cancellation !== undefined) {
      throw new DomainError('cancellation-requested', 'the order is being cancelled, and so refunded as a whole');
    }
    const asked = amount ?? available;
    if (asked > available || asked === 0) {
      const what = amount === undefined ? 'all' : String(amount);
      throw new DomainError('refund-exceeds-held', `${what} was asked for, ${available} is held`, 'amount');
    }
    this.#record('order.refund_requested', { orderId, paymentId, amount: asked, ...refund });
  }

  markAsFailed(reason: string): void {
    if (this.state.status === 'failed') return;
    this.#mustBeSubmitted();
    this.#record('order.failed', { orderId: this.state.orderId, reason });
  }

  markAsCancelled(reason: string, cancelledBy: string): void {
    const { status, orderId, customerId } = this.state;
    if (status === 'cancelled') return;
    if (status === 'failed') throw new DomainError('order-ended', 'the order is failed already', 'status');
    this.#record('order.cancelled', { orderId, customerId, reason, cancelledBy });
  }

  /** Of a cancelled order for which money is held all the same: its refund is started. Once. */
  markRefundDue(): void {
    const { status, cancellation, orderId, refundIsDue } = this.state;
    if (status !== 'cancelled' || cancellation === undefined) {
      throw new DomainError('order-not-cancelled', `the order is ${status}, not cancelled`, 'status');
    }
    if (!refundIsDue) this.#record('order.refund_due', { orderId, ...cancellation });
  }

  #mustBeDraft(field: string): void {
    if (this.state.status !== 'draft') {
      throw new DomainError('order-not-draft', `the order is ${this.state.status}, no longer a draft`, field);
    }
  }

  #mustBeSubmitted(): void {
    if (this.state.status !== 'submitted') {
      throw new DomainError('order-not-submitted', `the order is ${this.state.status}, not submitted`, 'status');
    }
  }

  #record<N extends OrderEventType>(eventType: N, payload: EventPayload<N>, orderId = this.state.orderId): void {
    const event = {
      eventId: this.#context.nextEventId(),
      eventType,
      occurredAt: this.#context.now(),
      aggregateId: orderId,
      aggregateType: orderAggregate,
      payload,
      metadata: this.#context.metadata,
      // The generic N cannot be narrowed to one member of the union; payload and type are tied by the signature.
    } as unknown as EventOf<OrderEventType>;
    this.#state = evolveOrder(this.#state, event);
    this.#uncommitted.push(event);
  }
}
