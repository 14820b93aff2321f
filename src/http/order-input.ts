// What several of the order routes take: the order that a path names, and an item of it.
import type { Request } from 'express';
import { z } from 'zod';
import { DomainError } from '../domain/errors.ts';
import { isId } from '../domain/ids.ts';
import type { OrderQueries, OrderView } from '../orders/order-queries.ts';
import { pathSafeId, price, quantity } from './protocol/fields.ts';
import { pathPart } from './protocol/routes.ts';

export const itemSchema = z.strictObject({ productId: pathSafeId, quantity, price });

const orderNotFound = (orderId: string): DomainError =>
  new DomainError('order-not-found', `there is no order ${orderId}`, 'orderId');

/** What is no UUID is no order: 404, as for an order that is not there. In small letters, as ids are stored. */
export function orderIdOf(request: Request): string {
  const orderId = pathPart(request, 'orderId');
  if (!isId(orderId)) throw orderNotFound(orderId);
  return orderId.toLowerCase();
}

/** @throws DomainError `order-not-found`, also for another tenant's order */
export async function existingOrder(orders: OrderQueries, tenantId: string, orderId: string): Promise<OrderView> {
  const order = await orders.findOrder(tenantId, orderId);
  if (order === undefined) throw orderNotFound(orderId);
  return order;
}
