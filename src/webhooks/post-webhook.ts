// One POST to an address that the guard has seen: bounded in time, in what is read, and in where it may lead.
import http, { type ClientRequest, type IncomingMessage } from 'node:http';
import https from 'node:https';
import type { AddressGuard } from './address-guard.ts';

/**
 * Node's own client, and a new connection each time: each is looked up and checked anew, none has gone stale meanwhile,
 * none goes through a proxy that the environment names for something else, and nothing follows a redirect. fetch does,
 * keeps connections by host, and takes no look-up of ours.
 */
const agentOptions = {
  keepAlive: false,
  // Of a name with several addresses, until the next is tried: a quarter of a second, as is Node's own, is too short for
  // the other side of the world, and an address that is not reachable might be all that is left.
  autoSelectFamilyAttemptTimeout: 2_500,
};
const agents = { 'http:': new http.Agent(agentOptions), 'https:': new https.Agent(agentOptions) };

/** All of it: name, connection, TLS, request, and the head of the answer. Inside what the relay gives a delivery. */
export const timeoutSeconds = 20;
/** The status has said it all. A short answer is read to its end, so that the receiver's log shows no cut. */
const mostBodyBytes = 4_096;
const bodyMilliseconds = 500;

export type Post = Readonly<{ url: URL; headers: Readonly<Record<string, string>>; body: Buffer; signal: AbortSignal }>;
export type PostAnswer = Readonly<{ status: number; retryAfter: string | undefined }>;

/** @returns the answer, whatever its status. @throws Error where none came: no address, no connection, no time */
export type PostWebhook = (post: Post) => Promise<PostAnswer>;

export function createPostWebhook({
  guard,
  timeoutMilliseconds = timeoutSeconds * 1000,
}: Readonly<{ guard: AddressGuard; timeoutMilliseconds?: number }>): PostWebhook {
  return async ({ url, headers, body, signal }) => {
    // A literal address is never looked up, so this is its check.
    const refusal = guard.refusalOf(url);
    if (refusal !== undefined) throw new Error(`the URL ${refusal}`);
    const isTls = url.protocol === 'https:';
    const options = { method: 'POST', headers, lookup: guard.lookup, signal };
    const request = isTls
      ? https.request(url, { ...options, agent: agents['https:'] })
      : http.request(url, { ...options, agent: agents['http:'] });
    const timer = setTimeout(() => {
      request.destroy(new Error(`no answer within ${timeoutMilliseconds / 1000} s`));
    }, timeoutMilliseconds);
    try {
      const response = await headOf(request, body);
      const answer = { status: response.statusCode ?? 0, retryAfter: response.headers['retry-after'] };
      await throwAway(response);
      return answer;
    } finally {
      clearTimeout(timer);
      request.destroy();
    }
  };
}

async function headOf(request: ClientRequest, body: Buffer): Promise<IncomingMessage> {
  return await new Promise((resolve, reject) => {
    // It stays: what breaks after the head, or is destroyed, is no news any more, and must not end the process.
    request.on('error', reject);
    request.once('close', () => reject(new Error('the connection ended without an answer')));
    request.once('response', resolve);
    request.end(body);
  });
}

async function throwAway(response: IncomingMessage): Promise<void> {
  await new Promise<void>((resolve) => {
    let bytes = 0;
    const timer = setTimeout(resolve, bodyMilliseconds);
    const done = (): void => {
      clearTimeout(timer);
      resolve();
    };
    response.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > mostBodyBytes) done();
    });
    response.on('error', done);
    response.once('close', done);
  });
}
