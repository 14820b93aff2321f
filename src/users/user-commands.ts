// What can be done to a user from outside: load, decide, save; again with fresh state where somebody was faster.
import { ConflictError, DomainError } from '../domain/errors.ts';
import type { EventMetadata } from '../domain/event.ts';
import { commandContext, newId } from '../domain/ids.ts';
import { changeEmail, createUser, type User } from '../domain/user.ts';
import type { UserRepository } from './user-repository.ts';

export type NewUser = Readonly<{
  /** Given by a caller that may have to repeat the command; the same id is the same user. */
  userId?: string | undefined;
  email: string;
}>;

/** Each returns the user as saved, of the tenant in `metadata`. @throws DomainError `email-taken`, `user-not-found` */
export type UserCommands = Readonly<{
  create(input: NewUser, metadata: EventMetadata): Promise<User>;
  changeEmail(userId: string, email: string, metadata: EventMetadata): Promise<User>;
}>;

/** Two writers of one user are rare; ten losses in a row are not chance, and the caller should hear of it. */
const mostAttempts = 10;

export function createUserCommands(deps: Readonly<{ users: UserRepository }>): UserCommands {
  const { users } = deps;
  return {
    async create(input, metadata) {
      const userId = input.userId ?? newId();
      const change = createUser({ userId, email: input.email }, commandContext(metadata));
      try {
        await users.save(change);
        return change.user;
      } catch (error) {
        const mayBeARepeat = error instanceof ConflictError || error instanceof DomainError;
        if (input.userId === undefined || !mayBeARepeat) throw error;
        // An earlier attempt has made it. Its address may have changed since, so it is not compared.
        const made = await users.find(metadata.tenantId, userId);
        if (made === undefined) throw error;
        return made;
      }
    },
    async changeEmail(userId, email, metadata) {
      const context = commandContext(metadata);
      for (let attempt = 1; ; attempt += 1) {
        const change = changeEmail(await loadUser(users, metadata.tenantId, userId), email, context);
        try {
          await users.save(change);
          return change.user;
        } catch (error) {
          if (!(error instanceof ConflictError) || attempt >= mostAttempts) throw error;
        }
      }
    },
  };
}

/** @throws DomainError `user-not-found`, also for another tenant's user */
export async function loadUser(users: UserRepository, tenantId: string, userId: string): Promise<User> {
  const user = await users.find(tenantId, userId);
  if (user === undefined) throw userNotFound(userId);
  return user;
}

export const userNotFound = (userId: string): DomainError =>
  new DomainError('user-not-found', `there is no user ${userId}`, 'userId');
