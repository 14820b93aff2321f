// Free ports of the loopback interface.
import { createServer } from 'node:net';

/** Whether somebody could listen there now, on this address and on all of them. */
export async function isFree(port: number): Promise<boolean> {
  return (await listens(port, '127.0.0.1')) !== undefined && (await listens(port, undefined)) !== undefined;
}

/** A port that is free now and none of `taken`. Whoever wants it should take it soon. */
export async function findFreePort(taken: readonly number[] = []): Promise<number> {
  for (;;) {
    const port = await listens(0, '127.0.0.1');
    if (port === undefined) throw new Error('The system has no free port.');
    if (!taken.includes(port) && (await isFree(port))) return port;
  }
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

function listens(port: number, host: string | undefined): Promise<number | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(undefined));
    server.listen({ port, ...(host === undefined ? {} : { host }), exclusive: true }, () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : undefined));
    });
  });
}
