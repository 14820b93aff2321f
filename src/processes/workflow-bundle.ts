// The workflows as one file: built once per release and loaded by its path, or built anew at every start.
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { bundleWorkflowCode, DefaultLogger, type WorkerOptions } from '@temporalio/worker';
import { z } from 'zod';
import { StartupError } from '../platform/startup-error.ts';

const folderOf = (path: string): string => fileURLToPath(new URL(`../../${path}/`, import.meta.url));
const workflowsPath = fileURLToPath(new URL('../../workflows/index.ts', import.meta.url));
/** All of ours that workflow code may import. */
const sourceFolders = [folderOf('workflows'), folderOf('src/domain')];

/** Beside the bundle, in a file of its own: what it was built by and from, and what is in it. */
const recordSchema = z.object({ sdk: z.string(), sources: z.string(), code: z.string() });
export type BundleRecord = Readonly<z.infer<typeof recordSchema>>;
const recordPath = (path: string): string => `${path}.json`;

/** The SDK demands that the same version of it bundles and runs. */
const sdkVersion = (): string =>
  z.object({ version: z.string() }).parse(createRequire(import.meta.url)('@temporalio/worker/package.json')).version;

const sha256 = (...texts: readonly string[]): string => createHash('sha256').update(texts.join('\0')).digest('hex');

function sourcesHash(): string {
  const files = sourceFolders.flatMap((folder) =>
    readdirSync(folder, { encoding: 'utf8', recursive: true })
      .filter((name) => name.endsWith('.ts'))
      .toSorted()
      .flatMap((name) => [name, readFileSync(join(folder, name), 'utf8')]),
  );
  return sha256(...files);
}

/**
 * Builds the bundle at `path` and its record beside it. Cut short it leaves what was there, or a bundle that its record
 * does not fit, which no worker starts with.
 */
export async function writeWorkflowBundle(path: string): Promise<BundleRecord> {
  const { code } = await bundleWorkflowCode({ workflowsPath, logger: new DefaultLogger('WARN') });
  const record: BundleRecord = { sdk: sdkVersion(), sources: sourcesHash(), code: sha256(code) };
  for (const [file, text] of [
    [path, code],
    [recordPath(path), `${JSON.stringify(record, undefined, 2)}\n`],
  ] as const) {
    writeFileSync(`${file}.new`, text);
    renameSync(`${file}.new`, file);
  }
  return record;
}

/**
 * What a worker is told of its workflows. Reads the bundle as a whole, before anything is polled.
 * @param path undefined: bundled by the worker itself, in a second or so
 * @throws StartupError where there is no bundle, or it does not fit this program
 */
export function findWorkflows(path: string | undefined): Pick<WorkerOptions, 'workflowsPath' | 'workflowBundle'> {
  if (path === undefined) return { workflowsPath };
  const wrong = whatIsWrong(path);
  if (wrong === undefined) return { workflowBundle: { codePath: path } };
  throw new StartupError(
    `WORKFLOW_BUNDLE: ${path} ${wrong}. Build it with \`npm run bundle\` and the same WORKFLOW_BUNDLE, or unset that.`,
  );
}

function whatIsWrong(path: string): string | undefined {
  let code: string;
  let record: BundleRecord;
  try {
    code = readFileSync(path, 'utf8');
    record = recordSchema.parse(JSON.parse(readFileSync(recordPath(path), 'utf8')));
  } catch (error) {
    const isMissing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
    return isMissing ? 'is not there, or its record is not' : 'or its record cannot be read';
  }
  if (record.sdk !== sdkVersion())
    return `was built by version ${record.sdk} of Temporal's SDK, this is ${sdkVersion()}`;
  if (record.code !== sha256(code)) return 'is not what its record says: damaged, or written only in part';
  return record.sources === sourcesHash() ? undefined : 'was built from other workflows than those of this program';
}
