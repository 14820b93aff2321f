// What an event means to the sagas, as a value: a route decides, the router does it.
import type { EventOf } from '../domain/catalogue.ts';
import type { StoredEvent } from '../domain/event.ts';
import type { SagaLimits } from '../domain/saga-contract.ts';
import type { VerificationLimits } from '../domain/user-verification.ts';
import type { EventStore } from '../event-store/event-store.ts';
import type { SagaEventType } from './event-routes.ts';
import type { SagaStartRequest } from './saga-client.ts';

export type SagaAction =
  /** Once per workflow id, ever. */
  | Readonly<{ kind: 'start'; request: SagaStartRequest }>
  /**
   * At least once: `message` carries the event's id, by which the workflow tells repeats from news. Before the saga is
   * started it waits, in its place; where the run has ended `whenEnded` says what it means then, or throws if it may
   * not have ended.
   */
  | Readonly<{
      kind: 'signal';
      workflowId: string;
      signal: string;
      message: Readonly<{ eventId: string }>;
      whenEnded: () => Promise<SagaAction>;
    }>
  /** It says nothing that the saga's end has not taken into account. */
  | Readonly<{ kind: 'nothing' }>
  /** Too early to decide: asked again, without burning an attempt. */
  | Readonly<{ kind: 'wait'; reason: string; milliseconds: number }>;

export const nothing: SagaAction = { kind: 'nothing' };

export type SagaRouteDeps = Readonly<{
  store: EventStore;
  limits: SagaLimits;
  verification: VerificationLimits;
  /** Minor units that the gateway holds of a payment. @throws UnavailableError */
  heldOf(paymentId: string): Promise<number>;
}>;

/**
 * From the event to what is done. It may be asked again for the same event, later, and decides by what is stored then;
 * it changes nothing itself.
 */
export type SagaRoute<N extends SagaEventType> = (
  event: StoredEvent<EventOf<N>>,
  deps: SagaRouteDeps,
) => SagaAction | Promise<SagaAction>;
