// Users and their addresses.
import { Router, type Request } from 'express';
import { z } from 'zod';
import { isId } from '../domain/ids.ts';
import { emailRule, parseEmailAddress } from '../domain/user-address.ts';
import type { User } from '../domain/user.ts';
import { loadUser, userNotFound, type UserCommands } from '../users/user-commands.ts';
import type { UserRepository } from '../users/user-repository.ts';
import { idOfAttempt, type Idempotent } from './idempotency/idempotent.ts';
import { jsonAnswer } from './protocol/answer.ts';
import { bodyOf } from './protocol/body.ts';
import { parse } from './protocol/fields.ts';
import { pathPart, serve } from './protocol/routes.ts';

const userSchema = z.strictObject({
  email: z
    .string()
    .refine((given) => parseEmailAddress(given) !== undefined, emailRule)
    .transform((given) => parseEmailAddress(given) ?? given),
});

export type UsersRouterDeps = Readonly<{ users: UserRepository; userCommands: UserCommands; idempotent: Idempotent }>;

export function createUsersRouter({ users, userCommands, idempotent }: UsersRouterDeps): Router {
  const router = Router({ caseSensitive: true });

  serve(router, '/users', {
    // The id comes from the key, so however often the request is sent, it makes one user.
    post: idempotent(async ({ request, metadata }, attempt) => {
      const { email } = parse(userSchema, bodyOf(request));
      const userId = attempt === undefined ? undefined : idOfAttempt(attempt);
      const user = await userCommands.create({ userId, email }, metadata);
      return jsonAnswer(201, viewOf(user), { Location: `/users/${user.userId}` });
    }),
  });

  serve(router, '/users/:userId', {
    get: async ({ request, metadata }) =>
      jsonAnswer(200, viewOf(await loadUser(users, metadata.tenantId, userIdOf(request)))),
    // Sent again it finds its address there, and changes nothing: it needs no key.
    patch: async ({ request, metadata }) => {
      const userId = userIdOf(request);
      const { email } = parse(userSchema, bodyOf(request));
      return jsonAnswer(200, viewOf(await userCommands.changeEmail(userId, email, metadata)));
    },
  });
  return router;
}

const viewOf = ({ userId, email }: User): Readonly<{ userId: string; email: string }> => ({ userId, email });

/** What is no UUID is no user: 404, as for a user that is not there. In small letters, as ids are stored. */
export function userIdOf(request: Request): string {
  const userId = pathPart(request, 'userId');
  if (!isId(userId)) throw userNotFound(userId);
  return userId.toLowerCase();
}
