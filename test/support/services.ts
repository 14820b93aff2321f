// The servers of this test run, as the global setup has started them.
import { inject } from 'vitest';

export type Services = Readonly<{
  /** The superuser's, of the database `postgres`. For a database of your own: `createTestDatabase`. */
  postgresAdminUrl: string;
  /** host:port of the Temporal dev server; namespace `default`. */
  temporalAddress: string;
  temporalUiUrl: string;
  /** Path of the program, for `TestWorkflowEnvironment.createTimeSkipping`. */
  timeSkippingServerPath: string;
}>;

declare module 'vitest' {
  interface ProvidedContext {
    services: Services;
  }
}

/** Only in the projects that have services: integration, replay, e2e and faults. */
export function services(): Services {
  return inject('services');
}
