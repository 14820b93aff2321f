import { tmpdir } from 'node:os';
import { expect, it } from 'vitest';
import { cacheFolder } from '../../../src/embedded/binaries/cache.ts';

it('the cache of programs is made elsewhere where the user has no home that can be written', () => {
  const folder = cacheFolder({ XDG_CACHE_HOME: '/dev/null' });
  expect(folder?.startsWith(tmpdir())).toBe(true);
});
