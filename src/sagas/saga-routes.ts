// Which event starts or signals which saga: the one table. An event that event-routes sends to `temporal` needs its entry
// here, and no other may have one: otherwise it does not compile.
import type { SagaEventType } from './event-routes.ts';
import {
  onCancellationRequested,
  onOrderSubmitted,
  onPaymentCallback,
  onRefundDue,
  onResolutionRequested,
} from './order-saga-routes.ts';
import { onRefundRequested } from './refund-routes.ts';
import { onEmailUpdated, onEmailVerified, onUserCreated } from './verify-address-routes.ts';
import type { SagaRoute } from './saga-route.ts';

export const sagaRoutes: { readonly [N in SagaEventType]: SagaRoute<N> } = {
  'user.created': onUserCreated,
  'user.email_updated': onEmailUpdated,
  'user.email_verified': onEmailVerified,
  'order.submitted': onOrderSubmitted,
  'order.cancellation_requested': onCancellationRequested,
  'order.refund_requested': onRefundRequested,
  'order.refund_due': onRefundDue,
  'payment.callback_received': onPaymentCallback,
  'saga.resolution_requested': onResolutionRequested,
};
