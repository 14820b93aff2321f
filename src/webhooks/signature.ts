// Standard Webhooks 1.0: the one rule that signs what we send, and that what others send is held against.
import { createHmac, randomBytes } from 'node:crypto';

/** What is signed. `body`: the bytes that go over the line. */
type Signed = Readonly<{ id: string; timestamp: string; body: Buffer }>;

/** @param key as `keyOf` reads it from a secret */
export function digestOf(key: Buffer, { id, timestamp, body }: Signed): Buffer {
  return createHmac('sha256', key).update(`${id}.${timestamp}.`).update(body).digest();
}

/** @param secret `whsec_` and then base64 */
export const keyOf = (secret: string): Buffer => Buffer.from(secret.replace(/^whsec_/, ''), 'base64');

const fewestBytes = 24;
const mostBytes = 64;
export const secretRule = `must be whsec_ and then ${fewestBytes} to ${mostBytes} bytes in base64`;

export function isSecret(text: string): boolean {
  if (!/^whsec_[A-Za-z0-9+/]+={0,2}$/.test(text)) return false;
  const key = keyOf(text);
  // As a strict decoder of a receiver wants it: with its padding, and nothing behind the last byte.
  const isExact = key.toString('base64') === text.slice('whsec_'.length);
  return isExact && key.length >= fewestBytes && key.length <= mostBytes;
}

export const newSecret = (): string => `whsec_${randomBytes(32).toString('base64')}`;

/** Several while a secret is being rotated, so that a receiver that knows either is content. */
export function signatureHeader(secrets: readonly string[], signed: Signed): string {
  return secrets.map((secret) => `v1,${digestOf(keyOf(secret), signed).toString('base64')}`).join(' ');
}
