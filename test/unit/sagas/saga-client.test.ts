// What each of Temporal's errors makes of a delivery: every gRPC code, as Temporal's client throws it.
import {
  ServiceError,
  WorkflowExecutionAlreadyStartedError,
  WorkflowNotFoundError,
  type Client,
} from '@temporalio/client';
import { NamespaceNotFoundError } from '@temporalio/common';
import { describe, expect, it } from 'vitest';
import { UnavailableError } from '../../../src/domain/errors.ts';
import { DestinationMisconfiguredError, PermanentDeliveryError } from '../../../src/outbox/delivery.ts';
import { createSagaClient, type SagaStartRequest } from '../../../src/sagas/saga-client.ts';

const grpcError = (code: number, details = 'as it says'): ServiceError =>
  new ServiceError('the call failed', {
    cause: Object.assign(new Error(details), { code, details, metadata: {} }),
  });

/** Temporal's client, every call of which throws. */
function failing(error: unknown): Client {
  const fail = async (): Promise<never> => {
    throw error;
  };
  const handle = { signal: fail, describe: fail };
  return {
    withDeadline: async (_: number, call: () => Promise<unknown>) => await call(),
    workflow: { start: fail, getHandle: () => handle },
  } as unknown as Client;
}

const request: SagaStartRequest = {
  workflow: 'anySaga',
  workflowId: 'any-saga-1',
  input: {},
  summary: 's',
  details: 'd',
  searchAttributes: {},
};

type Outcome = 'away' | 'misconfigured' | 'dead' | 'attempt' | 'delivered';

function outcomeOf(error: unknown): Outcome {
  if (error instanceof DestinationMisconfiguredError) return 'misconfigured';
  if (error instanceof UnavailableError) return 'away';
  return error instanceof PermanentDeliveryError ? 'dead' : 'attempt';
}
const outcomeOfCall = async (call: Promise<unknown>): Promise<Outcome> =>
  await call.then(
    () => 'delivered' as const,
    (error: unknown) => outcomeOf(error),
  );

describe.each([
  ['CANCELLED', 1, 'away'],
  ['UNKNOWN', 2, 'away'],
  ['INVALID_ARGUMENT', 3, 'dead'],
  ['DEADLINE_EXCEEDED', 4, 'away'],
  ['PERMISSION_DENIED', 7, 'misconfigured'],
  ['RESOURCE_EXHAUSTED', 8, 'away'],
  ['FAILED_PRECONDITION', 9, 'misconfigured'],
  ['ABORTED', 10, 'away'],
  ['OUT_OF_RANGE', 11, 'attempt'],
  ['UNIMPLEMENTED', 12, 'misconfigured'],
  ['INTERNAL', 13, 'away'],
  ['UNAVAILABLE', 14, 'away'],
  ['DATA_LOSS', 15, 'attempt'],
  ['UNAUTHENTICATED', 16, 'misconfigured'],
] as const)('%s (%i)', (_, code, outcome) => {
  const client = createSagaClient({ client: failing(grpcError(code)), taskQueue: 'q' });

  it(`of a start: ${outcome}`, async () => {
    expect(await outcomeOfCall(client.start(request))).toBe(outcome);
  });

  it(`of a signal: ${outcome}`, async () => {
    expect(await outcomeOfCall(client.signal('any-saga-1', 'hello', {}))).toBe(outcome);
  });
});

it.each([
  ['a search attribute that is not registered', grpcError(3, 'search attribute OrderId is not defined')],
  ['a namespace that is not there, as gRPC says it', grpcError(5, 'Namespace shop is not found.')],
  ['a namespace that is not there, as the client says it', new NamespaceNotFoundError('shop')],
])('%s makes no dead letter: the destination is misconfigured', async (_, error) => {
  const client = createSagaClient({ client: failing(error), taskQueue: 'q' });
  expect(await outcomeOfCall(client.start(request))).toBe('misconfigured');
  expect(await outcomeOfCall(client.signal('any-saga-1', 'hello', {}))).toBe('misconfigured');
});

it('a run that was started before counts as delivered, also where its id cannot be asked for', async () => {
  const error = new WorkflowExecutionAlreadyStartedError('again', 'any-saga-1', 'anySaga');
  const client = createSagaClient({ client: failing(error), taskQueue: 'q' });
  expect(await client.start(request)).toBeUndefined();
});

it('a signal to a run that is gone says so', async () => {
  const error = new WorkflowNotFoundError('workflow execution already completed', 'any-saga-1', undefined);
  const client = createSagaClient({ client: failing(error), taskQueue: 'q' });
  expect(await client.signal('any-saga-1', 'hello', {})).toBe(false);
});

it('what is too large is dead before anything is sent', async () => {
  const client = createSagaClient({ client: failing(new Error('this was sent')), taskQueue: 'q' });
  const large = { text: 'x'.repeat(1_000_000) };
  await expect(client.start({ ...request, input: large })).rejects.toThrow(/exceed the 1000000/);
  await expect(client.signal('any-saga-1', 'hello', large)).rejects.toThrow(PermanentDeliveryError);
});
