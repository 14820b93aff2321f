// Users as their own service would write them: events on the user's stream.
import type { EventType } from '../../src/domain/catalogue.ts';
import { newId } from '../../src/domain/ids.ts';
import { metadata, type SagaService } from './saga-service.ts';

const email = 'ada@example.com';

async function append({ parts }: SagaService, userId: string, eventType: EventType, payload: unknown): Promise<void> {
  await parts.store.append({
    eventId: newId(),
    eventType,
    occurredAt: new Date(),
    aggregateId: userId,
    aggregateType: 'user',
    payload,
    metadata,
  });
}

export async function createUser(service: SagaService): Promise<string> {
  const userId = newId();
  await append(service, userId, 'user.created', { userId, email, tenantId: metadata.tenantId });
  return userId;
}

export async function verifyEmail(service: SagaService, userId: string, address = email): Promise<void> {
  await append(service, userId, 'user.email_verified', { userId, email: address });
}
