// The connection to Temporal, and which of its errors mean what.
import { NamespaceNotFoundError } from '@temporalio/common';
import {
  Client,
  Connection,
  defaultGrpcRetryOptions,
  isGrpcServiceError,
  makeGrpcRetryInterceptor,
  ServiceError,
  WorkflowExecutionAlreadyStartedError,
  WorkflowNotFoundError,
  type ConnectionOptions,
} from '@temporalio/client';

export type TemporalOptions = Readonly<{ address: string; namespace: string }>;

/** gRPC's own pause between attempts to connect grows to 2 min: so long would we not see that Temporal is back. */
const channelArgs = { 'grpc.initial_reconnect_backoff_ms': 250, 'grpc.max_reconnect_backoff_ms': 1_000 };

/** Connects at the first call, so that a process starts while Temporal is away. Close it with `connection.close()`. */
export function connectTemporal({ address, namespace }: TemporalOptions): Client {
  const interceptors = [makeGrpcRetryInterceptor(defaultGrpcRetryOptions()), endAfterClose];
  return new Client({ connection: Connection.lazy({ address, interceptors, channelArgs }), namespace });
}

type Interceptor = NonNullable<ConnectionOptions['interceptors']>[number];
type Listener = Readonly<{ onReceiveMessage(message: unknown): void; onReceiveStatus(status: unknown): void }>;

/** The client's retry may come due after `close`: what is thrown in its timer would end the process (seen). */
const endAfterClose: Interceptor = (options, nextCall) => {
  try {
    return nextCall(options) as ReturnType<Interceptor>;
  } catch (error) {
    if (!(error instanceof Error) || error.message !== 'Channel has been shut down') throw error;
    return cancelledCall(error.message) as unknown as ReturnType<Interceptor>;
  }
};

function cancelledCall(details: string) {
  const nothing = (): void => {};
  return {
    start(metadata: unknown, listener: Listener) {
      listener.onReceiveMessage(null);
      listener.onReceiveStatus({ code: grpc.cancelled, details, metadata });
    },
    sendMessage: nothing,
    halfClose: nothing,
    startRead: nothing,
    cancelWithStatus: nothing,
    getPeer: () => 'closed',
    getAuthContext: () => null,
  };
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
  cancelled: 1,
  invalidArgument: 3,
  notFound: 5,
  permissionDenied: 7,
  unauthenticated: 16,
  failedPrecondition: 9,
  unimplemented: 12,
} as const;
/** CANCELLED, UNKNOWN, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, ABORTED, INTERNAL, UNAVAILABLE */
const passing = new Set([1, 2, 4, 8, 10, 13, 14]);

export function meaningOf(error: unknown): TemporalErrorMeaning {
  if (error instanceof WorkflowExecutionAlreadyStartedError) return 'already-started';
  if (error instanceof WorkflowNotFoundError) return 'not-found';
  // The client makes this of code 5, and drops the code.
  if (error instanceof NamespaceNotFoundError) return 'misconfigured';
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
    case grpc.unimplemented:
      return 'misconfigured';
    default:
      return 'other';
  }
}

/** @throws where the Temporal frontend or the namespace does not answer within `milliseconds` */
export async function checkTemporal(client: Client, namespace: string, milliseconds: number): Promise<void> {
  await withDeadline(client, milliseconds, async () => await client.workflowService.describeNamespace({ namespace }));
}
