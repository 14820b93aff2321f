// Starts and signals on the real Temporal server, where it refuses them: no event may pay for a wrong configuration.
import { randomUUID } from 'node:crypto';
import type { Client } from '@temporalio/client';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { UnavailableError } from '../../../src/domain/errors.ts';
import { findFreePort } from '../../../src/embedded/children/free-port.ts';
import { DestinationMisconfiguredError, PermanentDeliveryError } from '../../../src/outbox/delivery.ts';
import { connectTemporal } from '../../../src/platform/temporal-client.ts';
import { createSagaClient, type SagaClient, type SagaStartRequest } from '../../../src/sagas/saga-client.ts';
import { services } from '../../support/services.ts';

let temporal: Client;
let client: SagaClient;
beforeAll(() => {
  temporal = connectTemporal({ address: services().temporalAddress, namespace: 'default' });
  client = clientOf(temporal);
});
afterAll(async () => await temporal.connection.close());

const clientOf = (of: Client): SagaClient => createSagaClient({ client: of, taskQueue: `nobody-${randomUUID()}` });
const newRequest = (change: Partial<SagaStartRequest> = {}): SagaStartRequest => ({
  workflow: 'anySaga',
  workflowId: `any-${randomUUID()}`,
  input: {},
  summary: 'a saga that nobody works on',
  details: '',
  searchAttributes: {},
  ...change,
});

it('a start that comes again finds the first run, while it runs and after its end', async () => {
  const request = newRequest();
  const runId = await client.start(request);
  expect(runId).toMatch(/./);
  expect(await client.start(request)).toBe(runId);
  expect(await client.signal(request.workflowId, 'hello', { eventId: 'e-1' })).toBe(true);
  await temporal.workflow.getHandle(request.workflowId).terminate();
  expect(await client.start(request)).toBe(runId);
  expect(await client.signal(request.workflowId, 'hello', { eventId: 'e-1' })).toBe(false);
});

it('a signal to a run that never was says that it is gone', async () => {
  expect(await client.signal(`any-${randomUUID()}`, 'hello', {})).toBe(false);
});

it('a search attribute that nobody has registered is a misconfiguration', async () => {
  const request = newRequest({ searchAttributes: { NobodyKnowsThis: 'x' } });
  await expect(client.start(request)).rejects.toThrow(DestinationMisconfiguredError);
});

it('so is a namespace that is not there', async () => {
  const elsewhere = connectTemporal({ address: services().temporalAddress, namespace: `gone-${randomUUID()}` });
  await expect(clientOf(elsewhere).start(newRequest())).rejects.toThrow(DestinationMisconfiguredError);
  await expect(clientOf(elsewhere).signal('any', 'hello', {})).rejects.toThrow(DestinationMisconfiguredError);
  await elsewhere.connection.close();
});

it('arguments that Temporal refuses are a dead letter', async () => {
  const request = newRequest({ workflowId: 'x'.repeat(2_000) });
  await expect(client.start(request)).rejects.toThrow(PermanentDeliveryError);
});

it('a server that is away is away, and is known to be within the deadline', async () => {
  const away = connectTemporal({ address: `127.0.0.1:${await findFreePort()}`, namespace: 'default' });
  const error: unknown = await clientOf(away)
    .start(newRequest())
    .catch((reason: unknown) => reason);
  await away.connection.close();
  expect(error).toBeInstanceOf(UnavailableError);
  expect(error).not.toBeInstanceOf(DestinationMisconfiguredError);
});
