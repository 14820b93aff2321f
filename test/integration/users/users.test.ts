// Users on their way into the database: the row is the truth, and its events are with it in one transaction (G1, G7).
import { sql } from 'kysely';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { ConflictError } from '../../../src/domain/errors.ts';
import { commandContext, newId } from '../../../src/domain/ids.ts';
import { changeEmail, type User } from '../../../src/domain/user.ts';
import { loadUser } from '../../../src/users/user-commands.ts';
import { metadata, startShop, tenantId, type Shop } from '../../support/shop.ts';

let shop: Shop;
beforeAll(async () => {
  shop = await startShop();
});
afterAll(async () => await shop.stop());

const create = async (email: string): Promise<User> => await shop.userCommands.create({ email }, metadata);
const stored = async (userId: string): Promise<User> => await loadUser(shop.users, tenantId, userId);
const deliveriesOf = async (userId: string): Promise<readonly string[]> => {
  const rows = await shop.db
    .selectFrom('outbox')
    .select(['event_type', 'destination'])
    .where('aggregate_id', '=', userId)
    .orderBy('version')
    .orderBy('destination')
    .execute();
  return rows.map((row) => `${row.event_type} to ${row.destination}`);
};
type Change = Readonly<{ oldEmail: string; newEmail: string }>;
const changesOf = async (userId: string): Promise<readonly Change[]> =>
  (await shop.store.getEvents(userId))
    .filter(({ eventType }) => eventType === 'user.email_updated')
    .map(({ payload }) => payload as Change);

/** The last thing that a unit of work writes fails, for one user's events. */
async function whileOutboxRefuses(eventType: string, work: () => Promise<void>): Promise<void> {
  await sql`
    create function refuse() returns trigger language plpgsql as $$ begin raise exception 'no room'; end $$`.execute(
    shop.db,
  );
  await sql`
    create trigger refuse before insert on outbox for each row when (new.event_type = ${sql.lit(eventType)})
      execute function refuse()`.execute(shop.db);
  try {
    await work();
  } finally {
    await sql`drop function refuse cascade`.execute(shop.db);
  }
}

it('each change is stored with its row, its event and a delivery for each destination', async () => {
  const { userId } = await create('stored@example.com');
  await shop.userCommands.changeEmail(userId, 'changed@example.com', metadata);
  expect(await stored(userId)).toEqual({ userId, tenantId, email: 'changed@example.com', version: 2 });
  expect(await shop.store.getEvents(userId)).toMatchObject([
    { eventType: 'user.created', version: 1, payload: { userId, email: 'stored@example.com', tenantId }, metadata },
    { eventType: 'user.email_updated', version: 2, payload: { newEmail: 'changed@example.com' }, metadata },
  ]);
  expect(await deliveriesOf(userId)).toEqual([
    'user.created to bus',
    'user.created to temporal',
    'user.email_updated to bus',
    'user.email_updated to temporal',
  ]);
});

it('a failure after the row is written takes the row back, and no event is left', async () => {
  const userId = newId();
  await whileOutboxRefuses('user.created', async () => {
    const lost = shop.userCommands.create({ userId, email: 'lost@example.com' }, metadata);
    await expect(lost).rejects.toThrow('no room');
  });
  expect(await shop.users.find(tenantId, userId)).toBeUndefined();
  expect(await shop.store.getEvents(userId)).toEqual([]);

  // The address is free, so its index entry went as well.
  const user = await create('lost@example.com');
  await whileOutboxRefuses('user.email_updated', async () => {
    const change = shop.userCommands.changeEmail(user.userId, 'never@example.com', metadata);
    await expect(change).rejects.toThrow('no room');
  });
  expect(await stored(user.userId)).toEqual(user);
  expect(await changesOf(user.userId)).toEqual([]);
});

it('an id whose stream is there already makes no row', async () => {
  const { userId } = await create('stream@example.com');
  await shop.db.deleteFrom('users').where('user_id', '=', userId).execute();
  const again = shop.userCommands.create({ userId, email: 'other-stream@example.com' }, metadata);
  await expect(again).rejects.toThrow(ConflictError);
  expect(await shop.users.find(tenantId, userId)).toBeUndefined();
});

it('of two changes decided on the same state one is stored; the other is a conflict, and leaves nothing', async () => {
  const user = await create('two@example.com');
  await shop.users.save(changeEmail(user, 'first@example.com', commandContext(metadata)));
  const second = shop.users.save(changeEmail(user, 'second@example.com', commandContext(metadata)));
  await expect(second).rejects.toThrow(ConflictError);
  expect(await stored(user.userId)).toMatchObject({ email: 'first@example.com', version: 2 });
  expect(await changesOf(user.userId)).toHaveLength(1);
});

it('of many changes at once none is lost: each event begins where the one before it ended', async () => {
  const { userId } = await create('v0@example.com');
  const addresses = Array.from({ length: 6 }, (_, n) => `v${n + 1}@example.com`);
  await Promise.all(addresses.map(async (email) => await shop.userCommands.changeEmail(userId, email, metadata)));
  const changes = await changesOf(userId);
  expect(changes.map(({ newEmail }) => newEmail).toSorted()).toEqual(addresses);
  const last = changes.at(-1)?.newEmail ?? '';
  expect(changes.map(({ oldEmail }) => oldEmail)).toEqual([
    'v0@example.com',
    ...changes.map(({ newEmail }) => newEmail).filter((email) => email !== last),
  ]);
  expect(await stored(userId)).toMatchObject({ email: last, version: 7 });
});

it('what others append to the user’s stream is no conflict of a change', async () => {
  const { userId } = await create('verified@example.com');
  const payload = { userId, email: 'verified@example.com' };
  const about = { aggregateId: userId, aggregateType: 'user', occurredAt: new Date(), metadata };
  await shop.store.append({ ...about, eventId: newId(), eventType: 'user.email_verified', payload });
  await shop.userCommands.changeEmail(userId, 'after@example.com', metadata);
  expect((await shop.store.getEvents(userId)).map(({ eventType }) => eventType)).toEqual([
    'user.created',
    'user.email_verified',
    'user.email_updated',
  ]);
});

it('two users that take each other’s address at the same time are both refused, and nothing hangs', async () => {
  const [one, two] = [await create('one@example.com'), await create('other@example.com')];
  const swapped = await Promise.allSettled([
    shop.userCommands.changeEmail(one.userId, two.email, metadata),
    shop.userCommands.changeEmail(two.userId, one.email, metadata),
  ]);
  expect(swapped).toMatchObject([{ reason: { code: 'email-taken' } }, { reason: { code: 'email-taken' } }]);
  expect([await stored(one.userId), await stored(two.userId)]).toEqual([one, two]);
});
