// Is the process alive, can it do its work, and how is it doing?
import express, { Router, type Express } from 'express';
import helmet from 'helmet';
import { within } from '../platform/within.ts';
import { answerErrors, answerUnknownPath } from './protocol/answer-errors.ts';
import { jsonAnswer } from './protocol/answer.ts';
import { takeCorrelationId } from './protocol/request-context.ts';
import { methodNotAllowed, sendAnswer } from './protocol/routes.ts';

export type ReadinessCheck = () => Promise<Readonly<{ ok: boolean; detail?: string; [extra: string]: unknown }>>;
export type ReadinessChecks = Readonly<Record<string, ReadinessCheck>>;

/** Below what load balancers wait for an answer (3 to 5 s). */
const limitMilliseconds = 2_000;

/** Read from memory: a scrape waits for no server. */
export type MetricsText = Readonly<{ contentType: string; text(): Promise<string> }>;
type HealthDeps = Readonly<{ checks: ReadinessChecks; metrics: MetricsText }>;

export function createHealthRouter(deps: HealthDeps): Router {
  const router = Router({ caseSensitive: true });
  router.get('/healthz', (_request, response) => {
    sendAnswer(response, jsonAnswer(200, { status: 'ok' }));
  });
  router.get('/readyz', async (_request, response) => {
    const named = Object.entries(deps.checks).map(async ([name, check]) => [name, await bounded(check)] as const);
    const checks = Object.fromEntries(await Promise.all(named));
    const ready = Object.values(checks).every((check) => check.ok);
    sendAnswer(response, jsonAnswer(ready ? 200 : 503, { status: ready ? 'ready' : 'not-ready', checks }));
  });
  router.get('/metrics', async (_request, response) => {
    const { contentType, text } = deps.metrics;
    sendAnswer(response, { status: 200, headers: { 'Content-Type': contentType }, body: await text() });
  });
  router.all(['/healthz', '/readyz', '/metrics'], (request) => {
    throw methodNotAllowed(request.method, 'GET, HEAD');
  });
  return router;
}

/** For roles that serve nothing else. */
export function createHealthApp(deps: HealthDeps): Express {
  const app = express();
  app.use(helmet(), takeCorrelationId);
  app.use(createHealthRouter(deps));
  app.use(answerUnknownPath, answerErrors());
  return app;
}

/** A check that hangs or throws is one that fails; the others still tell what they know. */
async function bounded(check: ReadinessCheck): ReturnType<ReadinessCheck> {
  try {
    return await within(limitMilliseconds, check(), () => new Error(`no answer within ${limitMilliseconds} ms`));
  } catch (error) {
    return { ok: false, detail: error instanceof Error ? error.message : 'the check failed' };
  }
}
