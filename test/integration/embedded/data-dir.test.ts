// What the embedded stack keeps in DATA_DIR beside the data: ports, lock, settings, the demo's mark.
import { chmodSync, existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { findFreePort, isFree } from '../../../src/embedded/children/free-port.ts';
import { identifyProcess } from '../../../src/embedded/children/process-identity.ts';
import { markDemoPlayed, wasDemoPlayed } from '../../../src/embedded/demo-marker.ts';
import { lockFolder } from '../../../src/embedded/folder-lock.ts';
import { choosePorts, keptPorts, type Ports } from '../../../src/embedded/ports.ts';
import { keptWebhookSecret } from '../../../src/embedded/settings-file.ts';
import { StartupError } from '../../../src/platform/startup-error.ts';
import { createDataDirs, type DataDirs } from '../../support/data-dirs.ts';
import { runScript, type ScriptProcess } from '../../support/script-process.ts';

let dataDirs: DataDirs;
let folder: string;
let servers: Server[];
let scripts: ScriptProcess[];
beforeEach(() => {
  dataDirs = createDataDirs();
  folder = dataDirs.create('data');
  servers = [];
  scripts = [];
});
afterEach(() => {
  for (const server of servers) server.close();
  for (const script of scripts) script.kill('SIGKILL');
  dataDirs.remove();
});

/** A process that does not outlive its test. */
function run(name: string): ScriptProcess {
  const script = runScript(name, { environment: { ...process.env, DATA_DIR: folder } });
  scripts.push(script);
  return script;
}

async function occupy(port: number, host = '127.0.0.1'): Promise<void> {
  const server = createServer();
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(port, host, resolve));
}

describe('ports', () => {
  /** As a start does that ends before its API listens. */
  async function choose(api: Readonly<{ port: number; explicit: boolean }>): Promise<Ports> {
    const { ports, releaseApi } = await choosePorts(folder, api);
    await releaseApi();
    return ports;
  }
  const anyApi = async () => ({ port: await findFreePort(), explicit: false });

  test('are all different, and the same again at the next start', async () => {
    const api = await anyApi();
    const first = await choose(api);
    expect(first.api).toBe(api.port);
    expect(new Set(Object.values(first)).size).toBe(4);
    expect(JSON.parse(readFileSync(join(folder, 'ports.json'), 'utf8'))).toEqual(first);
    expect(await choose(await anyApi())).toEqual(first);
  });

  test('a kept port that is taken is replaced, and the new one is kept', async () => {
    const first = await choose(await anyApi());
    await occupy(first.temporal);
    const second = await choose(await anyApi());
    expect({ ...second, temporal: first.temporal }).toEqual(first);
    expect(second.temporal).not.toBe(first.temporal);
    expect(keptPorts(folder)).toEqual(second);
  });

  test('where PORT is unset and its default is taken, another one is chosen', async () => {
    const api = await anyApi();
    await occupy(api.port, '0.0.0.0');
    expect((await choose(api)).api).not.toBe(api.port);
  });

  test('a PORT that was set and is taken is an error that names it', async () => {
    const port = await findFreePort();
    await occupy(port);
    const choice = choosePorts(folder, { port, explicit: true });
    await expect(choice).rejects.toThrow(StartupError);
    await expect(choice).rejects.toThrow(`PORT ${port} is taken`);
  });

  test('a PORT that was set is used, and not kept for a start without it', async () => {
    const first = await choose(await anyApi());
    const port = await findFreePort(Object.values(first));
    expect(await choose({ port, explicit: true })).toEqual({ ...first, api: port });
    expect(keptPorts(folder)).toEqual(first);
  });

  test("the API's port is held until the API is ready for it, so that two starts at once choose two", async () => {
    const api = await anyApi();
    const first = await choosePorts(folder, api);
    const second = await choosePorts(dataDirs.create('other'), api);
    expect(first.ports.api).toBe(api.port);
    expect(second.ports.api).not.toBe(api.port);
    await Promise.all([first.releaseApi(), second.releaseApi()]);
    expect(await isFree(api.port)).toBe(true);
  });

  test('a broken ports.json only means new ports', async () => {
    writeFileSync(join(folder, 'ports.json'), '{"api": "three thou');
    expect(keptPorts(folder)).toEqual({});
    expect(Object.values(await choose(await anyApi()))).toHaveLength(4);
  });
});

describe('the lock', () => {
  test('keeps a second start out, names the first one’s process, and is free again afterwards', async () => {
    const unlock = await lockFolder(folder, undefined);
    const second = lockFolder(folder, undefined);
    await expect(second).rejects.toThrow(StartupError);
    await expect(second).rejects.toThrow(`process ${process.pid}`);
    unlock();
    (await lockFolder(folder, undefined))();
    expect(existsSync(join(folder, 'lock'))).toBe(false);
  });

  test('of a process that has died is taken over, also when another process has got its number since', async () => {
    const stale = [
      { pid: 2 ** 22 + 1, startedAt: '1' },
      { pid: process.pid, startedAt: 'long ago' },
    ];
    for (const owner of stale) {
      writeFileSync(join(folder, 'lock'), JSON.stringify({ owner }));
      (await lockFolder(folder, undefined))();
    }
    writeFileSync(join(folder, 'lock'), 'no lock');
    (await lockFolder(folder, undefined))();
  });

  test('of a process that has died is taken over only when its watchdog has finished', async () => {
    const watchdog = run('run-until-told.ts');
    await watchdog.serving;
    writeFileSync(
      join(folder, 'lock'),
      JSON.stringify({ owner: { pid: process.pid, startedAt: 'long ago' }, watchdog: identifyProcess(watchdog.pid) }),
    );
    let taken = false;
    const taking = lockFolder(folder, undefined).then((unlock) => {
      taken = true;
      return unlock;
    });
    // Long enough for a lock that does not wait.
    await delay(300);
    expect(taken).toBe(false);
    watchdog.kill('SIGTERM');
    await watchdog.ended;
    (await taking)();
  });

  test('goes to exactly one of several that want a stale one at once', async () => {
    writeFileSync(join(folder, 'lock'), JSON.stringify({ owner: { pid: process.pid, startedAt: 'long ago' } }));
    const starts = Array.from({ length: 4 }, () => run('run-lock.ts'));
    const results = await Promise.allSettled(starts.map(({ serving }) => serving));
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    for (const start of starts) start.kill('SIGTERM');
    const ends = await Promise.all(starts.map(({ ended }) => ended));
    expect(ends.filter(({ stderr }) => stderr.includes('Another start has the folder'))).toHaveLength(3);
  });
});

describe('settings', () => {
  test('hold a webhook secret that is made once and that nobody else can read', () => {
    const secret = keptWebhookSecret(folder);
    expect(secret).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/);
    expect(keptWebhookSecret(folder)).toBe(secret);
    expect(statSync(join(folder, 'settings.json')).mode & 0o777).toBe(0o600);
  });

  test('that are broken are an error that names the file', () => {
    chmodSync(folder, 0o700);
    for (const broken of ['', '{}', '{"PAYMENTS_WEBHOOK_SECRET": 1}']) {
      writeFileSync(join(folder, 'settings.json'), broken);
      expect(() => keptWebhookSecret(folder)).toThrow(StartupError);
      expect(() => keptWebhookSecret(folder)).toThrow(join(folder, 'settings.json'));
    }
  });
});

test('the demo is remembered in its folder', () => {
  expect(wasDemoPlayed(folder)).toBe(false);
  markDemoPlayed(folder);
  expect(wasDemoPlayed(folder)).toBe(true);
});
