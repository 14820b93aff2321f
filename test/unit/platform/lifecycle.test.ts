// How the parts of a process are stopped: in order, and each of them whatever became of the one before.
import { describe, expect, it } from 'vitest';
import { stopAll } from '../../../src/platform/lifecycle.ts';

describe('stopping all parts', () => {
  it('stops one after the other, in the given order', async () => {
    const log: string[] = [];
    const part = (name: string) => ({
      async stop() {
        log.push(`${name} stops`);
        await Promise.resolve();
        log.push(`${name} has stopped`);
      },
    });
    await stopAll([part('relay'), part('pool')]);
    expect(log).toEqual(['relay stops', 'relay has stopped', 'pool stops', 'pool has stopped']);
  });

  it('stops the others where one fails, and then says what failed', async () => {
    const stopped: string[] = [];
    const failing = { stop: async () => await Promise.reject(new Error('stuck')) };
    const last = { stop: async () => void stopped.push(await Promise.resolve('last')) };
    const stopping = stopAll([failing, failing, last]);
    await expect(stopping).rejects.toMatchObject({ errors: [new Error('stuck'), new Error('stuck')] });
    expect(stopped).toEqual(['last']);
  });

  it('of nothing is done at once', async () => {
    await stopAll([]);
    expect.assertions(0);
  });
});
