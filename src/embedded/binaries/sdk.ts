// The rung that lets Temporal's SDK download the server, as it does for tests.
import { readdirSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import type { Adopt } from '../children/child.ts';
import { fillCache } from './cache.ts';
import type { SdkDownload } from './catalogue.ts';
import { found, notFound, type Rung } from './ladder.ts';
import { runLongCommand, type CommandLimits } from './long-command.ts';

/** Its download is cached under its own version, since it chooses the server's version itself. */
export const sdkVersion = z
  .object({ version: z.string() })
  .parse(createRequire(import.meta.url)('@temporalio/testing/package.json')).version;

export type SdkRungDeps = Readonly<{
  name: string;
  cache: string | undefined;
  /** Leaves the downloaded program in the folder; returns why it could not, or undefined. */
  download: (folder: string) => Promise<string | undefined>;
}>;

export function sdkRung(deps: SdkRungDeps): Rung {
  return {
    name: "the SDK's own download",
    look: async () => {
      if (deps.cache === undefined) return notFound('no cache folder that can be written');
      let reason = 'it left no program';
      const path = await fillCache(deps.cache, deps.name, `sdk-${sdkVersion}`, async (scratch) => {
        const failure = await deps.download(scratch);
        if (failure !== undefined) reason = failure;
        return failure === undefined ? largestFile(scratch) : undefined;
      });
      return path === undefined ? notFound(reason) : found(path);
    },
  };
}

/**
 * The SDK's download, in a process of its own: it cannot be interrupted, and would wait for ever for a host that does
 * not answer.
 */
export function downloadWithSdk(
  deps: Readonly<{
    kind: SdkDownload;
    title: string;
    environment: NodeJS.ProcessEnv;
    limits: CommandLimits;
    report: (line: string) => void;
    signal?: AbortSignal | undefined;
    adopt?: Adopt | undefined;
  }>,
): SdkRungDeps['download'] {
  return (folder) => {
    const what = `downloading ${deps.title} (from temporal.download)`;
    deps.report(what);
    return runLongCommand({
      program: process.execPath,
      args: [fileURLToPath(new URL('./sdk-download-process.ts', import.meta.url)), deps.kind, folder],
      environment: { ...deps.environment, NODE_OPTIONS: '' },
      what,
      growing: folder,
      limits: deps.limits,
      report: deps.report,
      signal: deps.signal,
      adopt: deps.adopt,
    });
  };
}

/** Its name holds the SDK's version, and is not ours to know. */
function largestFile(folder: string): string | undefined {
  const files = readdirSync(folder)
    .map((name) => ({ path: join(folder, name), stat: statSync(join(folder, name)) }))
    .filter(({ stat }) => stat.isFile());
  return files.toSorted((one, other) => other.stat.size - one.stat.size)[0]?.path;
}
