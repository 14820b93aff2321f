// Store, outbox, relays and readers in random interleavings, beside a model of what they promise. A failure prints its
// seed and the shortest way there: SEED=… npx vitest run …/interleavings.test.ts goes it again, RUNS=… looks for longer.
import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { propertyRuns } from '../../support/property-runs.ts';
import { expectRest } from './interleavings-books.ts';
import { commands } from './interleavings-commands.ts';
import { startSystem } from './interleavings-system.ts';
import { startWorld, type World } from './interleavings-world.ts';

const { limitMilliseconds, ...parameters } = propertyRuns(30, 90_000);

let world: World;
beforeAll(async () => {
  world = await startWorld();
});
afterAll(async () => await world.log.stop());

it(
  'lose nothing, double no effect, and keep every order',
  async () => {
    let steps = 0;
    const before = performance.now();
    await fc.assert(
      fc.asyncProperty(fc.commands([...commands], { maxCommands: 120, size: 'max' }), async (some) => {
        if (performance.now() - before > limitMilliseconds) return;
        const system = await startSystem(world);
        try {
          await fc.asyncModelRun(() => ({ model: system.model, real: system }), some);
          await expectRest(system);
          steps += [...some].length;
        } finally {
          await system.close();
        }
      }),
      parameters,
    );
    expect(world.runs).toBeGreaterThan(0);
    const seconds = ((performance.now() - before) / 1000).toFixed(1);
    console.log(`seed ${parameters.seed}: ${world.runs} runs of ${steps} commands in all, ${seconds} s`);
  },
  limitMilliseconds + 60_000,
);
