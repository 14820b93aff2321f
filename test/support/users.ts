// Users as their own service would write them: events on the user's stream.
import { activityInfo } from '@temporalio/activity';
import type { CatalogueEvent, EventPayload } from '../../src/domain/catalogue.ts';
import { newId } from '../../src/domain/ids.ts';
import { verifyAddressId } from '../../src/domain/user-verification.ts';
import { untilParked } from './parked.ts';
import { metadata, type SagaService } from './saga-service.ts';

export const email = 'ada@example.com';

type Happened = 'user.created' | 'user.email_updated' | 'user.email_verified';

async function append<N extends Happened>(
  { parts }: SagaService,
  userId: string,
  eventType: N,
  payload: EventPayload<N>,
): Promise<void> {
  const event = {
    eventId: newId(),
    eventType,
    occurredAt: new Date(),
    aggregateId: userId,
    aggregateType: 'user',
    payload,
    metadata,
  } as const;
  await parts.store.append(event as CatalogueEvent);
}

export async function createUser(service: SagaService): Promise<string> {
  const userId = newId();
  await append(service, userId, 'user.created', { userId, email, tenantId: metadata.tenantId });
  return userId;
}

export async function verifyEmail(service: SagaService, userId: string, address = email): Promise<void> {
  await append(service, userId, 'user.email_verified', { userId, email: address });
}

export const newEmail = 'lovelace@example.com';
/** A new user whose first reminder fails, until it is parked. Not the second. */
export async function parkedReminder(service: SagaService): Promise<string> {
  const userId = await createUser(service);
  const workflowId = verifyAddressId(userId);
  service.faults.unitOfWork = async () => {
    const { activityType, workflowExecution } = activityInfo();
    if (activityType === 'remindOfVerification' && workflowExecution?.workflowId === workflowId) {
      throw new Error('no way to say so');
    }
  };
  await untilParked(service, workflowId, 'remind');
  delete service.faults.unitOfWork;
  return userId;
}

/** @returns the id of the event, which is in the id of the saga of the new address */
export async function changeEmail(service: SagaService, userId: string, to = newEmail, from = email): Promise<string> {
  await append(service, userId, 'user.email_updated', { userId, oldEmail: from, newEmail: to });
  return (await service.parts.store.getEvents(userId)).at(-1)?.eventId ?? '';
}
