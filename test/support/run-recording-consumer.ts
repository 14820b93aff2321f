// A program for the fault tests: the role `consumer` as it is, with a handler of every event type that writes it down.
import { catalogue } from '../../src/domain/catalogue.ts';
import { readSettings } from '../../src/platform/config.ts';
import { listenForStop, runUntilStopped, stopAll } from '../../src/platform/lifecycle.ts';
import { createRedisBus } from '../../src/processes/bus.ts';
import { createParts, required } from '../../src/processes/parts.ts';
import { recorder } from './effects.ts';

const stop = listenForStop();
const settings = readSettings('consumer');
const parts = createParts(settings, { role: 'consumer', runsLoops: false });
const bus = createRedisBus(parts, required(settings.redisUrl, 'REDIS_URL'));
for (const eventType of Object.keys(catalogue)) {
  bus.subscribe(eventType, recorder('recording'), { name: 'recording' });
}
bus.consume();
parts.logger.info('started');
await runUntilStopped(
  { stop: async () => await stopAll([{ stop: async () => await bus.close() }, { stop: parts.close }]) },
  { stop, graceSeconds: settings.shutdownGraceSeconds + 5, logger: parts.logger },
);
process.exit(0);
