// Listens, and stops listening without cutting off requests that are under way.
import { createServer, type RequestListener } from 'node:http';
import type { Running } from './lifecycle.ts';
import { StartupError } from './startup-error.ts';

/** Idle keep-alive connections get this long to notice; what is still open then is cut. */
const drainMilliseconds = 5_000;

export type Address = Readonly<{
  port: number;
  /** Undefined: on all addresses of the machine. */
  host: string | undefined;
  /** What a person sets to have another port. */
  variable: string;
}>;

/** @throws StartupError where the port is taken or may not be used */
export async function listen(app: RequestListener, at: Address): Promise<Running> {
  const { port, host, variable } = at;
  const server = createServer(app);
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const why = error.code === 'EADDRINUSE' ? 'is taken by another program' : `cannot be used (${error.message})`;
      reject(new StartupError(`Port ${port} ${why}. Stop that program, or set ${variable} to another port.`));
    });
    server.listen({ port, host }, resolve);
  });
  return {
    async stop() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeIdleConnections();
      const timer = setTimeout(() => server.closeAllConnections(), drainMilliseconds);
      await closed;
      clearTimeout(timer);
    },
  };
}
