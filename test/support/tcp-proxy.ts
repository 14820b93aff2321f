// Stands between a client and a server, to cut the line or to let it go dead without a word (a half-open socket).
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';

export type TcpProxy = Readonly<{
  port: number;
  /** Ends every connection and takes no new one. */
  cut(): void;
  /** Takes bytes and passes none on, in both directions; connections stay open. */
  freeze(): void;
  /** As at the start. What was said while it was frozen is lost with its connections. */
  mend(): void;
  close(): Promise<void>;
}>;

export async function startTcpProxy(target: Readonly<{ host: string; port: number }>): Promise<TcpProxy> {
  let state: 'open' | 'cut' | 'frozen' = 'open';
  const sockets = new Set<Socket>();
  const frozenOnce = new Set<Socket>();

  const server = createServer((client) => {
    if (state === 'cut') {
      client.destroy();
      return;
    }
    const upstream = connect(target);
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(from);
      from.on('error', () => undefined);
      from.on('data', (bytes) => {
        if (state === 'frozen') frozenOnce.add(from).add(to);
        else to.write(bytes);
      });
      from.on('close', () => {
        sockets.delete(from);
        to.destroy();
      });
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (typeof address !== 'object' || address === null) throw new Error('the proxy has no port');

  const endAll = (which: Iterable<Socket>): void => {
    for (const socket of which) socket.destroy();
  };
  return {
    port: address.port,
    cut() {
      state = 'cut';
      endAll(sockets);
    },
    freeze() {
      state = 'frozen';
    },
    mend() {
      state = 'open';
      endAll(frozenOnce);
      frozenOnce.clear();
    },
    async close() {
      endAll(sockets);
      server.close();
      await once(server, 'close');
    },
  };
}
