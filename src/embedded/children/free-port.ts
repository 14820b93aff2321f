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
