// The kept histories run through today's workflows: a change that running sagas would trip over fails here.
// UPDATE_REPLAY_HISTORIES=1 records them anew from real runs.
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { fileURLToPath } from 'node:url';
import { temporal } from '@temporalio/proto';
import { DeterminismViolationError } from '@temporalio/workflow';
import { Worker, type ReplayHistoriesIterable } from '@temporalio/worker';
import { beforeAll, describe, expect, it } from 'vitest';
import { eventually, installRuntimeOnce, startSagaService } from '../support/saga-service.ts';
import { sagaPaths } from './saga-paths.ts';

const folder = new URL('./histories/', import.meta.url);
const repository = fileURLToPath(new URL('../../', import.meta.url));
const workflowsPath = fileURLToPath(new URL('../../workflows/index.ts', import.meta.url));
const changedWorkflowsPath = fileURLToPath(new URL('./changed-workflows/index.ts', import.meta.url));

const { History } = temporal.api.history.v1;
/** Readable, and back again without loss. */
const plain = { enums: String, longs: String, bytes: String };

async function recordHistories(): Promise<void> {
  await mkdir(folder, { recursive: true });
  const service = await startSagaService({
    environment: {
      PAYMENT_DEADLINE_SECONDS: '2',
      STEP_LIMIT_SECONDS: '2',
      VERIFICATION_REMINDER_SECONDS: '2',
      VERIFICATION_EXPIRY_SECONDS: '5',
    },
  });
  await service.stock(50);
  for (const [name, path] of Object.entries(sagaPaths)) {
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

async function replay(path: string): Promise<Readonly<Record<string, Error | undefined>>> {
  const results: Record<string, Error | undefined> = {};
  for await (const { workflowId, error } of Worker.runReplayHistories({ workflowsPath: path }, histories())) {
    results[workflowId] = error;
  }
  return results;
}

beforeAll(async () => {
  installRuntimeOnce();
  if (process.env['UPDATE_REPLAY_HISTORIES'] !== undefined) await recordHistories();
}, 5 * 60_000);

describe('the kept histories', () => {
  it('are there for every path', async () => {
    const files = await readdir(folder);
    expect(files).toEqual(expect.arrayContaining(Object.keys(sagaPaths).map((name) => `${name}.json`)));
  });

  // An older history may stay beside a newer one of its path, under another name: a patch has to serve both.
  it('replay on the workflows of today', async () => {
    const files = await readdir(folder);
    expect(await replay(workflowsPath)).toEqual(
      Object.fromEntries(files.map((file) => [file.replace('.json', ''), undefined])),
    );
  });

  it('fail on workflows that were changed without a patch, so a replay that passes means something', async () => {
    const { confirmed, declined } = await replay(changedWorkflowsPath);
    expect(confirmed).toBeInstanceOf(DeterminismViolationError);
    expect(declined).toBeInstanceOf(DeterminismViolationError);
  });
});
