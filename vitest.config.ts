import { defineConfig } from 'vitest/config';

const minute = 60_000;

/** @param limit for one test; its hooks (a database, a worker that bundles its workflows) get twice as long. */
function project(name: string, limit: number, services: boolean) {
  return {
    test: {
      name,
      include: [`test/${name}/**/*.test.ts`],
      testTimeout: limit,
      hookTimeout: 2 * limit,
      // Vitest's own second is too short for a busy machine; whoever waits in vain hits the limit of the test.
      expect: { poll: { timeout: limit } },
      // Threads crash with Temporal's native module.
      pool: 'forks' as const,
      globalSetup: services ? ['test/support/global-setup.ts'] : [],
    },
  };
}

const reportFile = process.env['TEST_REPORT'];

export default defineConfig({
  test: {
    // PostgreSQL and Temporal want processors, too.
    maxWorkers: 2,
    reporters:
      reportFile === undefined || reportFile === '' ? ['default'] : ['default', ['json', { outputFile: reportFile }]],
    projects: [
      project('unit', 10_000, false),
      project('integration', minute, true),
      project('replay', minute, true),
      project('e2e', 3 * minute, true),
      project('faults', 5 * minute, true),
    ],
  },
});
