// The connection to Temporal, and which of its errors mean what.
import {
  Client,
  Connection,
  isGrpcServiceError,
  ServiceError,
  WorkflowExecutionAlreadyStartedError,
  WorkflowNotFoundError,
} from '@temporalio/client';

export type TemporalOptions = Readonly<{ address: string; namespace: string }>;

/** Connects at the first call, so that a process starts while Temporal is away. Close it with `connection.close()`. */
export function connectTemporal({ address, namespace }: TemporalOptions): Client {
  return new Client({ connection: Connection.lazy({ address }), namespace });
}

/** Without a deadline a call blocks for 20 s when Temporal is away (measured). */
export async function withDeadline<T>(client: Client, milliseconds: number, call: () => Promise<T>): Promise<T> {
  return await client.withDeadline(Date.now() + milliseconds, call);
}

/** What a failed call to Temporal means for whoever sent it. */
export type TemporalErrorMeaning =
  | 'already-started'
  | 'not-found'
  | 'unavailable'
  | 'misconfigured'
  | 'rejected'
  | 'other';

const grpc = {
  invalidArgument: 3,
  notFound: 5,
  permissionDenied: 7,
  unauthenticated: 16,
  failedPrecondition: 9,
} as const;
/** CANCELLED, UNKNOWN, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, ABORTED, INTERNAL, UNAVAILABLE */
const passing = new Set([1, 2, 4, 8, 10, 13, 14]);

export function meaningOf(error: unknown): TemporalErrorMeaning {
  if (error instanceof WorkflowExecutionAlreadyStartedError) return 'already-started';
  if (error instanceof WorkflowNotFoundError) return 'not-found';
  const cause = error instanceof ServiceError ? error.cause : error;
  if (!isGrpcServiceError(cause)) return 'other';
  if (passing.has(cause.code)) return 'unavailable';
  switch (cause.code) {
    // A search attribute that is not registered fails every start: that is ours to mend, not the event's fault.
    case grpc.invalidArgument:
      return /search attribute|namespace/i.test(cause.details) ? 'misconfigured' : 'rejected';
    case grpc.notFound:
      return /namespace/i.test(cause.details) ? 'misconfigured' : 'not-found';
    case grpc.permissionDenied:
    case grpc.unauthenticated:
    case grpc.failedPrecondition:
      return 'misconfigured';
    default:
      return 'other';
  }
}

/** @throws where the Temporal frontend or the namespace does not answer within `milliseconds` */
export async function checkTemporal(client: Client, namespace: string, milliseconds: number): Promise<void> {
  await withDeadline(client, milliseconds, async () => await client.workflowService.describeNamespace({ namespace }));
}
