// What Temporal knows of sagas' runs, for who compares it with our tables. Lists are a moment late: `look` decides.
import { WorkflowNotFoundError, type Client } from '@temporalio/client';
import { UnavailableError } from '../domain/errors.ts';
import { meaningOf, withDeadline } from '../platform/temporal-client.ts';

/** `none`: never started, or its history is deleted. `closed` has every way to end, by its name in the Web UI. */
export type SagaRun =
  | Readonly<{ state: 'running' | 'none' }>
  | Readonly<{ state: 'closed'; status: string; runId: string; closedAt: Date | undefined }>;

/**
 * Every call throws UnavailableError where Temporal does not answer, or refuses us; from then on at once. Made anew for
 * each reconciliation.
 */
export type SagaRuns = Readonly<{
  /** The latest run. */
  look(workflowId: string): Promise<SagaRun>;
  /** Those of a page of ids that Temporal lists as running. One that is missing may run all the same: `look`. */
  runningAmong(workflowIds: readonly string[]): Promise<ReadonlySet<string>>;
  /** Open runs of our task queue with this SagaStatus, by workflow id; a thousand at most. */
  openWithStatus(status: string): Promise<readonly string[]>;
  /** Somebody asked for it in Temporal, which no event of ours says. */
  wasCancelRequested(workflowId: string, runId: string): Promise<boolean>;
}>;

const callMilliseconds = 5_000;
const mostListed = 1_000;
/** temporal.api.enums.v1.EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED */
const cancelRequested = 20;

export function createSagaRuns({ client, taskQueue }: Readonly<{ client: Client; taskQueue: string }>): SagaRuns {
  let away: UnavailableError | undefined;
  const ask = async <T>(call: () => Promise<T>): Promise<T> => {
    if (away !== undefined) throw away;
    try {
      return await withDeadline(client, callMilliseconds, call);
    } catch (error) {
      const meant = asUnavailable(error);
      if (meant instanceof UnavailableError) away = meant;
      throw meant;
    }
  };
  const list = async (query: string): Promise<readonly string[]> =>
    await ask(async () => {
      const found: string[] = [];
      for await (const { workflowId } of client.workflow.list({ query })) {
        if (found.push(workflowId) >= mostListed) break;
      }
      return found;
    });
  return {
    look: async (workflowId) =>
      await ask(async () => {
        try {
          const { status, runId, closeTime } = await client.workflow.getHandle(workflowId).describe();
          if (status.name === 'RUNNING' || status.name === 'PAUSED') return { state: 'running' };
          return { state: 'closed', status: status.name, runId, closedAt: closeTime };
        } catch (error) {
          if (error instanceof WorkflowNotFoundError) return { state: 'none' };
          throw error;
        }
      }),
    async runningAmong(workflowIds) {
      if (workflowIds.length === 0) return new Set();
      const ids = workflowIds.map((id) => quoted(id)).join(', ');
      return new Set(await list(`ExecutionStatus = "Running" AND WorkflowId IN (${ids})`));
    },
    openWithStatus: async (status) =>
      await list(`ExecutionStatus = "Running" AND TaskQueue = ${quoted(taskQueue)} AND SagaStatus = ${quoted(status)}`),
    wasCancelRequested: async (workflowId, runId) =>
      await ask(async () => {
        const { events } = await client.workflow.getHandle(workflowId, runId).fetchHistory();
        return (events ?? []).some(({ eventType }) => eventType === cancelRequested);
      }),
  };
}

const quoted = (text: string): string => `"${text.replaceAll('"', '')}"`;

function asUnavailable(error: unknown): unknown {
  const text = error instanceof Error ? `${error.message}: ${String(error.cause ?? '')}` : String(error);
  switch (meaningOf(error)) {
    case 'unavailable':
      return new UnavailableError(`Temporal is away: ${text}`, { cause: error });
    case 'misconfigured':
    case 'rejected':
      return new UnavailableError(`Temporal refuses to answer: ${text}`, { cause: error });
    case 'already-started':
    case 'not-found':
    case 'other':
      return error;
  }
}
