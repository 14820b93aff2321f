// The verification of a user's address: how far it is, and what an operator decides about a step of it that is parked.
import { Router } from 'express';
import type { EventStore } from '../event-store/event-store.ts';
import type { SagaResolutions } from '../sagas/saga-resolutions.ts';
import type { SagaViews } from '../sagas/saga-view.ts';
import { findVerification } from '../sagas/verification-runs.ts';
import { loadUser } from '../users/user-commands.ts';
import type { UserRepository } from '../users/user-repository.ts';
import type { Idempotent } from './idempotency/idempotent.ts';
import { jsonAnswer } from './protocol/answer.ts';
import { notFound } from './protocol/problems.ts';
import { serve } from './protocol/routes.ts';
import { eventIdOf, resolutionIn } from './saga-resolve-routes.ts';
import { userIdOf } from './users-routes.ts';

export type VerificationRouterDeps = Readonly<{
  store: EventStore;
  users: UserRepository;
  sagaViews: SagaViews;
  resolutions: SagaResolutions;
  idempotent: Idempotent;
}>;

export function createVerificationRouter(deps: VerificationRouterDeps): Router {
  const { users, resolutions, idempotent } = deps;
  const router = Router({ caseSensitive: true });

  serve(router, '/users/:userId/verification', {
    get: async ({ request, metadata }) => {
      const { userId } = await loadUser(users, metadata.tenantId, userIdOf(request));
      const view = await findVerification(deps, userId);
      if (view === undefined) throw notFound('saga-not-found', `the user ${userId} has no verification`);
      return jsonAnswer(200, { userId, ...view });
    },
  });

  serve(router, '/users/:userId/verification/resolve', {
    post: idempotent(async ({ request, metadata }, attempt) => {
      const word = resolutionIn(request);
      const { userId } = await loadUser(users, metadata.tenantId, userIdOf(request));
      const { workflowId } = await resolutions.requestForUser({ userId }, word, metadata, eventIdOf(attempt));
      // The saga hears of it through the outbox, and acts on it then.
      return jsonAnswer(202, { userId, workflowId, step: word.step, action: word.action });
    }),
  });
  return router;
}
