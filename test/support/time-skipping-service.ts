// The service on the time-skipping server: weeks in a moment, nothing else faked. Without a relay, which could not list
// search attributes there: what it does with an event is done by hand.
import type { TestWorkflowEnvironment } from '@temporalio/testing';
import { sagaSearchAttributes, type SagaLimits } from '../../src/domain/saga-contract.ts';
import type { VerificationLimits } from '../../src/domain/user-verification.ts';
import type { DeliveryOutcome } from '../../src/outbox/delivery.ts';
import { createSagaClient } from '../../src/sagas/saga-client.ts';
import { createSagaRouter } from '../../src/sagas/saga-router.ts';
import { createSagaStarts } from '../../src/sagas/saga-starts.ts';
import { installRuntimeOnce, startSagaService, type SagaService } from './saga-service.ts';
import { startTimeSkipping } from './time-skipping.ts';

/** temporal.api.enums.v1.IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD */
const keyword = 2;
const defaultLimits: SagaLimits = { paymentDeadlineSeconds: 900, stepLimitSeconds: 900 };
const verification: VerificationLimits = { reminderSeconds: 86_400, expirySeconds: 7 * 86_400 };

export type TimeSkippingService = Readonly<{
  environment: TestWorkflowEnvironment;
  service: SagaService;
  /** Brings the aggregate's event of this type, or id, to its sagas, as the relay does. */
  deliver(aggregateId: string, event: string): Promise<DeliveryOutcome>;
  stop(): Promise<void>;
}>;

export async function startTimeSkippingService(limits = defaultLimits): Promise<TimeSkippingService> {
  installRuntimeOnce();
  const { environment, tearDown } = await startTimeSkipping();
  // This server can add search attributes but not list them, so the boot check of the service does not run on it.
  await environment.connection.operatorService.addSearchAttributes({
    namespace: 'default',
    searchAttributes: Object.fromEntries(sagaSearchAttributes.map((name) => [name, keyword])),
  });
  const service = await startSagaService({ relay: false, environment: { TEMPORAL_ADDRESS: environment.address } });
  const { store, db, settings } = service.parts;
  const client = createSagaClient({ client: environment.client, taskQueue: settings.temporalTaskQueue });
  const starts = createSagaStarts(db);
  const route = createSagaRouter({ client, starts, store, limits, verification, heldOf: async () => 0 });
  return {
    environment,
    service,
    async deliver(aggregateId, wanted) {
      const event = (await store.getEvents(aggregateId)).find(
        ({ eventType, eventId }) => eventType === wanted || eventId === wanted,
      );
      if (event === undefined) throw new Error(`${aggregateId} has no ${wanted}`);
      return await route({ event, attempts: 1, redelivered: false });
    },
    async stop() {
      await service.stop();
      await tearDown();
    },
  };
}
