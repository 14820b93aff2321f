// Starts and signals, each with a deadline and with Temporal's errors turned into what the relay does about them.
import type { Client } from '@temporalio/client';
import { defineSearchAttributeKey, type SearchAttributePair } from '@temporalio/common';
import { UnavailableError } from '../domain/errors.ts';
import { DestinationMisconfiguredError, PermanentDeliveryError } from '../outbox/delivery.ts';
import { meaningOf, withDeadline } from '../platform/temporal-client.ts';

export type SagaStartRequest = Readonly<{
  workflow: string;
  workflowId: string;
  input: unknown;
  /** Shown in the Web UI's list and at the top of the run. */
  summary: string;
  /** Markdown, in the run's details. */
  details: string;
  searchAttributes: Readonly<Record<string, string>>;
  /** Another run after the first has ended or is gone. For `reconcile`, which has made sure that this is right. */
  isRepair?: boolean;
}>;

export type SagaClient = Readonly<{
  /** Once per workflow id, running or finished (a repair: running). @returns the run's id, of an earlier start too, where Temporal tells it */
  start(request: SagaStartRequest): Promise<string | undefined>;
  /** @returns false where the run has ended */
  signal(workflowId: string, signal: string, message: unknown): Promise<boolean>;
}>;

const callMilliseconds = 5_000;
/**
 * How long a workflow task that a dead worker had taken is waited for; the default is 10 s. It takes milliseconds, also as
 * a replay of a few dozen events (docs/adr/0007-fast-failover.md).
 */
const workflowTaskTimeout = '2 seconds';
/** Temporal refuses payloads from 2 MB on, and its client retries a too large call for 40 s: refused here instead. */
const mostBytes = 1_000_000;

export function createSagaClient(deps: Readonly<{ client: Client; taskQueue: string }>): SagaClient {
  const { client, taskQueue } = deps;
  return {
    async start({ workflow, workflowId, input, summary, details, searchAttributes, isRepair = false }) {
      checkSize(input);
      try {
        const handle = await withDeadline(
          client,
          callMilliseconds,
          async () =>
            await client.workflow.start(workflow, {
              taskQueue,
              workflowId,
              args: [input],
              workflowIdReusePolicy: isRepair ? 'ALLOW_DUPLICATE' : 'REJECT_DUPLICATE',
              workflowIdConflictPolicy: 'USE_EXISTING',
              workflowTaskTimeout,
              staticSummary: summary,
              staticDetails: details,
              typedSearchAttributes: keywords(searchAttributes),
            }),
        );
        return handle.firstExecutionRunId;
      } catch (error) {
        if (meaningOf(error) === 'already-started') return await runIdOf(client, workflowId);
        throw toDeliveryError(error);
      }
    },
    async signal(workflowId, signal, message) {
      checkSize(message);
      try {
        await withDeadline(client, callMilliseconds, async () => {
          await client.workflow.getHandle(workflowId).signal(signal, message);
        });
        return true;
      } catch (error) {
        if (meaningOf(error) === 'not-found') return false;
        throw toDeliveryError(error);
      }
    },
  };
}

/** Of the run that an earlier attempt started and did not live to tell; for people, so not worth failing for. */
async function runIdOf(client: Client, workflowId: string): Promise<string | undefined> {
  try {
    const handle = client.workflow.getHandle(workflowId);
    return (await withDeadline(client, callMilliseconds, async () => await handle.describe())).runId;
  } catch {
    return undefined;
  }
}

function checkSize(message: unknown): void {
  const bytes = Buffer.byteLength(JSON.stringify(message));
  if (bytes > mostBytes) throw new PermanentDeliveryError(`${bytes} bytes exceed the ${mostBytes} that a saga takes`);
}

const keywords = (attributes: Readonly<Record<string, string>>): SearchAttributePair[] =>
  Object.entries(attributes).map(([name, value]) => ({ key: defineSearchAttributeKey(name, 'KEYWORD'), value }));

/** Misconfiguration holds the destination like an outage, with an alarm: no event is at fault, and none may be lost. */
export function toDeliveryError(error: unknown): unknown {
  const text = error instanceof Error ? `${error.message}: ${String(error.cause ?? '')}` : String(error);
  switch (meaningOf(error)) {
    case 'unavailable':
      return new UnavailableError(`Temporal is away: ${text}`, { cause: error });
    case 'misconfigured':
      return new DestinationMisconfiguredError(`Temporal is misconfigured: ${text}`, { cause: error });
    case 'rejected':
      return new PermanentDeliveryError(`Temporal refuses the call: ${text}`);
    case 'already-started':
    case 'not-found':
    case 'other':
      return error;
  }
}
