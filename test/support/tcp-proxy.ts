// Stands between a client and a server, to cut the line or to let it go dead without a word (a half-open socket).
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';

export type TcpProxy = Readonly<{
  port: number;
  /** Ends every connection and takes no new one. */
  cut(): void;
  /** From now on passes nothing on that comes over the connections of today, no farewell either. New ones work. */
  freeze(): void;
  /** The same, for the server's answers only: what it is told still arrives. */
  freezeAnswers(): void;
  /** Once: what holds `text` goes through, and instead of the answer to it comes the end of the connection. */
  loseAnswerTo(text: string): void;
  /** Takes connections again. */
  mend(): void;
  close(): Promise<void>;
}>;

/** What the proxy makes of the bytes of one connection. `answer`: to the client, from nobody but the proxy. */
export type Between = Readonly<{
  fromClient(bytes: Buffer, answer: (bytes: Buffer) => void): Buffer;
  fromServer(bytes: Buffer): Buffer;
}>;
const nothingBetween = (): Between => ({ fromClient: (bytes) => bytes, fromServer: (bytes) => bytes });

/** To the server of a database. @returns the proxy, and the connection string that leads through it */
export async function startDatabaseProxy(databaseUrl: string): Promise<Readonly<{ proxy: TcpProxy; url: string }>> {
  const url = new URL(databaseUrl);
  const proxy = await startTcpProxy({ host: url.hostname, port: Number(url.port) });
  url.host = `127.0.0.1:${proxy.port}`;
  return { proxy, url: url.href };
}

export async function startTcpProxy(
  target: Readonly<{ host: string; port: number }>,
  createBetween: () => Between = nothingBetween,
): Promise<TcpProxy> {
  let isCut = false;
  const sockets = new Set<Socket>();
  const answering = new Set<Socket>();
  const frozen = new Set<Socket>();
  let lost: string | undefined;

  const server = createServer({ allowHalfOpen: true }, (client) => {
    if (isCut) {
      client.destroy();
      return;
    }
    const upstream = connect({ ...target, allowHalfOpen: true });
    answering.add(upstream);
    client.on('data', (bytes) => {
      if (lost === undefined || !bytes.includes(lost)) return;
      lost = undefined;
      frozen.add(upstream);
      upstream.once('data', () => client.destroy());
    });
    const between = createBetween();
    for (const [from, to, change] of [
      [client, upstream, (bytes: Buffer) => between.fromClient(bytes, (own) => client.write(own))],
      [upstream, client, between.fromServer],
    ] as const) {
      sockets.add(from);
      from.on('error', () => undefined);
      from.on('data', (bytes) => {
        if (!frozen.has(from)) to.write(change(bytes));
      });
      from.on('end', () => {
        if (!frozen.has(from)) to.end();
      });
      from.on('close', () => {
        sockets.delete(from);
        answering.delete(from);
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
      isCut = true;
      endAll(sockets);
    },
    freeze() {
      for (const socket of sockets) frozen.add(socket);
    },
    freezeAnswers() {
      for (const socket of answering) frozen.add(socket);
    },
    loseAnswerTo(text) {
      lost = text;
    },
    mend() {
      isCut = false;
    },
    async close() {
      endAll(sockets);
      server.close();
      await once(server, 'close');
    },
  };
}
