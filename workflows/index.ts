// What the worker's bundle exports: one name per workflow type.
export { orderSaga } from './order-saga.ts';
export { reconcile } from './reconcile.ts';
export { refundOrder } from './refund-order.ts';
export { refundPayment } from './refund-payment.ts';
export { verifyAddress } from './verify-address.ts';
