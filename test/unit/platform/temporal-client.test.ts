import { setTimeout as delay } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { findFreePort } from '../../../src/embedded/children/free-port.ts';
import { checkTemporal, connectTemporal, meaningOf } from '../../../src/platform/temporal-client.ts';

const outcomeOf = async (call: Promise<void>): Promise<unknown> =>
  await call.then(
    () => 'answered',
    (error: unknown) => meaningOf(error),
  );

// An error in the client's own timer would end the process; here it would fail the test run.
it.each([0, 50, 150, 300])(
  'a call that is tried again when the connection is closed, after %i ms, ends as unavailable',
  async (milliseconds) => {
    const client = connectTemporal({ address: `127.0.0.1:${await findFreePort()}`, namespace: 'default' });
    const outcome = outcomeOf(checkTemporal(client, 'default', 5_000));
    await delay(milliseconds);
    await client.connection.close();
    expect(await outcome).toBe('unavailable');
  },
);

it('a call after the close ends as unavailable', async () => {
  const client = connectTemporal({ address: `127.0.0.1:${await findFreePort()}`, namespace: 'default' });
  await client.connection.close();
  expect(await outcomeOf(checkTemporal(client, 'default', 5_000))).toBe('unavailable');
});
