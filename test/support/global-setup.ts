// Once for a run: PostgreSQL with the migrated template database, and the Temporal dev server. The projects that want
// them share them. They end with the run, also with one that is ended with kill -9: the watchdog sees to that.
import type { TestProject } from 'vitest/node';
import type { Services } from './services.ts';
import { startServices, type RunningServices } from './start-services.ts';

// Vitest loads this file once for each project, so that a variable of the module would not be shared.
const shared = globalThis as typeof globalThis & {
  athyperTestServices?: { users: number; running: Promise<RunningServices> };
};

export default async function setUp(project: TestProject): Promise<() => Promise<void>> {
  const state = (shared.athyperTestServices ??= { users: 0, running: startServices() });
  state.users += 1;
  const running = await state.running;
  project.provide('services', running.services satisfies Services);
  return async () => {
    state.users -= 1;
    if (state.users > 0) return;
    delete shared.athyperTestServices;
    await running.stop();
  };
}
