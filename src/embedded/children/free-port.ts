// Free ports of the loopback interface.
import { randomInt } from 'node:crypto';
import { createServer } from 'node:net';

/** Whether somebody could listen there now, on this address and on all of them. */
export async function isFree(port: number): Promise<boolean> {
  return (await canListen(port, '127.0.0.1')) && (await canListen(port));
}

/**
 * Below the ports that Linux (32768 and up) and macOS give to outgoing connections: one of these could take a port
 * between our choice and its use, or while a kept one is not in use.
 */
const [lowest, highest] = [20_000, 32_767] as const;

/** A port that is free now and none of `taken`. Whoever wants it should take it soon. */
export async function findFreePort(taken: readonly number[] = []): Promise<number> {
  // By chance, so that two who look at the same time hardly find the same.
  for (let attempt = 0; attempt < 1000; attempt += 1) {
    const port = randomInt(lowest, highest + 1);
    if (!taken.includes(port) && (await isFree(port))) return port;
  }
  throw new Error(`No port from ${lowest} to ${highest} is free.`);
}

/**
 * Takes a free port, so that nobody else chooses it while its later owner is not ready yet.
 * @returns a function that gives it back, after which it can be listened on at once; undefined if it is taken.
 */
export async function holdPort(port: number): Promise<(() => Promise<void>) | undefined> {
  if (!(await isFree(port))) return undefined;
  const server = createServer((socket) => socket.destroy());
  const holds = await new Promise<boolean>((resolve) => {
    server.once('error', () => resolve(false));
    server.listen({ port, exclusive: true }, () => resolve(true));
  });
  if (!holds) return undefined;
  // It must not be what keeps a process alive.
  server.unref();
  return () =>
    new Promise((resolve) => {
      server.close(() => resolve());
    });
}

function canListen(port: number, host?: string): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ port, ...(host === undefined ? {} : { host }), exclusive: true }, () => {
      server.close(() => resolve(true));
    });
  });
}
