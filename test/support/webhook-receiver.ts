// A receiver of webhooks: keeps the bytes as they came, and answers as the test says.
import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http';
import { Webhook } from 'standardwebhooks';

export type Received = Readonly<{ id: string; headers: IncomingHttpHeaders; body: string }>;
export type Answering = (received: Received, response: ServerResponse) => void;

export type WebhookReceiver = Readonly<{
  /** Of its address 127.0.0.1. */
  url: string;
  port: number;
  received: readonly Received[];
  ids(): readonly string[];
  /** From now on; 204 until then. */
  answer(answering: Answering): void;
  close(): Promise<void>;
}>;

export const answerWith =
  (status: number, headers: Readonly<Record<string, string>> = {}): Answering =>
  (_received, response) =>
    response.writeHead(status, headers).end();

export async function startWebhookReceiver(answering: Answering = answerWith(204)): Promise<WebhookReceiver> {
  const received: Received[] = [];
  let answerer = answering;
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    response.on('error', () => undefined);
    request.on('error', () => undefined);
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const { headers } = request;
      const one = { id: String(headers['webhook-id']), headers, body: Buffer.concat(chunks).toString('utf8') };
      received.push(one);
      answerer(one, response);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the receiver has no port');
  return {
    url: `http://127.0.0.1:${address.port}/hook`,
    port: address.port,
    received,
    ids: () => received.map(({ id }) => id),
    answer(next) {
      answerer = next;
    },
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

/** By the reference implementation. @returns what was signed @throws where the secret does not fit */
export const verified = (secret: string, { headers, body }: Received): unknown =>
  new Webhook(secret).verify(body, headers as Record<string, string>);

export function isSignedBy(secret: string, received: Received): boolean {
  try {
    verified(secret, received);
    return true;
  } catch {
    return false;
  }
}
