// A step that is repeated after others have moved the order on.
import { afterAll, beforeAll, expect, it } from 'vitest';
import { stepContext } from '../../../src/domain/ids.ts';
import { loadOrder } from '../../../src/orders/order-repository.ts';
import { metadata, startSagaService, type SagaService } from '../../support/saga-service.ts';

let service: SagaService;
beforeAll(async () => {
  service = await startSagaService({ worker: false, relay: false });
});
afterAll(async () => await service.stop());

it('appends nothing and leaves the row as the later events made it', async () => {
  const orderId = await service.submit();
  const { repository } = service.parts;
  const context = () => stepContext(metadata, 'a-saga', 'confirmOrder');
  const early = await loadOrder(repository, orderId, context());
  const late = await loadOrder(repository, orderId, context());
  early.markAsConfirmed('01a208d6-a6b3-77bf-9ead-213376bf3e6b');
  await repository.save(early);
  await service.commands.cancel(orderId, 'wrong colour', 'customer', metadata);
  const before = await service.order(orderId);

  late.markAsConfirmed('01a208d6-a6b3-77bf-9ead-213376bf3e6b');
  await repository.save(late);

  expect(await service.order(orderId)).toEqual(before);
  expect(before).toMatchObject({ cancellationRequested: true, version: 5 });
  expect(await service.parts.store.getEvents(orderId)).toHaveLength(5);
});
