// Makes a new database cluster with initdb.
import { randomBytes } from 'node:crypto';
import { chownSync, closeSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { StartupError } from '../../platform/startup-error.ts';
import { startChild, type Adopt } from '../children/child.ts';
import { lastWords, logPath, logSize, openLog } from '../children/log-file.ts';
import type { Account } from './account.ts';
import { initdbPasswordFile, unfinishedMark } from './data-folder.ts';

export const superuser = 'postgres';

/** The superuser's password of this DATA_DIR, made when it is first asked for. Only the folder's owner can read it. */
export function postgresPassword(folder: string): string {
  const file = join(folder, 'postgres-password');
  if (!existsSync(file)) writeFileSync(file, randomBytes(24).toString('hex'), { mode: 0o600, flag: 'wx' });
  return readFileSync(file, 'utf8').trim();
}

/**
 * Fills the empty data folder. If it fails, or dies half way, the next start begins anew.
 * @throws StartupError with initdb's last words.
 */
export async function makeCluster(
  options: Readonly<{
    initdb: string;
    data: string;
    folder: string;
    password: string;
    durable: boolean;
    account: Account | undefined;
    environment: NodeJS.ProcessEnv;
    adopt: Adopt;
  }>,
): Promise<void> {
  const { account, data } = options;
  const log = logPath(options.folder, 'postgres');
  const since = logSize(log);
  // initdb reads the password from a file, as the account that runs it: so beside the data, where that account comes,
  // and always the same one, so that a start that dies leaves none that the next one would not remove.
  const passwordFile = initdbPasswordFile(data);
  rmSync(passwordFile, { force: true });
  const output = openLog(log);
  writeFileSync(unfinishedMark(options.folder), '');
  try {
    writeFileSync(passwordFile, options.password, { mode: 0o600, flag: 'wx' });
    if (account !== undefined) chownSync(passwordFile, account.uid, account.gid);
    const child = await startChild({
      program: options.initdb,
      // The built-in provider sorts and folds case alike on every platform, whatever locales are installed.
      args: [
        '--pgdata',
        data,
        '--username',
        superuser,
        '--pwfile',
        passwordFile,
        '--auth',
        'scram-sha-256',
        '--encoding',
        'UTF8',
        '--locale-provider',
        'builtin',
        '--builtin-locale',
        'C.UTF-8',
        '--locale',
        'C',
        ...(options.durable ? [] : ['--no-sync']),
      ],
      environment: options.environment,
      output,
      folder: data,
      account,
      adopt: options.adopt,
    });
    const end = await child.ended;
    if (end !== 'exit code 0') {
      throw new StartupError(
        `PostgreSQL could not make its database in ${data} (initdb ended with ${end}): ${lastWords(log, since)} The whole log is ${log}.`,
      );
    }
    rmSync(unfinishedMark(options.folder));
  } finally {
    closeSync(output);
    rmSync(passwordFile, { force: true });
  }
}
