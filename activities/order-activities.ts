// All activities of both sagas, over injected collaborators.
import type { OrderActivities } from '../src/domain/saga-contract.ts';
import type { Db } from '../src/platform/database.ts';
import { createAttentionSteps } from './attention-steps.ts';
import { createOrderSteps, type OrderStepDeps } from './order-steps.ts';
import { createPaymentSteps, type PaymentStepDeps } from './payment-steps.ts';
import { createStepRunner } from './saga-step.ts';

export type OrderActivityDeps = Omit<OrderStepDeps & PaymentStepDeps, 'runStep'> & Readonly<{ db: Db }>;

export function createOrderActivities(deps: OrderActivityDeps): OrderActivities {
  const runStep = createStepRunner({ db: deps.db });
  return {
    ...createOrderSteps({ ...deps, runStep }),
    ...createPaymentSteps({ ...deps, runStep }),
    ...createAttentionSteps(deps),
  };
}
