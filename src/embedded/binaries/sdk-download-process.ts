// A program of its own (see sdk.ts): node sdk-download-process.ts dev-server|time-skipping-server FOLDER.
// The SDK has no call that only downloads, so the server is started and ended again.
import { TestWorkflowEnvironment } from '@temporalio/testing';

const [kind, downloadDir] = process.argv.slice(2);
if (downloadDir === undefined) throw new Error('Which folder?');
const executable = { type: 'cached-download', downloadDir } as const;
const environment =
  kind === 'dev-server'
    ? await TestWorkflowEnvironment.createLocal({ server: { executable } })
    : await TestWorkflowEnvironment.createTimeSkipping({ server: { executable } });
await environment.teardown();
