// An integration event as others read it: CloudEvents 1.0.2 in structured mode, the same bytes each time.
import type { IntegrationEvent } from '../domain/integration-event.ts';
import { PermanentDeliveryError } from '../outbox/delivery.ts';

/** Of what `JSON.stringify` makes of a `CloudEvent`. */
export const contentType = 'application/cloudevents+json';

/** Attributes, then extensions, then `data`; what is not known is left out. Extensions are lower-case, as they must be. */
export type CloudEvent = Readonly<{
  id: string;
  source: string;
  specversion: '1.0';
  /** `com.athyper.order.confirmed.v1`: the event's type and the version of its `data`. */
  type: string;
  /** The aggregate that it is about. */
  subject: string;
  time: string;
  datacontenttype: 'application/json';
  dataschema: string;
  tenantid?: string;
  userid?: string;
  correlationid?: string;
  traceparent?: string;
  /** Its place in the aggregate, with leading zeros: the specification wants text that sorts. */
  sequence: string;
  /** What shares it must stay in order. */
  partitionkey: string;
  data: unknown;
}>;

/** What the specification asks everybody between us and the receiver to let pass. */
const mostBytes = 65_536;
/** The most of an aggregate's version, which is a 32-bit integer. */
const sequenceDigits = 10;

/** @throws PermanentDeliveryError above 64 KiB as JSON, which no second attempt makes smaller */
export function cloudEventOf(event: IntegrationEvent): CloudEvent {
  const { eventType, version, metadata } = event;
  const cloudEvent: CloudEvent = {
    id: event.eventId,
    source: event.source,
    specversion: '1.0',
    type: `com.athyper.${eventType}.v${version}`,
    subject: event.aggregateId,
    time: event.occurredAt.toISOString(),
    datacontenttype: 'application/json',
    dataschema: `urn:athyper:schema:${eventType}:v${version}`,
    ...(metadata.tenantId !== undefined && { tenantid: metadata.tenantId }),
    ...(metadata.userId !== undefined && { userid: metadata.userId }),
    ...(metadata.correlationId !== undefined && { correlationid: metadata.correlationId }),
    ...(metadata.traceparent !== undefined && { traceparent: metadata.traceparent }),
    sequence: String(event.sequence).padStart(sequenceDigits, '0'),
    partitionkey: event.aggregateId,
    data: event.data,
  };
  const bytes = Buffer.byteLength(JSON.stringify(cloudEvent));
  if (bytes > mostBytes) {
    throw new PermanentDeliveryError(
      `${cloudEvent.type} has ${bytes} bytes as JSON; the limit is ${mostBytes} (64 KiB)`,
    );
  }
  return cloudEvent;
}
