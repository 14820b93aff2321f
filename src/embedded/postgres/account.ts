// PostgreSQL refuses to run as root. Then another account must run it, which may see neither the checkout nor
// DATA_DIR, so that its programs and its data need a home outside both.
import { accessSync, chmodSync, constants, mkdirSync, readFileSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { StartupError } from '../../platform/startup-error.ts';

export type Account = Readonly<{ name: string; uid: number; gid: number }>;

/** The account that runs PostgreSQL: undefined means "the one who runs this process". */
export function accountForPostgres(): Account | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const account = findAccount('postgres') ?? findAccount('nobody');
  if (account === undefined) {
    throw new StartupError(
      'PostgreSQL does not run as root, and there is no account "postgres" or "nobody" to run it: add one (useradd --system postgres), start as an ordinary user, or set DATABASE_URL.',
    );
  }
  return account;
}

/**
 * The folder for what PostgreSQL's account must reach. It is readable by all and writable by root only; what it holds
 * is protected one by one.
 */
export function outsideFolder(): string {
  const candidates = ['/var/lib/athyper-sagas', join(tmpdir(), `athyper-sagas-${process.getuid?.() ?? 0}`)];
  for (const folder of candidates) {
    try {
      mkdirSync(folder, { recursive: true });
      // In a folder like /tmp somebody else could have made it first, and would own what we put there.
      if (statSync(folder).uid !== process.getuid?.()) continue;
      chmodSync(folder, 0o755);
      accessSync(folder, constants.W_OK);
      return folder;
    } catch {
      // The next one may be writable.
    }
  }
  throw new StartupError(
    `PostgreSQL needs a folder that it may use as another user: make one of ${candidates.join(', ')} writable, start as an ordinary user, or set DATABASE_URL.`,
  );
}

function findAccount(name: string): Account | undefined {
  const line = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .find((entry) => entry.startsWith(`${name}:`));
  const [, , uid, gid] = line?.split(':') ?? [];
  return uid === undefined || gid === undefined ? undefined : { name, uid: Number(uid), gid: Number(gid) };
}
