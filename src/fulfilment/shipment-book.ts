// The built-in fulfilment: a shipment is a row. It commits on its own, as a carrier across the network would.
import { derivedId } from '../domain/ids.ts';
import type { Db } from '../platform/database.ts';
import type { FulfilmentService } from './fulfilment-service.ts';

export function createShipmentBook(db: Db): FulfilmentService {
  return {
    async createShipment({ tenantId, orderId, items, idempotencyKey }) {
      const shipmentId = derivedId('shipment', idempotencyKey);
      const lines = JSON.stringify(items.map(({ productId, quantity }) => ({ productId, quantity })));
      await db
        .insertInto('shipments')
        .values({
          shipment_id: shipmentId,
          tenant_id: tenantId,
          order_id: orderId,
          idempotency_key: idempotencyKey,
          items: lines,
        })
        .onConflict((conflict) => conflict.doNothing())
        .execute();
      // There by now, by this call or an earlier one, or one at the same time that the insert has waited for.
      const { shipment_id: found } = await db
        .selectFrom('shipments')
        .select('shipment_id')
        .where('order_id', '=', orderId)
        .executeTakeFirstOrThrow();
      if (found !== shipmentId) throw new Error(`order ${orderId} has shipment ${found}, made under another key`);
      return { shipmentId };
    },
  };
}
