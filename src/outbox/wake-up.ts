// Speed, never a guarantee: pokes the loops of this process after a commit, and other processes by a debounced NOTIFY.
import { sql } from 'kysely';
import type { Db } from '../platform/database.ts';
import type { Logger } from '../platform/logger.ts';
import { listen, type ListenerPace } from './listener.ts';

const channel = 'athyper_outbox';
/** NOTIFY takes a lock over all databases until its commit, so never in a business transaction and not too often. */
const debounceMilliseconds = 25;

export type WakeUp = Readonly<{
  /** After a commit. Returns at once. */
  poke(): void;
  /** Taken before a round, so that a poke during the round is not missed by the wait after it. */
  mark(): number;
  /** Resolves after a poke since `mark`, or after `milliseconds`, or when `signal` aborts; never rejects. */
  wait(milliseconds: number, signal: AbortSignal, mark: number): Promise<void>;
  close(): Promise<void>;
}>;

export type WakeUpDeps = Readonly<{
  db: Db;
  logger: Logger;
  /** A direct connection string where this process runs loops; LISTEN does not work through a pooler. */
  listenUrl: string | undefined;
  /** For tests, which cannot wait so long for a dead line to be noticed. */
  listenerPace?: ListenerPace;
}>;

/** Wakes the loops of every process, from one that runs none and may end at once. */
export async function notifyLoops(db: Db): Promise<void> {
  await sql`select pg_notify(${channel}, '')`.execute(db);
}

export function createWakeUp({ db, logger, listenUrl, listenerPace }: WakeUpDeps): WakeUp {
  const waiting = new Set<() => void>();
  const closed = new AbortController();
  let pokes = 0;
  let notify: NodeJS.Timeout | undefined;
  let notified: Promise<unknown> = Promise.resolve();

  const wakeLoops = (): void => {
    pokes += 1;
    for (const wake of waiting) wake();
  };
  const sendNotify = (): void => {
    notify = undefined;
    notified = notifyLoops(db).catch((error: unknown) => {
      logger.debug({ err: error }, 'NOTIFY failed; polling finds the work');
    });
  };
  const listening =
    listenUrl === undefined
      ? undefined
      : listen({ db, url: listenUrl, channel, onNotify: wakeLoops, logger, signal: closed.signal, pace: listenerPace });

  return {
    poke() {
      wakeLoops();
      if (!closed.signal.aborted) notify ??= setTimeout(sendNotify, debounceMilliseconds).unref();
    },
    mark: () => pokes,
    async wait(milliseconds, signal, mark) {
      await new Promise<void>((resolve) => {
        const done = (): void => {
          clearTimeout(timer);
          waiting.delete(done);
          signal.removeEventListener('abort', done);
          resolve();
        };
        const timer = setTimeout(done, milliseconds);
        waiting.add(done);
        signal.addEventListener('abort', done, { once: true });
        if (signal.aborted || pokes !== mark) done();
      });
    },
    async close() {
      closed.abort();
      clearTimeout(notify);
      await notified;
      await listening;
    },
  };
}
