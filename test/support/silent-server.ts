// Speaks SMTP up to a point, and then says nothing that helps: the server that a time-out is for.
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';

export type SilentServer = Readonly<{
  url: string;
  port: number;
  /** All that it was told. */
  heard(): string;
  /** Resolves when somebody has said something to it that it does not answer. */
  asked: Promise<void>;
  close(): Promise<void>;
}>;

/**
 * @param until `''`: takes the connection, that is all; `greeting`: greets and answers nothing; `mail`: takes the mail, and
 * does not say so; `trickle`: answers the first command with an answer that never ends
 */
export async function startSilentServer(until: '' | 'greeting' | 'mail' | 'trickle', port = 0): Promise<SilentServer> {
  const sockets = new Set<Socket>();
  const timers = new Set<NodeJS.Timeout>();
  let heard = '';
  let tell = (): void => undefined;
  const asked = new Promise<void>((resolve) => (tell = resolve));
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    if (until !== '') socket.write('220 silent.example\r\n');
    socket.on('data', (bytes) => {
      heard += bytes.toString('latin1');
      if (until === 'mail') socket.write(answerTo(bytes.toString('latin1')));
      else tell();
      if (until === 'trickle') timers.add(setInterval(() => socket.write('250-still here\r\n'), 50));
    });
  });
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (typeof address !== 'object' || address === null) throw new Error('the server has no port');
  return {
    url: `smtp://127.0.0.1:${address.port}`,
    port: address.port,
    heard: () => heard,
    asked,
    async close() {
      for (const timer of timers) clearInterval(timer);
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

function answerTo(said: string): string {
  if (/^(?:EHLO|MAIL|RCPT)/.test(said)) return '250 go on\r\n';
  return said.startsWith('DATA') ? '354 go on\r\n' : '';
}
