// Jobs, for operators: what waits, what is dead, and sending it again.
import { Router } from 'express';
import { z } from 'zod';
import { isId } from '../domain/ids.ts';
import { listJobs, retryDeadJobs, type JobCursor } from '../jobs/job-admin.ts';
import type { Db } from '../platform/database.ts';
import type { Idempotent } from './idempotency/idempotent.ts';
import { jsonAnswer } from './protocol/answer.ts';
import { countOf, encodeNext, nextOf, parse } from './protocol/fields.ts';
import { HttpError } from './protocol/problems.ts';
import { pathPart, serve } from './protocol/routes.ts';

const instant = /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d{1,6})?[+-]\d\d(?::\d\d)?$/;
const cursorSchema = z.object({ createdOn: z.string().regex(instant), id: z.string().refine(isId) });
const listSchema = z.strictObject({
  state: z.enum(['pending', 'dead']).default('dead'),
  name: z.string().optional(),
  limit: countOf(200, 50),
  after: nextOf<JobCursor>(cursorSchema).optional(),
});

/** `jobNames`: of all that there are. */
export type JobRouterDeps = Readonly<{ db: Db; idempotent: Idempotent; jobNames: readonly string[] }>;

export function createJobRouter({ db, idempotent, jobNames }: JobRouterDeps): Router {
  const router = Router({ caseSensitive: true });

  serve(router, '/jobs', {
    get: async ({ request, metadata: { tenantId } }) => {
      const { name, ...filter } = parse(listSchema, request.query);
      const names = name === undefined ? jobNames : [knownName(jobNames, name)];
      const { jobs, next } = await listJobs(db, { ...filter, names, tenantId });
      return jsonAnswer(200, { jobs, next: encodeNext(next) });
    },
  });

  // One job by its id, or all dead ones of a name.
  serve(router, '/jobs/:which/retry', {
    post: idempotent(async ({ request, metadata: { tenantId } }) => {
      const which = pathPart(request, 'which');
      if (!isId(which)) {
        const names = [knownName(jobNames, which)];
        return jsonAnswer(202, { retried: await retryDeadJobs(db, { tenantId, names }) });
      }
      const retried = await retryDeadJobs(db, { tenantId, names: jobNames, jobId: which });
      if (retried === 0) {
        throw new HttpError({ status: 404, code: 'dead-letter-not-found', detail: `${which} is no dead job` });
      }
      return jsonAnswer(202, { retried });
    }),
  });
  return router;
}

function knownName(names: readonly string[], name: string): string {
  if (names.includes(name)) return name;
  const detail = `there is no job ${name}; there are ${names.join(', ')}`;
  throw new HttpError({ status: 404, code: 'job-not-found', detail });
}
