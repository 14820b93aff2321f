// What other systems are told: a translation of a domain event, with a version and a shape of its own.

/** The destination, and the Redis stream behind it. */
export const integrationQueue = 'integration-events';

/** A published contract: `data` holds what others need, no personal data beyond that, and changes by a new version only. */
export type IntegrationEvent<T = unknown> = Readonly<{
  /** The id of the domain event that it translates: sent twice it is the same, and receivers can tell. */
  eventId: string;
  /** As `order.confirmed`; with `version` it names the schema of `data`. */
  eventType: string;
  version: number;
  occurredAt: Date;
  /** URI reference of the service. */
  source: string;
  aggregateId: string;
  aggregateType: string;
  /** The domain event's place in its aggregate: orders what a receiver gets of one aggregate. */
  sequence: number;
  data: T;
  metadata: Readonly<{
    tenantId?: string | undefined;
    userId?: string | undefined;
    correlationId?: string | undefined;
    traceparent?: string | undefined;
  }>;
}>;
