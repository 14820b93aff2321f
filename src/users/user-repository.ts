// The users rows: read one, and store a change of one with its event and outbox rows, in one transaction.
import { ConflictError, DomainError } from '../domain/errors.ts';
import { isId } from '../domain/ids.ts';
import type { User, UserChange } from '../domain/user.ts';
import type { RunUnitOfWork } from '../event-store/unit-of-work.ts';
import { isUniqueViolation, type Db, type Tx } from '../platform/database.ts';

export type UserRepository = Readonly<{
  /** Within `tx` where given. @returns undefined where the tenant has no such user; `userId` may be any text */
  find(tenantId: string, userId: string, tx?: Tx): Promise<User | undefined>;
  /**
   * Row and event, or neither; nothing where there is no event.
   * @throws DomainError `email-taken` where another user of the tenant has the address
   * @throws ConflictError where somebody else stored the user first: load it again
   */
  save(change: UserChange): Promise<void>;
}>;

export function createUserRepository(deps: Readonly<{ db: Db; unitOfWork: RunUnitOfWork }>): UserRepository {
  const { db, unitOfWork } = deps;
  return {
    async find(tenantId, userId, tx) {
      if (!isId(userId)) return undefined;
      return await (tx ?? db)
        .selectFrom('users')
        .select(['user_id as userId', 'tenant_id as tenantId', 'email', 'version'])
        .where('tenant_id', '=', tenantId)
        .where('user_id', '=', userId)
        .executeTakeFirst();
    },
    async save({ user, event }) {
      if (event === undefined) return;
      try {
        await unitOfWork(async ({ tx, append }) => {
          await (user.version === 1 ? insert(tx, user) : update(tx, user));
          // The row's lock, held until the commit, puts the events into the order of its versions. Others append to the
          // stream as well, so its own version says nothing here.
          await append(event, user.version === 1 ? 'none' : 'exists');
        });
      } catch (error) {
        throw meaningOf(error, user);
      }
    },
  };
}

async function insert(tx: Tx, { userId, tenantId, email, version }: User): Promise<void> {
  await tx.insertInto('users').values({ user_id: userId, tenant_id: tenantId, email, version }).execute();
}

async function update(tx: Tx, { userId, tenantId, email, version }: User): Promise<void> {
  const { numUpdatedRows } = await tx
    .updateTable('users')
    .set(({ fn }) => ({ email, version, updated_at: fn('now', []) }))
    .where('tenant_id', '=', tenantId)
    .where('user_id', '=', userId)
    .where('version', '=', version - 1)
    .executeTakeFirstOrThrow();
  if (numUpdatedRows === 0n) throw new ConflictError(`user ${userId} is no longer at version ${version - 1}`);
}

/** The index decides, and not a look before: of two who want one address at the same time one gets it. */
function meaningOf(error: unknown, { userId }: User): unknown {
  if (isUniqueViolation(error, 'users_address')) {
    return new DomainError('email-taken', 'another user has this address', 'email');
  }
  if (isUniqueViolation(error, 'users_pkey')) return new ConflictError(`user ${userId} is there already`);
  return error;
}
