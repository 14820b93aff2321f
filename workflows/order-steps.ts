// The activities of the orders' sagas, each with its name in the Web UI.
import { proxyActivities, type ActivityOptions } from '@temporalio/workflow';
import type { EventMetadata } from '../src/domain/event.ts';
import type { OrderActivities } from '../src/domain/saga-contract.ts';
import type { ParkingRecords } from './saga-parking.ts';

/** An activity that still has to be told how patient it is. */
const step =
  <K extends keyof OrderActivities>(name: K, summary: string): ((options: ActivityOptions) => OrderActivities[K]) =>
  (options) =>
    proxyActivities<OrderActivities>({ ...options, summary })[name];

export const steps = {
  reserveInventory: step('reserveInventory', 'Reserve the stock for all items'),
  chargePayment: step('chargePayment', 'Charge the payment'),
  settlePayment: step('settlePayment', 'Ask the gateway what became of the charge'),
  confirmOrder: step('confirmOrder', 'Confirm: consume the reservation, confirm the order'),
  releaseInventory: step('releaseInventory', 'Undo: release the stock'),
  undoPayment: step('undoPayment', 'Undo: refund the charge, or void it'),
  endOrder: step('endOrder', "Write the order's end"),
  refundOrderPayment: step('refundOrderPayment', 'Refund what is held'),
  refundPaymentPart: step('refundPaymentPart', 'Refund the payment'),
  restockOrder: step('restockOrder', 'Put the stock back'),
  cancelRefundedOrder: step('cancelRefundedOrder', "Write the order's end"),
};
const noteParked = step('noteParked', 'Note that the step is parked');
const applyResolution = step('applyResolution', 'Write down what the operator decided');

/** How a saga writes down what is parked, and what became of it. Without an order no books change by an operator's word. */
export const parkingRecordsOf = (
  of: Readonly<{ orderId: string | null; metadata: EventMetadata }>,
): ParkingRecords => ({
  parked: async (options, parked) => await noteParked(options)(parked),
  resolved: async (options, resolution) => await applyResolution(options)({ ...of, ...resolution }),
});
