// The workflows' code, bundled ahead of the start: a worker runs sagas from it, and none starts with one that is wrong.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { StartupError } from '../../src/platform/startup-error.ts';
import { findWorkflows, type BundleRecord } from '../../src/processes/workflow-bundle.ts';
import { createTestDatabase } from '../support/database.ts';
import { runMain, type CommandEnd } from '../support/role-process.ts';
import { startSagaService } from '../support/saga-service.ts';
import { services } from '../support/services.ts';

let folder: string;
let path: string;
let built: CommandEnd;
let code: string;
let record: BundleRecord;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'athyper-sagas-bundle-'));
  path = join(folder, 'workflow-bundle.js');
  built = await runMain(['bundle'], { WORKFLOW_BUNDLE: path });
  code = readFileSync(path, 'utf8');
  record = JSON.parse(readFileSync(`${path}.json`, 'utf8')) as BundleRecord;
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('the command `bundle`', () => {
  it('writes the bundle, and beside it by which SDK it was built and what is in it', () => {
    expect(built).toMatchObject({ code: 0, stderr: '' });
    expect(built.stdout).toContain(`${path} (sha256 ${record.code})`);
    expect(record).toEqual({
      sdk: expect.stringMatching(/^1\.\d+\.\d+$/) as string,
      sources: expect.stringMatching(/^[0-9a-f]{64}$/) as string,
      code: expect.stringMatching(/^[0-9a-f]{64}$/) as string,
    });
  });
});

describe('a worker that is given a bundle', () => {
  beforeEach(() => {
    writeFileSync(path, code);
    writeFileSync(`${path}.json`, JSON.stringify(record));
  });

  it('runs sagas from it', async () => {
    const service = await startSagaService({ environment: { WORKFLOW_BUNDLE: path } });
    await service.stock(5);
    const orderId = await service.submit();
    expect(await service.ended(orderId)).toMatchObject({ status: 'confirmed' });
    await service.stop();
  });

  it.each([
    ['is missing', () => rmSync(path), 'is not there'],
    ['has no record', () => rmSync(`${path}.json`), 'is not there, or its record is not'],
    ['has a record that is cut short', () => writeFileSync(`${path}.json`, '{"sdk":'), 'its record cannot be read'],
    ['is cut short', () => writeFileSync(path, code.slice(0, 1000)), 'is not what its record says'],
    ['was built by another SDK', () => rewrite({ sdk: '1.23.0' }), "by version 1.23.0 of Temporal's SDK, this is 1."],
    ['was built from other workflows', () => rewrite({ sources: 'others' }), 'was built from other workflows'],
  ])('is refused where it %s', (_, spoil, says) => {
    spoil();
    expect(() => findWorkflows(path)).toThrow(StartupError);
    expect(() => findWorkflows(path)).toThrow(says);
  });

  it('does not start with one that does not fit, and says so in one line', async () => {
    rmSync(path);
    const database = await createTestDatabase();
    const { temporalAddress } = services();
    const environment = { DATABASE_URL: database.url, TEMPORAL_ADDRESS: temporalAddress, WORKFLOW_BUNDLE: path };
    const end = await runMain(['worker'], environment);
    await database.drop();
    expect(end.stderr).toMatch(/^WORKFLOW_BUNDLE: [^\n]+ is not there[^\n]+`npm run bundle`[^\n]+\n$/);
    expect(end.code).toBe(1);
  });
});

function rewrite(change: Partial<BundleRecord>): void {
  writeFileSync(`${path}.json`, JSON.stringify({ ...record, ...change }));
}
