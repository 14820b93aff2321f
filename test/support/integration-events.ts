// An integration event that no catalogue knows.
import type { IntegrationEvent } from '../../src/domain/integration-event.ts';
import { newId } from '../../src/domain/ids.ts';

export const integrationEvent = (changes: Partial<IntegrationEvent> = {}): IntegrationEvent => ({
  eventId: newId(),
  eventType: 'thing.made',
  version: 2,
  occurredAt: new Date('2026-01-02T03:04:05.678Z'),
  source: '/athyper-sagas',
  aggregateId: 'thing-1',
  aggregateType: 'thing',
  sequence: 1,
  data: { name: 'lamp' },
  metadata: {
    tenantId: 'acme',
    userId: 'u-1',
    correlationId: 'c-1',
    traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
  },
  ...changes,
});
