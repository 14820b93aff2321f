// The kept histories run through today's workflows: a change that running sagas would trip over fails here.
// UPDATE_REPLAY_HISTORIES=1 records them anew from real runs, UPDATE_REPLAY_HISTORIES=new only those that are missing.
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { temporal } from '@temporalio/proto';
import { DeterminismViolationError } from '@temporalio/workflow';
import { Worker, type ReplayHistoriesIterable, type ReplayWorkerOptions } from '@temporalio/worker';
import { beforeAll, describe, expect, it } from 'vitest';
import { findWorkflows, writeWorkflowBundle } from '../../src/processes/workflow-bundle.ts';
import { eventually, installRuntimeOnce, startSagaService } from '../support/saga-service.ts';
import { sagaPaths } from './saga-paths.ts';

const folder = new URL('./histories/', import.meta.url);
const repository = fileURLToPath(new URL('../../', import.meta.url));
const changedWorkflowsPath = fileURLToPath(new URL('./changed-workflows/index.ts', import.meta.url));

const { History } = temporal.api.history.v1;
/** Readable, and back again without loss. */
const plain = { enums: String, longs: String, bytes: String };

const limits = {
  PAYMENT_DEADLINE_SECONDS: '2',
  STEP_LIMIT_SECONDS: '2',
  PARK_AFTER_SECONDS: '2',
  PARKED_RETRY_SECONDS: '3',
  VERIFICATION_REMINDER_SECONDS: '2',
  VERIFICATION_EXPIRY_SECONDS: '5',
};

async function recordHistories(which: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  const service = await startSagaService({ environment: limits });
  await service.stock(50);
  const isThere = (name: string): boolean => existsSync(new URL(`${name}.json`, folder));
  for (const [name, path] of Object.entries(sagaPaths).filter(([name]) => which !== 'new' || !isThere(name))) {
    const handle = service.parts.temporal.workflow.getHandle(await path(service));
    await eventually(async () => await handle.describe().catch(() => undefined));
    await handle.result().catch(() => 'a failed run has a history as well');
    const history = History.toObject(History.fromObject(await handle.fetchHistory()), plain);
    await writeFile(new URL(`${name}.json`, folder), `${withoutMachine(JSON.stringify(history, null, 1))}\n`);
  }
  await service.stop();
}

/** A history names the process and the paths of the machine that made it; the replay does not look at them. */
const withoutMachine = (json: string): string => json.replaceAll(repository, '').replaceAll(hostname(), 'recorded');

async function* histories(): ReplayHistoriesIterable {
  for (const file of await readdir(folder)) {
    const recorded = JSON.parse(await readFile(new URL(file, folder), 'utf8')) as Record<string, unknown>;
    yield { workflowId: file.replace('.json', ''), history: History.fromObject(recorded) };
  }
}

type Workflows = Pick<ReplayWorkerOptions, 'workflowsPath' | 'workflowBundle'>;

async function replay(workflows: Workflows): Promise<Readonly<Record<string, Error | undefined>>> {
  const results: Record<string, Error | undefined> = {};
  for await (const { workflowId, error } of Worker.runReplayHistories(workflows, histories())) {
    results[workflowId] = error;
  }
  return results;
}

beforeAll(async () => {
  installRuntimeOnce();
  const which = process.env['UPDATE_REPLAY_HISTORIES'];
  if (which !== undefined) await recordHistories(which);
}, 5 * 60_000);

describe('the kept histories', () => {
  it('are there for every path', async () => {
    const files = await readdir(folder);
    expect(files).toEqual(expect.arrayContaining(Object.keys(sagaPaths).map((name) => `${name}.json`)));
  });

  // An older history may stay beside a newer one of its path, under another name: a patch has to serve both.
  it('replay on the workflows of today', async () => {
    const files = await readdir(folder);
    const bundles = await mkdtemp(join(tmpdir(), 'athyper-sagas-replay-'));
    // As in production: from a bundle that was written before.
    const path = join(bundles, 'workflow-bundle.js');
    await writeWorkflowBundle(path);
    expect(await replay(findWorkflows(path))).toEqual(
      Object.fromEntries(files.map((file) => [file.replace('.json', ''), undefined])),
    );
    await rm(bundles, { recursive: true });
  });

  it('fail on workflows that were changed without a patch, so a replay that passes means something', async () => {
    const { confirmed, declined } = await replay({ workflowsPath: changedWorkflowsPath });
    expect(confirmed).toBeInstanceOf(DeterminismViolationError);
    expect(declined).toBeInstanceOf(DeterminismViolationError);
  });
});
