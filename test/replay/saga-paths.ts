// Every path whose history is kept: how to drive a service to its end, so that it can be recorded anew.
import { activityInfo } from '@temporalio/activity';
import { orderSagaId, refundOrderId } from '../../src/domain/saga-contract.ts';
import { DomainError, UnavailableError } from '../../src/domain/errors.ts';
import { newId } from '../../src/domain/ids.ts';
import type { ResolutionAction } from '../../src/domain/saga-resolution.ts';
import { verifyAddressId } from '../../src/domain/user-verification.ts';
import { createSagaResolutions } from '../../src/sagas/saga-resolutions.ts';
import { parkedRefund, resolve, untilParked } from '../support/parked.ts';
import { reconcileNow, terminate } from '../support/reconcile.ts';
import { anotherPayment, confirmedOrder, requestRefund, unwantedRefundId } from '../support/refunds.ts';
import {
  callback,
  createHold,
  eventTypes,
  eventually,
  metadata,
  untilPaymentIsPending,
  untilPending,
  type SagaService,
} from '../support/saga-service.ts';
import { changeEmail, createUser, parkedReminder, verifyEmail } from '../support/users.ts';

/** @returns the workflow id of the run whose history is the path's */
export type SagaPath = (service: SagaService) => Promise<string>;

async function pendingOrder(service: SagaService): Promise<{ orderId: string; paymentId: string }> {
  const orderId = await service.submit({ paymentMethod: 'pm_pending' });
  const paymentId = await untilPaymentIsPending(service, orderId);
  return { orderId, paymentId };
}

const plain =
  (paymentMethod: string, quantity = 2): SagaPath =>
  async (service) => {
    const orderId = await service.submit({ paymentMethod, items: [{ productId: 'lamp', quantity, price: 1500 }] });
    await service.ended(orderId);
    return orderSagaId(orderId);
  };

const pending =
  (decide: (service: SagaService, order: { orderId: string; paymentId: string }) => Promise<void>): SagaPath =>
  async (service) => {
    const order = await pendingOrder(service);
    await decide(service, order);
    await service.ended(order.orderId);
    return orderSagaId(order.orderId);
  };

async function cancelledAt(
  service: SagaService,
  hold: ReturnType<typeof createHold>,
  cancel: (orderId: string) => Promise<void>,
): Promise<string> {
  const orderId = await service.submit();
  await hold.reached;
  await cancel(orderId);
  hold.release();
  await service.ended(orderId);
  return orderSagaId(orderId);
}

/** Its refund is refused for good, until it is `mended`; then an operator does something about it, or nobody does. */
const parkedThen =
  (action?: ResolutionAction, mended = false): SagaPath =>
  async (service) => {
    const orderId = await parkedRefund(service, new DomainError('refund-exceeds-held', 'no refunds today'));
    if (mended) delete service.faults.refund;
    const reference = action === undefined || action === 'retry' ? {} : { reference: 'ticket 1' };
    if (action !== undefined) await resolve(service, orderId, { step: 'charge', action, ...reference });
    await service.ended(orderId);
    delete service.faults.refund;
    return orderSagaId(orderId);
  };

/** Once the relay has nothing more to say to the run that is gone. */
async function repaired(service: SagaService, orderId: string): Promise<void> {
  await eventually(async () => {
    const { findings } = await reconcileNow(service, { repair: true });
    const isMended = findings.some(({ ids, outcome }) => ids['order'] === orderId && outcome === 'mended');
    return isMended ? true : undefined;
  });
}

const reminderDue = 'user.verification_reminder_due';

export const sagaPaths: Readonly<Record<string, SagaPath>> = {
  confirmed: plain('pm_ok'),
  declined: plain('pm_declined'),
  'out-of-stock': plain('pm_ok', 999),
  'charged-but-answer-lost': plain('pm_timeout'),
  'gateway-flaky': plain('pm_flaky'),
  'pending-then-completed': pending(
    async (service, order) => await callback(service, { ...order, outcome: 'completed' }),
  ),
  'pending-then-failed': pending(async (service, order) => await callback(service, { ...order, outcome: 'failed' })),
  'pending-past-its-deadline': pending(async () => {}),
  'pending-then-cancelled': pending(
    async (service, { orderId }) =>
      void (await service.commands.cancel(orderId, 'changed my mind', 'customer', metadata)),
  ),
  'cancelled-in-temporal': pending(
    async (service, { orderId }) =>
      void (await service.parts.temporal.workflow.getHandle(orderSagaId(orderId)).cancel()),
  ),
  // The second run, whose history has not what the first one did.
  'repaired-then-undone': async (service) => {
    const hold = createHold();
    service.faults.afterCapture = hold.wait;
    return await cancelledAt(service, hold, async (orderId) => {
      delete service.faults.afterCapture;
      await terminate(service, orderSagaId(orderId));
      await service.commands.cancel(orderId, 'changed my mind', 'customer', metadata);
      await repaired(service, orderId);
    });
  },
  'repaired-then-confirmed': async (service) => {
    const hold = createHold();
    service.faults.capture = hold.wait;
    const orderId = await service.submit();
    await hold.reached;
    await terminate(service, orderSagaId(orderId));
    delete service.faults.capture;
    hold.release();
    await repaired(service, orderId);
    await service.ended(orderId);
    return orderSagaId(orderId);
  },
  'reserve-past-its-limit': async (service) => {
    service.faults.unitOfWork = async () => {
      throw new Error('the database is in a bad mood');
    };
    const orderId = await service.submit();
    await untilPending(service, orderSagaId(orderId), 'releaseInventory');
    delete service.faults.unitOfWork;
    await service.ended(orderId);
    return orderSagaId(orderId);
  },
  'charge-past-its-limit': async (service) => {
    service.faults.capture = async () => {
      throw new UnavailableError('no answer', { outcomeUnknown: true });
    };
    const workflowId = await plain('pm_ok')(service);
    delete service.faults.capture;
    return workflowId;
  },
  'cancelled-while-reserving': async (service) => {
    const hold = createHold();
    service.faults.unitOfWork = hold.wait;
    return await cancelledAt(service, hold, async (orderId) => {
      delete service.faults.unitOfWork;
      await service.parts.temporal.workflow.getHandle(orderSagaId(orderId)).cancel();
    });
  },
  'cancelled-after-the-charge': async (service) => {
    const hold = createHold();
    service.faults.afterCapture = hold.wait;
    return await cancelledAt(service, hold, async (orderId) => {
      delete service.faults.afterCapture;
      await service.commands.cancel(orderId, 'too late?', 'customer', metadata);
    });
  },
  'refund-cancelled-in-temporal': async (service) => {
    const orderId = await service.submit();
    await service.ended(orderId);
    const hold = createHold();
    service.faults.refund = hold.wait;
    await service.commands.cancel(orderId, 'wrong colour', 'customer', metadata);
    await hold.reached;
    delete service.faults.refund;
    await service.parts.temporal.workflow.getHandle(refundOrderId(orderId)).cancel();
    hold.release();
    await eventually(async () => ((await service.order(orderId)).status === 'cancelled' ? true : undefined));
    return refundOrderId(orderId);
  },
  'parked-then-retried': parkedThen('retry', true),
  'parked-then-skipped': parkedThen('skip'),
  'parked-then-settled': parkedThen('settled'),
  'parked-then-healed': parkedThen(undefined, true),
  'confirm-parked-then-healed': async (service) => {
    service.faults.unitOfWork = async () => {
      if (activityInfo().activityType === 'confirmOrder') throw new Error('the database is in a bad mood');
    };
    const orderId = await service.submit();
    await untilParked(service, orderSagaId(orderId), 'confirm');
    delete service.faults.unitOfWork;
    await service.ended(orderId);
    return orderSagaId(orderId);
  },
  'refund-parked-then-settled': async (service) => {
    const orderId = await service.submit();
    await service.ended(orderId);
    service.faults.refund = async () => {
      throw new DomainError('refund-exceeds-held', 'no refunds today');
    };
    await service.commands.cancel(orderId, 'wrong colour', 'customer', metadata);
    await untilParked(service, refundOrderId(orderId), 'refund');
    await resolve(service, orderId, { step: 'refund', action: 'settled', reference: 'ticket 2' });
    await eventually(async () => ((await service.order(orderId)).status === 'cancelled' ? true : undefined));
    delete service.faults.refund;
    return refundOrderId(orderId);
  },
  'confirmed-then-refunded': async (service) => {
    const orderId = await service.submit();
    await service.ended(orderId);
    await service.commands.cancel(orderId, 'wrong colour', 'customer', metadata);
    await eventually(async () => ((await service.order(orderId)).status === 'cancelled' ? true : undefined));
    return refundOrderId(orderId);
  },
  'refunded-in-part': async (service) => await requestRefund(service, await confirmedOrder(service), { amount: 1000 }),
  'refunded-with-the-goods': async (service) =>
    await requestRefund(service, await confirmedOrder(service), { restock: true }),
  'refund-refused': async (service) => {
    const order = await confirmedOrder(service);
    const hold = createHold();
    service.faults.refund = hold.wait;
    const workflowId = await requestRefund(service, order, { amount: 2000 });
    await hold.reached;
    delete service.faults.refund;
    await service.parts.gateway.refund(order.paymentId, { key: newId(), amount: 'all-held' });
    hold.release();
    return workflowId;
  },
  'unwanted-money-refunded': async (service) => {
    const orderId = await service.submit({ paymentMethod: 'pm_declined' });
    await service.ended(orderId);
    const paymentId = await anotherPayment(service, orderId);
    await callback(service, { orderId, paymentId, outcome: 'completed' });
    return unwantedRefundId(paymentId);
  },
  'address-verified': async (service) => {
    const userId = await createUser(service);
    await verifyEmail(service, userId);
    return verifyAddressId(userId);
  },
  'address-reminded-then-verified': async (service) => {
    const userId = await createUser(service);
    await eventually(async () => ((await eventTypes(service, userId)).includes(reminderDue) ? true : undefined));
    await verifyEmail(service, userId);
    return verifyAddressId(userId);
  },
  'address-reminder-parked': async (service) => {
    const userId = await parkedReminder(service);
    const word = { step: 'remind', action: 'skip', reference: 'ticket 1', resolvedBy: 'ada' } as const;
    await createSagaResolutions(service.parts).requestForUser({ userId }, word, metadata);
    return verifyAddressId(userId);
  },
  'address-superseded': async (service) => {
    const userId = await createUser(service);
    await changeEmail(service, userId);
    return verifyAddressId(userId);
  },
  'address-expired': async (service) => verifyAddressId(await createUser(service)),
  'address-stopped-in-temporal': async (service) => {
    const run = service.parts.temporal.workflow.getHandle(verifyAddressId(await createUser(service)));
    await eventually(async () => await run.describe().catch(() => undefined));
    await run.cancel();
    return run.workflowId;
  },
};
