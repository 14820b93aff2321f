// Temporal's time-skipping server for one test file. The SDK starts it as a child that nobody ends if the test file
// breaks before its teardown, or is killed: the watchdog does.
import { TestWorkflowEnvironment } from '@temporalio/testing';
import { sagaSearchAttributes, type SagaLimits } from '../../src/domain/saga-contract.ts';
import { startWatchdog } from '../../src/embedded/watchdog.ts';
import { delivered } from '../../src/outbox/delivery.ts';
import { createSagaClient } from '../../src/sagas/saga-client.ts';
import { createSagaRouter } from '../../src/sagas/saga-router.ts';
import { createSagaStarts } from '../../src/sagas/saga-starts.ts';
import { childrenOf } from './processes.ts';
import { installRuntimeOnce, startSagaService, type SagaService } from './saga-service.ts';
import { services } from './services.ts';

export type TimeSkipping = Readonly<{ environment: TestWorkflowEnvironment; tearDown(): Promise<void> }>;

export async function startTimeSkipping(): Promise<TimeSkipping> {
  const watchdog = startWatchdog(process.env);
  const before = childrenOf(process.pid);
  const executable = { type: 'existing-path', path: services().timeSkippingServerPath } as const;
  const environment = await TestWorkflowEnvironment.createTimeSkipping({ server: { executable } });
  for (const pid of childrenOf(process.pid)) if (!before.includes(pid)) watchdog.adopt(pid, ['SIGTERM', 'SIGKILL']);
  return {
    environment,
    tearDown: async () => {
      await environment.teardown();
      await watchdog.release();
    },
  };
}

/** temporal.api.enums.v1.IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD */
const keyword = 2;

/** A service whose sagas run on skipped time; it has no relay, so the test starts each of them. */
export type SkippingService = Readonly<{
  environment: TestWorkflowEnvironment;
  service: SagaService;
  /** What the relay does with the order's event of this type. */
  deliver(orderId: string, eventType: string): Promise<void>;
  stop(): Promise<void>;
}>;

export async function startSkippingService(limits: SagaLimits): Promise<SkippingService> {
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
  const route = createSagaRouter({ client, starts: createSagaStarts(db), store, limits, heldOf: async () => 0 });
  return {
    environment,
    service,
    async deliver(orderId, eventType) {
      const event = (await store.getEvents(orderId)).find((stored) => stored.eventType === eventType);
      if (event === undefined) throw new Error(`the order has no ${eventType}`);
      const outcome = await route({ event, attempts: 1, redelivered: false });
      if (outcome !== delivered) throw new Error(`not delivered: ${outcome.kind}`);
    },
    async stop() {
      await service.stop();
      await tearDown();
    },
  };
}
