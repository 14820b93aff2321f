// Any single fault at any boundary of a step: many orders at the same time, each on a journey of its own and with one
// fault of its own, and then the books of each. A failure prints what was drawn: SEED=… RUNS=1 npx vitest run
// …/single-fault.test.ts goes that run again, RUNS=… looks for longer.
import { afterAll, beforeAll, expect, it } from 'vitest';
import { expectBooksToBalance } from '../../support/books.ts';
import { createFaults, type Faults } from '../../support/faults.ts';
import { createHolds, type Holds } from '../../support/holds.ts';
import { propertyRuns } from '../../support/property-runs.ts';
import { createRoleProcesses, type RoleProcess, type RoleProcesses } from '../../support/role-process.ts';
import { startSagaService, type SagaService } from '../../support/saga-service.ts';
import { expectEnd, type End } from './single-fault-judge.ts';
import { runScenario, type World } from './single-fault-run.ts';
import {
  describeScenario,
  drawScenario,
  isWorkerKilled,
  productOf,
  stockOfEach,
  type Run,
  type Scenario,
} from './single-fault-scenarios.ts';

const { numRuns, seed, limitMilliseconds } = propertyRuns(60, 180_000);
/** At the same time. Each may have a step that stands still in the worker. */
const most = 30;
/** That wait for one kill, and so for the slowest of them. */
const mostForOneKill = 15;

const deadline = { PAYMENT_DEADLINE_SECONDS: '5', SHUTDOWN_GRACE_SECONDS: '30' };
/** An attempt that falls silent is beyond all of them. */
const short = { ...deadline, STEP_LIMIT_SECONDS: '6', PARK_AFTER_SECONDS: '3', PARKED_RETRY_SECONDS: '2' };
/** A worker is killed when all of its orders have come to their points: until then, none is given up on. */
const long = { ...deadline, STEP_LIMIT_SECONDS: '300', PARK_AFTER_SECONDS: '300' };

let faults: Faults;
let holds: Holds;
let living: Site;
let dying: Site;

type Site = Readonly<{ service: SagaService; roles: RoleProcesses; startWorker(): Promise<RoleProcess> }>;

async function startSite(environment: Readonly<Record<string, string>>): Promise<Site> {
  const service = await startSagaService({ worker: false, environment });
  const roles = createRoleProcesses(service.environment);
  // As many steps at once as connections, and those that stand still have tried again beside themselves.
  const more = { ...holds.environment, ...faults.environment, DATABASE_POOL_SIZE: '60' };
  return { service, roles, startWorker: async () => await roles.startProgram('run-fault-worker.ts', more) };
}

beforeAll(async () => {
  faults = createFaults();
  holds = createHolds();
  [living, dying] = await Promise.all([startSite(short), startSite(long)]);
});
afterAll(async () => {
  for (const { roles, service } of [living, dying]) {
    await roles.stop();
    await service.stop();
  }
  holds.remove();
  faults.remove();
});

const scenarios = Array.from({ length: numRuns }, (_, index) => drawScenario(seed + index));

type Gone = Readonly<{ scenario: Scenario; run: Run | undefined; complaint: string | undefined }>;

/** Whatever becomes of it, the others go on. */
async function go(world: World, scenario: Scenario): Promise<Gone> {
  try {
    return { scenario, run: await runScenario(world, scenario), complaint: undefined };
  } catch (error) {
    return { scenario, run: undefined, complaint: complaintOf(scenario, error) };
  }
}

/** What was drawn, in one line, and then where in our own files it went wrong. */
function complaintOf(scenario: Scenario, error: unknown): string {
  const said = error instanceof Error ? (error.stack ?? error.message) : String(error);
  const ours = said.split('\n').filter((line) => !/node_modules|node:internal|Promise\.all/.test(line));
  return [describeScenario(scenario), ...ours].join('\n  ');
}

const chunksOf = (all: readonly Scenario[], size: number): readonly (readonly Scenario[])[] =>
  Array.from({ length: Math.ceil(all.length / size) }, (_, index) => all.slice(index * size, (index + 1) * size));

async function goBesideLivingWorker(mine: readonly Scenario[]): Promise<readonly Gone[]> {
  const gone: Gone[] = [];
  const worker = await living.startWorker();
  const killed = async (): Promise<void> => await Promise.reject(new Error('this worker is not to be killed'));
  for (const chunk of chunksOf(mine, most)) {
    const world: World = { service: living.service, holds, faults, killed };
    gone.push(...(await Promise.all(chunk.map(async (scenario) => await go(world, scenario)))));
  }
  // Attempts that were given up on come to their end: what they still do is done before the books are judged.
  await worker.terminate();
  return gone;
}

/** One kill for many orders: when each has come to its point, or has ended without. */
async function goThroughKills(mine: readonly Scenario[]): Promise<readonly Gone[]> {
  const gone: Gone[] = [];
  let worker = await dying.startWorker();
  for (const chunk of chunksOf(mine, mostForOneKill)) {
    const dead = Promise.withResolvers<void>();
    const waiting = new Set(chunk);
    const standsStill = async (scenario: Scenario): Promise<void> => {
      if (!waiting.delete(scenario) || waiting.size > 0) return;
      await worker.kill();
      worker = await dying.startWorker();
      dead.resolve();
    };
    const runs = chunk.map(async (scenario) => {
      const killed = async (): Promise<void> => {
        await standsStill(scenario);
        await dead.promise;
      };
      const one = await go({ service: dying.service, holds, faults, killed }, scenario);
      await standsStill(scenario);
      return one;
    });
    gone.push(...(await Promise.all(runs)));
  }
  await worker.terminate();
  return gone;
}

async function judge(service: SagaService, gone: Gone): Promise<Gone & Readonly<{ end?: End }>> {
  if (gone.run === undefined) return gone;
  try {
    return { ...gone, end: await expectEnd(service, gone.run) };
  } catch (error) {
    return { ...gone, complaint: complaintOf(gone.scenario, error) };
  }
}

const stockedFor = (gone: readonly Gone[]): Readonly<Record<string, number>> =>
  Object.fromEntries(
    gone.flatMap(({ run }) =>
      run === undefined ? [] : run.scenario.lines.map((_, line) => [productOf(run.orderId, line), stockOfEach]),
    ),
  );

it(
  'leaves each order confirmed and charged once, or with nothing held, or parked for all to see',
  async () => {
    const before = performance.now();
    const [beside, through] = await Promise.all([
      goBesideLivingWorker(scenarios.filter((scenario) => !isWorkerKilled(scenario))),
      goThroughKills(scenarios.filter(isWorkerKilled)),
    ]);
    const judged = [
      ...(await Promise.all(beside.map(async (gone) => await judge(living.service, gone)))),
      ...(await Promise.all(through.map(async (gone) => await judge(dying.service, gone)))),
    ];
    tell(judged, (performance.now() - before) / 1000);
    const complaints = judged.flatMap(({ complaint }) => (complaint === undefined ? [] : [complaint]));
    expect(complaints.join('\n'), `seed ${seed}`).toBe('');
    await expectBooksToBalance(living.service.parts, { stocked: stockedFor(beside) });
    await expectBooksToBalance(dying.service.parts, { stocked: stockedFor(through) });
  },
  limitMilliseconds + 120_000,
);

function tell(judged: readonly (Gone & Readonly<{ end?: End }>)[], seconds: number): void {
  const count = (is: (each: (typeof judged)[number]) => boolean | undefined): number => judged.filter(is).length;
  const ends = (['confirmed', 'failed', 'cancelled'] as const).map(
    (end) => `${count((one) => one.end === end)} ${end}`,
  );
  const parked = count(({ run }) => run?.parked);
  const unmet = judged.filter(({ run }) => run?.met === false);
  console.log(
    `seed ${seed}: ${judged.length} runs in ${seconds.toFixed(1)} s: ${ends.join(', ')}; ${parked} were parked before; ` +
      `${unmet.length} did not come to their fault`,
  );
  for (const { scenario } of unmet) console.log(`did not come to its fault: ${describeScenario(scenario)}`);
}
