// That a loop still comes round: its age for its own process, and a row for those without loops.
import type { Db } from '../platform/database.ts';
import { recordHeartbeat } from './outbox-rows.ts';

export type Heartbeat = Readonly<{
  /** At the end of each round. Writes its row once a second at most. */
  beat(): Promise<void>;
  /** Since the last beat; undefined before the first. */
  ageMilliseconds(): number | undefined;
}>;

const heartbeatMilliseconds = 1_000;

export function createHeartbeat(db: Db, owned: Readonly<{ destination: string; owner: string }>): Heartbeat {
  let lastRound: number | undefined;
  let lastHeartbeat = 0;
  return {
    async beat() {
      lastRound = Date.now();
      if (lastRound - lastHeartbeat < heartbeatMilliseconds) return;
      lastHeartbeat = lastRound;
      await recordHeartbeat(db, owned);
    },
    ageMilliseconds: () => (lastRound === undefined ? undefined : Date.now() - lastRound),
  };
}
